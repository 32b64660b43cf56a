"""What the reference platform stands on: container engine, tool chain, images."""
