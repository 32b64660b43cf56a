"""Ways to break a cluster, each verified, each undone."""
