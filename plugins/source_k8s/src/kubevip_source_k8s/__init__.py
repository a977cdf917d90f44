"""Configuration of kubevip from Kubernetes: ConfigMaps, EndpointSlices and Services of type LoadBalancer."""
