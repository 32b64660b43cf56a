"""What a platform on Kubernetes needs no node for: its API, a namespace, a cluster's name."""
