"""What users set: for the provider, and for each load balancer under `tcp:`."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from kubevip import Duration


@frozen(kw_only=True)
class TcpConfig:
    """An instance of the TCP proxy."""

    workers: int | Literal["auto"] = 1
    """Processes that relay; `auto` is one per CPU. One relays some 10,000 short connections a second; each takes about
    12 MB of memory."""

    def __attrs_post_init__(self) -> None:
        if self.workers != "auto" and not 1 <= self.workers <= 256:
            raise ValueError(f"workers: expected auto or an integer 1-256, got {self.workers}")


@frozen(kw_only=True)
class TcpOptions:
    """What one load balancer may say of how it is relayed."""

    connect_timeout: Duration = field(default=Duration(1.0))
    """How long a backend may take to accept before the next one is tried. A lost first packet costs a second."""
    tries: int = 3
    """Backends that are tried for one client, each at most once, before it is reset."""
    idle_timeout: Duration = field(default=Duration(3600.0))
    """How long a connection may be silent in both directions before it is reset."""
    keepalive: Duration = field(default=Duration(30.0))
    """Silence after which the kernel asks whether a peer is still there, in whole seconds; it is given up after as
    long again. Keeps the entries of firewalls on the way alive, too."""
    max_connections: int = 10_000
    """Connections that a listener relays at a time; further clients wait in its queue until one ends. Each takes two
    file descriptors."""

    def __attrs_post_init__(self) -> None:
        problems = [
            f"{name}: expected more than 0 s"
            for name, span in (
                ("connectTimeout", self.connect_timeout),
                ("idleTimeout", self.idle_timeout),
                ("keepalive", self.keepalive),
            )
            if span <= 0
        ]
        if not 1 <= self.tries <= 16:
            problems.append(f"tries: expected an integer 1-16, got {self.tries}")
        if not 1 <= self.max_connections <= 1_000_000:
            problems.append(f"maxConnections: expected an integer 1-1000000, got {self.max_connections}")
        if problems:
            raise ValueError("; ".join(problems))
