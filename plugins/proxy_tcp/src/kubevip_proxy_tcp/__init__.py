"""User-space TCP balancing for kubevip."""
