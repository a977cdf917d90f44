from __future__ import annotations

import errno
import socket
import struct
from collections import deque

import pytest

from kubevip_announce_arp import _inventory as inventory
from kubevip_announce_arp import _netlink as netlink
from kubevip_announce_arp._rtnetlink import NEWADDR

ADDRESS = struct.pack("=BBBBi", socket.AF_INET, 24, 0, 0, 4) + netlink.attribute(2, bytes((192, 0, 2, 1)))
INTERRUPTED = netlink.INTERRUPTED


def answer(kind: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
    return netlink.message(kind, 0x2 | flags, sequence, body)


class Kernel:
    """A socket at whose other end a script answers."""

    def __init__(self, *answers: bytes) -> None:
        self.asked: list[bytes] = []
        self._answers = deque(answers)

    def settimeout(self, seconds: float) -> None:
        pass

    def send(self, data: bytes) -> None:
        self.asked.append(data)

    def recv(self, size: int) -> bytes:
        return self._answers.popleft()

    def close(self) -> None:
        pass


def read(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> list[str]:
    monkeypatch.setattr(inventory, "_open", lambda: kernel)
    return [str(entry.address) for entry in inventory.read_devices()[1]]


def done(sequence: int) -> bytes:
    return answer(netlink.DONE, sequence, bytes(4))


def test_a_list_that_changed_while_it_was_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ADDRESS[:-1] + bytes((9,))
    kernel = Kernel(
        done(1),  # no links
        answer(NEWADDR, 1, ADDRESS, INTERRUPTED) + done(1),
        answer(NEWADDR, 2, ADDRESS),
        answer(NEWADDR, 2, other) + done(2),
    )
    assert read(monkeypatch, kernel) == ["192.0.2.1", "192.0.2.9"]
    assert len(kernel.asked) == 3


def test_a_list_that_changes_for_ever_is_taken_as_it_was_last(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(done(1), *(answer(NEWADDR, tried, ADDRESS, INTERRUPTED) + done(tried) for tried in range(1, 6)))
    assert read(monkeypatch, kernel) == ["192.0.2.1"]


@pytest.mark.parametrize("kind", [netlink.ERROR, netlink.DONE])
def test_a_refusal_is_an_error_with_its_number(monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    with pytest.raises(PermissionError) as refused:
        read(monkeypatch, Kernel(answer(kind, 1, struct.pack("=i", -errno.EPERM))))
    assert refused.value.errno == errno.EPERM


def test_an_answer_that_is_no_message_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Bad message"):
        read(monkeypatch, Kernel(b"?"))
