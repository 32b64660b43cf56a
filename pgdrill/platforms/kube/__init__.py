"""An existing CloudNativePG cluster of the user's."""
