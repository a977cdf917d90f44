"""The first words on a connection: who is there, whether it is heard here, and how both introduce themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kubevip_election_raft._consensus.entries import Process
from kubevip_election_raft._consensus.epoch import count_of
from kubevip_election_raft._consensus.messages import Introduction
from kubevip_election_raft._wire.codec import Frame, Hello, Welcome
from kubevip_election_raft._wire.identity import Identity
from kubevip_election_raft._wire.link import Link


class Greeter:
    """Says the first words for one member, and judges those of others."""

    def __init__(
        self,
        identity: Identity,
        *,
        introduce: Callable[[], Introduction],
        met: Callable[[Process, Introduction, str], None],
        superseded: Callable[[str, int], None],
    ) -> None:
        """Prepare; see `Transport` for what the functions are called with."""
        self._identity, self._introduce, self._met, self._superseded = identity, introduce, met, superseded

    # Outgoing

    def hello(self, to: str) -> Hello:
        """Return the first words to the peer `to`."""
        return Hello(to=to, software=self._identity.software, introduction=self._introduce())

    def take_welcome(self, frame: Frame, link: Link) -> str:
        """Take the answer of a peer, whose name or address is certain; return what is wrong with it, or ""."""
        answer, sender = frame.message, frame.sender
        if frame.cluster != self._identity.cluster:
            return "wrong cluster"
        if not isinstance(answer, Welcome):
            return "no welcome"
        if not answer.refusal and sender.name != link.name:
            return f"{sender.name} is there"
        if difference := self._compare_epochs(frame):
            return difference
        if answer.introduction is not None and sender.name == link.name:
            self._met(sender, answer.introduction, "")
        link.software, link.is_refused = answer.software, bool(answer.refusal)
        return answer.refusal

    # Incoming

    def take_hello(
        self, frame: Frame, links: Mapping[str, Link], source: str, proven: tuple[str, ...] | None
    ) -> Welcome:
        """Answer whoever sent this first frame; the answer says why it is not heard, if it is not.

        :param links: those to the peers, by name.
        :param proven: the names that it has proven; without keys its address decides.
        """
        refusal = self._refusal(frame, links, source, proven)
        introduction = self._meet(frame, refusal, "" if proven is not None else source)
        return Welcome(refusal=refusal, software=self._identity.software, introduction=introduction)

    def _refusal(self, frame: Frame, links: Mapping[str, Link], source: str, proven: tuple[str, ...] | None) -> str:
        name = frame.sender.name
        if proven is not None and name not in proven:
            return f"its certificate is for {', '.join(proven) or 'nobody'}, not for {name}"
        if frame.cluster != self._identity.cluster:
            return "wrong cluster"
        if not isinstance(frame.message, Hello):
            return "no greeting"
        if frame.message.to != self._identity.process.name:
            return f"this is {self._identity.process.name}, not {frame.message.to}"
        if (link := links.get(name)) is None:
            return self._no_member(name)
        if proven is None and source != str(link.endpoint.address):
            return f"{name} is at {link.endpoint.address} here, not at {source}"
        return self._compare_epochs(frame)

    def _no_member(self, name: str) -> str:
        members = ", ".join(record.name for record in self._introduce().members)
        return f"{name} is not a member of the group (members: {members})"

    def _meet(self, frame: Frame, refusal: str, source: str) -> Introduction | None:
        """Take the introduction of a peer, or of whoever is refused only because it is none; return the answer to it.

        :param source: the address that it came from, if nothing else is known of a stranger.
        """
        hello, is_stranger = frame.message, refusal == self._no_member(frame.sender.name)
        if not isinstance(hello, Hello) or hello.introduction is None or (refusal and not is_stranger):
            return None
        if frame.epoch != self._identity.epoch:
            return None
        answer = self._introduce()  # as it was before: so both sides see the same
        self._met(frame.sender, hello.introduction, source if is_stranger else "")
        return answer

    def _compare_epochs(self, frame: Frame) -> str:
        """Say that a peer, which has proven who it is, is of another epoch; "" if it is not."""
        own = self._identity.epoch
        if frame.epoch == own:
            return ""
        if frame.epoch > own:
            self._superseded(frame.sender.name, frame.epoch)
            return "the group was recovered without it"
        return f"epoch {count_of(frame.epoch)} is over: the group was recovered (epoch {count_of(own)})"
