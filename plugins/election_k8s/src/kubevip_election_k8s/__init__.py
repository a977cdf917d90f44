"""The Lease election: whoever holds a Lease of Kubernetes holds the groups that name it."""
