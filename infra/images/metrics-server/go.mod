module pgdrill.invalid/images/metrics-server

go 1.22.0

require sigs.k8s.io/metrics-server v0.7.2
