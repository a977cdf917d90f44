"""Configuration of kubevip from a file: the original kube-vip keys and the native format."""
