"""What the lab puts under test: a program that keeps a virtual IP on one of several nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubevip_lab._daemon import Daemon


class Subject(Protocol):
    """A program under test, one daemon a node. Who holds the address is not asked of it: the lab asks the network."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def daemons(self) -> Mapping[str, Daemon]:
        """Its daemon on each node, by the node's name."""
        ...

    def control_process(self, node: str) -> int | None:
        """Return the process that elects and holds the address on a node; None when there is none.

        Where that is the daemon itself, its own number.
        """
        ...

    def move(self, node: str, to: str) -> None:
        """Have `node`, which holds the address, hand it over to the node `to`; returns when that is done.

        :raises KubevipError: it cannot be told that, or did not.
        """
        ...

    def move_command(self, node: str, to: str, number: int) -> Sequence[str]:
        """Return the command that does so for the address `number` from 0, as a user on `node` gives it; () if none."""
        ...

    def revive(self) -> None:
        """Start again what ended, where in life somebody else would; else nothing, and it counts as an error."""
        ...

    def trouble(self) -> str:
        """Return what still keeps the cluster from being whole, one line; empty when every node takes part again."""
        ...
