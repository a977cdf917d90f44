"""The machines that the sections of elections name: `members: [{name: n1, address: 192.168.0.70}, ...]`.

The sections belong to their providers, which this module does not know; it looks only for this one shape, because a
node learns its own name from it and load balancers may use it as backends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from attrs import field, frozen

from kubevip import IPAddress, Member, Section, structure
from kubevip.errors import ConfigError
from kubevip_source_file._checks import host_address, object_name

if TYPE_CHECKING:
    from kubevip import Instance, Problem


@frozen(kw_only=True)
class _Named:
    name: str = field(validator=object_name)
    address: IPAddress = field(validator=host_address)


def members_of(instance: Instance) -> tuple[tuple[Member, ...], list[Problem]]:
    """Return the members that the section of an election lists, and what is wrong with them.

    Entries that cannot be read are left out here and are the provider's to refuse, unless name or address is at fault.
    """
    listed = instance.section.data.get("members")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        return (), []
    places = instance.section.places
    members: list[Member] = []
    problems: list[Problem] = []
    for index, entry in enumerate(cast("Sequence[object]", listed)):
        if not isinstance(entry, Mapping):
            continue
        known = {key: value for key, value in cast("Mapping[str, object]", entry).items() if key in ("name", "address")}
        try:
            named = structure(Section(provider="", data=known, places=places.below("members", index)), _Named)
        except ConfigError as error:
            problems += error.problems
            continue
        for other in members:
            if other.name == named.name:
                problems.append(places.problem(f"two members are called {named.name}", "members", index, "name"))
            if other.address == named.address:
                message = f"{other.name} has the address {named.address} already"
                problems.append(places.problem(message, "members", index, "address"))
        members.append(Member(name=named.name, address=named.address))
    loopback = [member.address.is_loopback for member in members]
    if any(loopback) and not all(loopback):  # all of them: a trial on one machine
        index = loopback.index(True)
        message = f"{members[index].address} is a loopback address, which the other members cannot reach"
        problems.append(places.problem(message, "members", index, "address"))
    return tuple(members), problems
