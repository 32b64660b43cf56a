"""What a platform on Kubernetes is made of that needs its API, a namespace and a cluster's name."""
