"""Network segments: of each the device that leads to it, the sockets on it, and what is claimed there."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from anyio import CancelScope, create_task_group, current_time, to_thread, wait_readable

from kubevip_announce_arp._frames import ETHERTYPE_ARP, ETHERTYPE_IPV6, read_claim
from kubevip_announce_arp._packet_socket import (
    attach,
    claims_filter,
    close_sockets,
    ethertype_of,
    open_packet_socket,
)
from kubevip_announce_arp._schedule import TokenBucket

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from anyio.abc import TaskGroup

    from kubevip import IPAddress
    from kubevip_announce_arp._device import Device
    from kubevip_announce_arp._frames import Claim

_logger = logging.getLogger("kubevip.arp")

_BURST_FRAMES = 256
_READS = 64  # frames in a row before others get a turn


class Segment:
    """Sends finished frames through one device, paced, and hears who claims the addresses that are watched.

    :param heard: called with every claim of a watched address that another hardware address makes, and every probe.
    :param keep_open: as in `Host`, for the sockets: that of a process which was killed would delay its end.
    :param with_marked: hear also whatever other machines' kubevip announces.
    """

    def __init__(
        self,
        device: Device,
        rate: float,
        heard: Callable[[Claim], None],
        keep_open: Callable[[int], Callable[[], None]],
        *,
        with_marked: bool = False,
    ) -> None:
        self.device = device
        self._with_marked = with_marked
        self._heard, self._keep_open = heard, keep_open
        self._let_go: list[Callable[[], None]] = []
        self._bucket = TokenBucket(rate, min(rate, _BURST_FRAMES), current_time())
        self._watched: dict[int, Counter[IPAddress]] = {ETHERTYPE_ARP: Counter(), ETHERTYPE_IPV6: Counter()}
        self._sockets: dict[int, socket.socket] = {}
        self._scope = CancelScope()

    @property
    def is_open(self) -> bool:
        """Whether all its sockets are."""
        return len(self._sockets) == len(self._watched)

    def open(self) -> None:
        """Open the sockets.

        :raises OSError: when the device is gone, or raw sockets are not permitted.
        """
        for ethertype, addresses in self._watched.items():
            opened = self._sockets[ethertype] = open_packet_socket(
                self.device.name, ethertype, addresses, with_marked=self._with_marked
            )
            self._let_go.append(self._keep_open(opened.fileno()))

    def close(self) -> None:
        """Have `run` end, and close the sockets."""
        self._scope.cancel()

    def watch(self, address: IPAddress) -> None:
        """Hear of claims of `address` from now on, until it was unwatched as often as it was watched.

        :raises OSError: when the kernel refuses.
        """
        watched = self._watched[ethertype_of(address)]
        watched[address] += 1
        if watched[address] > 1:
            return
        try:
            self._filter(ethertype_of(address))
        except OSError:
            del watched[address]
            raise

    def unwatch(self, address: IPAddress) -> None:
        """Hear of them no more, unless it was watched more often."""
        watched = self._watched[ethertype_of(address)]
        watched[address] -= 1
        if watched[address] > 0:
            return
        del watched[address]
        try:
            self._filter(ethertype_of(address))
        except OSError as error:  # it is heard in vain then
            _logger.debug("device=%s: the filter cannot be changed: %s", self.device.name, error)

    def delay(self, frames: int) -> float:
        """Take the turn of so many frames; return in how many seconds it comes."""
        return self._bucket.take(current_time(), frames)

    def send(self, address: IPAddress, frame: bytes) -> None:
        """Send one frame about `address`.

        :raises OSError: when the device is off or gone.
        """
        opened = self._sockets.get(ethertype_of(address))
        if opened is None:
            raise OSError(19, f"{self.device.name} is gone")  # ENODEV
        opened.send(frame)

    async def run(self) -> None:
        """Hear claims until closed; then close the sockets.

        In a thread, because the kernel waits some 30 ms until no processor uses them. So a segment also stays open
        when nothing is announced on it any more.
        """
        opened = tuple(self._sockets.values())
        try:
            with self._scope:
                async with create_task_group() as tg:
                    for each in opened:
                        tg.start_soon(self._listen, each)
        finally:
            self._sockets.clear()
            for let_go in self._let_go:
                let_go()
            with CancelScope(shield=True):
                await to_thread.run_sync(close_sockets, opened)

    async def _listen(self, opened: socket.socket) -> None:
        while True:
            await wait_readable(opened)
            for _ in range(_READS):
                try:
                    frame = opened.recv(256)
                except BlockingIOError:
                    break
                except OSError as error:  # the device went down or away; there is news of it by netlink
                    _logger.debug("device=%s: %s", self.device.name, error)
                    break
                claim = read_claim(frame)
                if claim is None or claim.hardware_address == self.device.hardware_address:
                    continue
                is_watched = claim.address in self._watched[ethertype_of(claim.address)]
                if is_watched or (self._with_marked and claim.mark):
                    self._heard(claim)

    def _filter(self, ethertype: int) -> None:
        """Have the kernel pass on what is watched. It compiles the filter anew, so none of that in a takeover."""
        if ethertype in self._sockets:
            program = claims_filter(ethertype, self._watched[ethertype].keys(), with_marked=self._with_marked)
            attach(self._sockets[ethertype], program)


class Segments(Mapping[int, Segment]):
    """The segments of one instance, by the indexes of their devices: a name may change, or become another device's.

    :param tasks: where the sockets are listened to; belongs to the instance.
    :param make: makes the segment of a device, not opened.
    """

    def __init__(self, tasks: TaskGroup, make: Callable[[Device], Segment]) -> None:
        self._tasks, self._make = tasks, make
        self._segments: dict[int, Segment] = {}

    def __getitem__(self, index: int) -> Segment:
        return self._segments[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)

    def opened(self, device: Device) -> Segment:
        """Return the segment that a device leads to, opened; those that a device of its name led to before are closed.

        :raises OSError: when the device is gone, or raw sockets are not permitted.
        """
        for index, other in tuple(self._segments.items()):
            if not other.is_open if index == device.index else other.device.name == device.name:
                other.close()
                del self._segments[index]
        segment = self._segments.get(device.index)
        if segment is None:
            segment = self._segments[device.index] = self._make(device)
            try:
                segment.open()
            finally:
                self._tasks.start_soon(segment.run)
        segment.device = device
        return segment
