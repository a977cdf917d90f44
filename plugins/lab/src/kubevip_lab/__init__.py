"""A whole network of hosts in namespaces on one machine: demonstration, fault injection, measurement."""
