from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING

import pytest

from kubevip import Duration, Interface, Machine, Outlook, Severity, VirtualIP
from kubevip.testing import check_plugin
from kubevip_announce_arp import _records as records
from kubevip_announce_arp import plugin
from kubevip_announce_arp._config import AddressConfig, ArpConfig, FencePolicy
from kubevip_announce_arp._describe import describe_address, describe_arp
from kubevip_announce_arp._device import Device
from kubevip_announce_arp._devices import Devices
from kubevip_announce_arp._records import Ownership
from kubevip_announce_arp._rtnetlink import AddressEvent, LinkEvent

if TYPE_CHECKING:
    from pathlib import Path

VIPS = (
    VirtualIP(name="api4", address=ip_address("192.168.0.75"), group="api"),
    VirtualIP(name="api6", address=ip_address("2001:db8::75"), group="api"),
)
MACHINE = Machine(
    interfaces=(Interface(name="ens18", addresses=(ip_interface("192.168.0.71/24"), ip_interface("192.168.0.76/32"))),)
)


def outlook(*vips: VirtualIP, **devices: str) -> Outlook:
    return Outlook(node_name="n2", instance="default", machine=MACHINE, vips=vips, devices=devices)


def test_the_entry_module_is_as_core_wants_it() -> None:
    assert [provider.name for _, provider in check_plugin(plugin).providers] == ["address", "arp"]


def test_a_plan_names_device_addresses_lifetime_and_fence() -> None:
    found = describe_address(AddressConfig(), outlook(*VIPS, api4="ens18", api6="ens18"))
    assert found.lines == ("ens18 += 192.168.0.75/32 2001:db8::75/128 (lifetime 10 s, fenced)",)
    assert found.problems == ()
    found = describe_address(AddressConfig(fence=FencePolicy.OFF), outlook(*VIPS, api4="ens18", api6="ens19"))
    addresses = "ens18 += 192.168.0.75/32, ens19 += 2001:db8::75/128"
    assert found.lines == (f"{addresses} (lifetime 2 s, not fenced: no takeover within 500 ms)",)


def test_a_plan_names_the_times_of_announcements() -> None:
    assert describe_arp(ArpConfig(), outlook(*VIPS)).lines == ("GARP+NA at once, +1.1 s, +2.2 s, every 60 s",)
    quick = ArpConfig(count=2, interval=Duration(0.5), refresh=Duration(0))
    assert describe_arp(quick, outlook(VIPS[1])).lines == ("NA at once, +0.5 s",)
    assert describe_arp(ArpConfig(), outlook()).lines == ()


def test_a_missing_device_is_a_warning_that_says_what_follows() -> None:
    vip = VirtualIP(name="web", address=ip_address("192.168.0.76"), group="web", interface="ens19")
    found = describe_address(AddressConfig(), outlook(vip))
    assert found.lines == ()
    assert [(problem.message, problem.severity) for problem in found.problems] == [
        ("ens19 does not exist on this machine; n2 will not stand for web", Severity.WARNING)
    ]


def test_a_host_address_that_is_there_is_a_warning_as_it_may_be_that_of_a_running_kubevip() -> None:
    vip = VirtualIP(name="web", address=ip_address("192.168.0.76"), group="web")
    found = describe_address(AddressConfig(), outlook(vip, web="ens18"))
    assert [(it.message, it.severity) for it in found.problems] == [
        ("192.168.0.76 is already on ens18; unless that is a running kubevip, n2 cannot hold web", Severity.WARNING)
    ]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: AddressConfig(lifetime=Duration(1.5)), "lifetime"),
        (lambda: AddressConfig(lifetime=Duration(4), renew=Duration(3)), "renew"),
        (lambda: AddressConfig(probes=11), "probes"),
        (lambda: AddressConfig(probe_interval=Duration(9)), "probeInterval"),
        (lambda: ArpConfig(count=0), "count"),
        (lambda: ArpConfig(interval=Duration(0)), "interval"),
        (lambda: ArpConfig(refresh=Duration(0.5)), "refresh"),
        (lambda: ArpConfig(rate=1), "rate"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(make: object, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        make()  # type: ignore[operator]


def test_records_are_read_back(tmp_path: Path) -> None:
    owned = {Ownership("192.0.2.1", "e0"), Ownership("2001:db8::1", "e1")}
    records.write_owned(tmp_path, owned)
    records.write_announced(tmp_path, {"192.0.2.1"})
    assert records.read_owned(tmp_path) == owned
    assert records.read_announced(tmp_path) == {"192.0.2.1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["announced.json", "owned.json"]


def test_what_another_boot_owned_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write_owned(tmp_path, [Ownership("192.0.2.1", "e0")])
    monkeypatch.setattr(records, "boot_id", lambda: "another")
    assert records.read_owned(tmp_path) == frozenset()


def test_a_record_that_the_disk_does_not_take_is_named(tmp_path: Path) -> None:
    (tmp_path / "announced.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        records.write_announced(tmp_path, {"192.0.2.1"})
    assert caught.value.filename == str(tmp_path / "announced.json")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"addresses": 7}', '{"boot": 1, "addresses": [1]}', "\0" * 100])
def test_a_damaged_record_is_empty(tmp_path: Path, content: str) -> None:
    for name in (records.OWNED, records.ANNOUNCED):
        (tmp_path / name).write_text(content)
    assert records.read_owned(tmp_path) == frozenset()
    assert records.read_announced(tmp_path) <= {"1"}


@pytest.mark.parametrize(
    ("device", "trouble", "unfit"),
    [
        (Device(index=1, name="e0", hardware_address=bytes(6)), "", ""),
        (Device(index=1, name="e0", hardware_address=bytes(6), flags=0x1), "link e0 has no carrier", ""),
        (Device(index=1, name="e0", hardware_address=bytes(6), flags=0), "link e0 is down", ""),
        (Device(index=1, name="lo", flags=0x10009), "", "a loopback device"),
        (Device(index=1, name="wg0", flags=0x10011), "", "a point-to-point device"),
        (Device(index=1, name="d0", flags=0x10081), "", "a NOARP device"),
        (Device(index=1, name="ib0", hardware_type=32), "", "not an Ethernet device"),
    ],
)
def test_a_device_says_what_it_is_good_for(device: Device, trouble: str, unfit: str) -> None:
    assert device.trouble == trouble
    assert unfit in device.unfit_for_arp
    assert bool(device.unfit_for_arp) == bool(unfit)


def test_devices_follow_what_the_kernel_tells() -> None:
    devices = Devices()
    own, vip = ip_address("10.9.0.1"), ip_address("10.9.0.100")
    devices.take(LinkEvent(4, "e0", 0x11043, 1, bytes(6), 0, "veth", False))
    devices.take(AddressEvent(4, own, 24, False, True, 0))
    devices.take(AddressEvent(4, vip, 32, False, False, 107))
    assert devices.machine().device_for(vip) == "e0"
    assert devices.has(4, vip)
    devices.take(AddressEvent(4, vip, 32, True, False, 107))
    assert devices.where(vip) == ()
    devices.take(AddressEvent(4, own, 24, True, True, 0))
    assert devices.machine().device_for(vip) == ""
    devices.take(LinkEvent(4, "e0", 0, 1, bytes(6), 0, "veth", True))
    assert devices.device(4) is None
