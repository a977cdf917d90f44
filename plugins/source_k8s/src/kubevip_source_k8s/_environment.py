"""What the variables of kube-vip's service Pods stand for where there is no configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip import Place, Places, Problem, Section
from kubevip.errors import ConfigError
from kubevip_source_k8s._config import CONFIG_MAP, Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

#: strconv.ParseBool, which read them.
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")

#: Those of kube-vip's control plane, which belong to a file of its format; without one nobody would heed them.
OF_A_FILE = (
    "vip_address",
    "vip_singlenode",
    "vip_startleader",
    "vip_leaderelection",
    "vip_addpeerstolb",
    "vip_localpeer",
    "vip_peers",
    "vip_packet",
    "lb_enable",
    "lb_backends",
)


def from_environment(environment: Mapping[str, str]) -> Section | None:
    """Return the section that stands for kube-vip's variables where there is no configuration file.

    `vip_interface`, `vip_configmap` and `vip_arp` are those of its service Pods; without any of them there is none.

    :raises ConfigError: when one of them is not what it should be, or others ask for what only a file can.
    """
    if not any(environment.get(name) for name in ("vip_interface", "vip_configmap", "vip_arp")):
        return None
    problems = [
        _problem(name, "belongs to a configuration file, and there is none: name one with --config, or leave it out")
        for name in OF_A_FILE
        if environment.get(name) and environment[name] not in _FALSE
    ]
    arp = environment.get("vip_arp") or "false"
    if arp not in (*_TRUE, *_FALSE):
        problems.append(_problem("vip_arp", f'expected true or false, got "{arp[:80]}"'))
    if problems:
        raise ConfigError(problems)
    keys = {"configMap": "vip_configmap", "interface": "vip_interface", "announce": "vip_arp"}
    inner: dict[tuple[str | int, ...], Place] = {
        (key,): Place(file="environment", path=(name,)) for key, name in keys.items()
    }
    return Section(
        provider="k8s",
        data={
            "mode": Mode.CONFIG_MAP.value,
            "configMap": environment.get("vip_configmap") or CONFIG_MAP,
            "interface": environment.get("vip_interface") or "auto",
            "announce": ["address", "arp"] if arp in _TRUE else ["address"],
        },
        places=Places(root=Place(file="environment"), inner=inner),
    )


def _problem(name: str, message: str) -> Problem:
    return Problem(place=Place(file="environment", path=(name,)), message=message)
