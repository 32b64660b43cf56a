"""The base of the reference platform: container engine, tool chain, images."""
