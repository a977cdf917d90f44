"""The nodes of a Kubernetes control plane: the health check of their API server, and the manifests that run kubevip."""
