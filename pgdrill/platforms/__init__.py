"""Where it runs: kind, kube, or processes on this machine."""
