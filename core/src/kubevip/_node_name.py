"""Which of the configured machines this one is: one file serves all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip._model import Place, Problem
from kubevip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip._machine import Machine
    from kubevip._model import Member
    from kubevip._options import Options


def node_name(options: Options, *, node_name: str | None, members: Sequence[Member], machine: Machine) -> str:
    """Return this node's name.

    The first of these tells: option or environment, the file's own word, the member with this host's name, the member
    with one of this machine's addresses. Without members the host name will do.

    :param node_name: what the file says of the machine that reads it (`localPeer.id`).
    :raises ConfigError: when members are configured and this machine is none of them; the message lists both.
    """
    if options.node is not None:
        return options.node
    if node_name is not None:
        return node_name
    host = machine.host_name.lower()
    if not members:
        return host
    for name in (host, host.partition(".")[0]):
        if any(member.name == name for member in members):
            return name
    here = [member.name for member in members if machine.device_of(member.address)]
    if len(here) == 1:
        return here[0]
    configured = ", ".join(f"{member.name} {member.address}" for member in members)
    own = ", ".join(str(address.ip) for device in machine.interfaces for address in device.addresses)
    found = "is more than one" if here else "is none"
    message = f"this machine {found} of the configured members ({configured}): it is {host} with {own or 'no address'}"
    raise ConfigError([Problem(place=Place(file="--node"), message=f"{message}; say which one with --node")])
