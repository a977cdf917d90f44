"""Raw Ethernet sockets on one device, which hear only what claims given addresses. The filter is built purely."""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import TYPE_CHECKING

from kubevip_announce_arp._frames import ETHERTYPE_ARP, ETHERTYPE_IPV6, MARK_BEGIN, MARK_OFFSETS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kubevip import IPAddress

_SO_ATTACH_FILTER = 26
_LOAD_WORD, _LOAD_BYTE, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x30, 0x15, 0x06  # classic BPF
_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_SNAP_BYTES = 256
_TAKE, _DROP = (_RETURN, 0, 0, _SNAP_BYTES), (_RETURN, 0, 0, 0)

Instruction = tuple[int, int, int, int]


def claims_filter(
    ethertype: int, addresses: Collection[IPAddress], *, with_marked: bool = False
) -> tuple[Instruction, ...]:
    """Return a classic BPF program that takes frames of a sort that may claim one of `addresses`.

    ARP: by sender, where that is nobody (a probe) by target; IPv6: neighbour solicitations and advertisements by the
    end of their target. `with_marked`: also whatever kubevip announces. Programs are limited; for more addresses than
    fit every frame of the sort is taken.
    """
    if ethertype == ETHERTYPE_ARP:
        keys = sorted({int(address) for address in addresses})
        guard: list[Instruction] = []
        load: list[Instruction] = [(_LOAD_WORD, 0, 0, 28), (_JUMP_IF_EQUAL, 0, 1, 0), (_LOAD_WORD, 0, 0, 38)]
    else:
        keys = sorted({int(address) & 0xFFFFFFFF for address in addresses})
        guard = [(_LOAD_BYTE, 0, 0, 20), (_JUMP_IF_EQUAL, 1, 0, 58), _DROP]
        guard += [(_LOAD_BYTE, 0, 0, 54), (_JUMP_IF_EQUAL, 2, 0, 135), (_JUMP_IF_EQUAL, 1, 0, 136), _DROP]
        load = [(_LOAD_WORD, 0, 0, 74)]
    program = guard + load
    if len(program) + 2 * len(keys) + 4 > _INSTRUCTIONS:
        return (*guard, _TAKE)
    for key in keys:
        program += [(_JUMP_IF_EQUAL, 0, 1, key), _TAKE]
    if with_marked:  # last, as the kernel drops what is too short to be looked at
        program += [(_LOAD_WORD, 0, 0, MARK_OFFSETS[ethertype])]
        program += [(_JUMP_IF_EQUAL, 0, 1, int.from_bytes(MARK_BEGIN, "big")), _TAKE]
    return (*program, _DROP)


def open_packet_socket(
    device: str, ethertype: int, addresses: Collection[IPAddress], *, with_marked: bool = False
) -> socket.socket:
    """Open a non-blocking socket on `device` that sends any frame and hears those that may claim `addresses`.

    It does not hear what this machine sends. `with_marked` is that of `claims_filter`.

    :raises OSError: when there is no such device, or no right to raw sockets.
    """
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    opened = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: it hears nothing before it is bound
    try:
        attach(opened, claims_filter(ethertype, addresses, with_marked=with_marked))
        opened.bind((device, ethertype))
    except OSError:
        opened.close()
        raise
    return opened


def attach(opened: socket.socket, program: Iterable[Instruction]) -> None:
    """Replace the filter of a socket.

    :raises OSError: when the kernel refuses it.
    """
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    opened.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
    )


def close_sockets(opened: Iterable[socket.socket]) -> None:
    """Close packet sockets. Blocks for a grace period of the kernel, some 10 to 30 ms."""
    for each in opened:
        each.close()


def ethertype_of(address: IPAddress) -> int:
    """Return the type of the frames that announce `address`."""
    return ETHERTYPE_ARP if address.version == 4 else ETHERTYPE_IPV6
