"""What machines compare: alike where their files want the same of all of them, however the files look."""

from __future__ import annotations

import pytest

from kubevip_source_file._reading import read_configuration

from .test_original import ARCHITECTURE

NATIVE = """\
apiVersion: kubevip/v1
cluster: rack-7
elections:
  raft:
    members: [{name: n1, address: 10.0.0.1}, {name: n2, address: 10.0.0.2}, {name: n3, address: 10.0.0.3}]
    pki: /etc/kubevip/pki
groups:
  api: {election: raft, prefer: [n1]}
virtualIPs:
- {name: api, address: 10.0.0.10, interface: ens18, group: api}
loadBalancers:
- name: shop
  type: tcp
  port: 80
  bindTo: [api]
  backends: [{address: 10.0.0.81, port: 8080}, {address: 10.0.0.82, port: 8080, weight: 2}]
"""

N1_N2 = "{name: n1, address: 10.0.0.1}, {name: n2, address: 10.0.0.2}"
BACKENDS = "{address: 10.0.0.81, port: 8080}, {address: 10.0.0.82, port: 8080, weight: 2}"


def digest(text: str) -> str:
    return read_configuration(text.encode(), "c.yaml", {})[0].digest


def on_another_machine(text: str, number: int) -> str:
    """Return the file of the architecture as the machine with that number has it: it is the local peer there."""
    own = "  id: server1\n  address: 192.168.0.70"
    other = f"- id: server{number}\n  address: 192.168.0.{69 + number}"
    assert own in text
    assert other in text
    swapped = text.replace(own, f"  id: server{number}\n  address: 192.168.0.{69 + number}")
    return swapped.replace(other, "- id: server1\n  address: 192.168.0.70").replace("ens192", f"eth{number}")


def test_files_of_kube_vips_own_format_that_say_which_machine_they_are_on_agree() -> None:
    digests = {digest(ARCHITECTURE), *(digest(on_another_machine(ARCHITECTURE, number)) for number in (2, 3))}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/etc/kubevip/pki", "/srv/pki"),
        ("ens18", "eth0"),
        ("cluster: rack-7", "# here\ncluster: rack-7"),
        (N1_N2, "{name: n2, address: 10.0.0.2}, {name: n1, address: 10.0.0.1}"),
        (BACKENDS, "{address: 10.0.0.82, port: 8080, weight: 2}, {address: 10.0.0.81, port: 8080}"),
    ],
)
def test_what_may_differ_does_not_count(old: str, new: str) -> None:
    assert old in NATIVE
    assert digest(NATIVE.replace(old, new)) == digest(NATIVE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rack-7", "rack-8"),
        ("{name: n3, address: 10.0.0.3}", "{name: n3, address: 10.0.0.4}"),
        ("{name: n3, address: 10.0.0.3}", "{name: n4, address: 10.0.0.3}"),
        ("prefer: [n1]", "prefer: [n2]"),
        ("10.0.0.10", "10.0.0.11"),
        ("port: 80\n", "port: 81\n"),
        ("bindTo: [api]", "bindTo: all"),
        ("10.0.0.82", "10.0.0.83"),
        ("weight: 2", "weight: 3"),
        ("- name: shop", "- name: other"),
    ],
)
def test_what_all_have_to_want_alike_counts(old: str, new: str) -> None:
    assert old in NATIVE
    assert digest(NATIVE.replace(old, new)) != digest(NATIVE)
