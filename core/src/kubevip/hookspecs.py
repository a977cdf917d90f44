"""The hooks that a plugin module may implement.

All are synchronous, take no arguments, are called once at start and return an iterable of one descriptor type. Names
are unique per kind; a duplicate is an error that names both distributions. A plugin is a module that an entry point
of the group `kubevip` names; it imports kubevip, the standard library and its own configuration class only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubevip.abc import (
        AgentProvider,
        AnnouncerProvider,
        CheckProvider,
        Command,
        ElectionProvider,
        ObserverProvider,
        ProxyProvider,
        SourceProvider,
    )

hookspec = pluggy.HookspecMarker("kubevip")
hookimpl = pluggy.HookimplMarker("kubevip")


@hookspec
def kubevip_elections() -> Iterable[ElectionProvider]:
    """Yield providers of elections; `elections:` and `groups:` of a configuration name them.

    Example::

        CONSUL = Provider(name="consul", summary="Elect through Consul sessions", config=ConsulConfig, open=open_consul)

        @hookimpl
        def kubevip_elections():
            yield CONSUL
    """
    raise NotImplementedError


@hookspec
def kubevip_announcers() -> Iterable[AnnouncerProvider]:
    """Yield providers of announcers; they are stacked in the order a virtual IP lists them and left in reverse.

    Example::

        BGP = Provider(name="bgp", summary="Advertise addresses to BGP peers", config=BgpConfig, open=open_bgp)

        @hookimpl
        def kubevip_announcers():
            yield BGP
    """
    raise NotImplementedError


@hookspec
def kubevip_proxies() -> Iterable[ProxyProvider]:
    """Yield providers of proxies; a load balancer's `type` is a protocol that the provider lists.

    Example::

        QUIC = Provider(name="quic", summary="Balance QUIC", config=QuicConfig, open=open_quic, protocols=("quic",))

        @hookimpl
        def kubevip_proxies():
            yield QUIC
    """
    raise NotImplementedError


@hookspec
def kubevip_config_sources() -> Iterable[SourceProvider]:
    """Yield providers of configuration sources; they run side by side and are merged in configured order.

    Example::

        VAULT = Provider(name="vault", summary="Read virtual IPs from Vault", config=VaultConfig, open=open_vault)

        @hookimpl
        def kubevip_config_sources():
            yield VAULT
    """
    raise NotImplementedError


@hookspec
def kubevip_agents() -> Iterable[AgentProvider]:
    """Yield providers of agents; they run when configured, on every node or on the leader of a group.

    Example::

        DNS = Provider(name="dns", summary="Keep a DNS name on a virtual IP", config=DnsConfig, open=open_dns)

        @hookimpl
        def kubevip_agents():
            yield DNS
    """
    raise NotImplementedError


@hookspec
def kubevip_checks() -> Iterable[CheckProvider]:
    """Yield providers of health checks; `healthCheck: {type: NAME}` of a group names them.

    Example::

        PING = Provider(name="ping", summary="Check by ICMP", config=PingConfig, open=open_ping)

        @hookimpl
        def kubevip_checks():
            yield PING
    """
    raise NotImplementedError


@hookspec
def kubevip_observers() -> Iterable[ObserverProvider]:
    """Yield providers of observers; each is told every event, and a failure stays with its observer.

    Example::

        SLACK = Provider(name="slack", summary="Tell a channel", config=SlackConfig, open=open_slack)

        @hookimpl
        def kubevip_observers():
            yield SLACK
    """
    raise NotImplementedError


@hookspec
def kubevip_commands() -> Iterable[Command]:
    """Yield subcommands of `kubevip`.

    Example::

        @hookimpl
        def kubevip_commands():
            yield Command(name="hello", summary="Say hello", configure=add_arguments, run=say_hello)
    """
    raise NotImplementedError
