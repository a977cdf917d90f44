"""Address, ARP and NDP announcement for kubevip, behind a kernel fence."""
