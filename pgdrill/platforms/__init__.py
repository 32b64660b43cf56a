"""The platforms: kind, kube, or processes on this machine."""
