"""The part of a platform that needs the Kubernetes API only: a namespace, a cluster's name."""
