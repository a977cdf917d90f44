"""What `kubevip sample config` prints: a file to begin with, in kube-vip's own format or in the native one."""

from __future__ import annotations

ORIGINAL = """\
# Three machines, one address. Each machine has this file with its own localPeer; the other two are the remotePeers.
localPeer:
  id: server1
  address: 192.168.0.70
  port: 10000
remotePeers:
- id: server2
  address: 192.168.0.71
  port: 10000
- id: server3
  address: 192.168.0.72
  port: 10000
# The address that one of them always holds, and whether the neighbours are told when it moves.
vip: 192.168.0.75
gratuitousARP: true
# The device it goes on; without this key the one whose subnet holds it.
# interface: eth0
# true: this machine is alone and needs no peers.
singleNode: false
# true on one machine: it stands first when the group is formed.
startAsLeader: false
# true: the three machines become backends too, at each load balancer's backendPort.
addPeersAsBackends: false
loadBalancers:
- name: Kubernetes control plane
  type: tcp
  port: 6443
  # true: it listens on the address above, where that is; false: on every address of every machine.
  bindToVip: true
  backends:
  - address: 192.168.0.70
    port: 6444
  - address: 192.168.0.71
    port: 6444
  - address: 192.168.0.72
    port: 6444
- name: Shop
  type: tcp
  port: 80
  bindToVip: true
  backends:
  - address: 192.168.0.81
    port: 8080
  - address: 192.168.0.82
    port: 8080
"""

NATIVE = """\
# Three machines, one address. The file is the same on all of them: each knows itself by its host name or address.
apiVersion: kubevip/v1
elections:
  raft:
    members:
    - {name: n1, address: 192.168.0.70}
    - {name: n2, address: 192.168.0.71}
    - {name: n3, address: 192.168.0.72}
# One leadership each; the virtual IPs of a group are held together.
groups:
  api: {election: raft}
virtualIPs:
- {name: api, address: 192.168.0.75, group: api}
loadBalancers:
- name: Kubernetes control plane
  type: tcp
  port: 6443
  # Names of virtual IPs, or `all`: every address of every machine.
  bindTo: [api]
  backends: [{members: raft, port: 6444}]
- name: Shop
  type: tcp
  port: 80
  bindTo: [api]
  backends:
  - {address: 192.168.0.81, port: 8080}
  - {address: 192.168.0.82, port: 8080}
"""
