"""An existing CloudNativePG cluster of somebody's."""
