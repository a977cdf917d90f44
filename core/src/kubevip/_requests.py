"""What the commands of a running daemon ask of it, and what is passed on to its services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip._model import Kind
from kubevip.abc import SupportsPlacement, SupportsRequests
from kubevip.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubevip._board import Board
    from kubevip._control import Request
    from kubevip._reconcile import Reconciler
    from kubevip._sources import Sources


class Requests:
    """Answers requests of the control socket; `status` makes the whole status."""

    def __init__(
        self, reconciler: Reconciler, sources: Sources, board: Board, status: Callable[[], Mapping[str, object]]
    ) -> None:
        self._reconciler, self._sources, self._board, self._status = reconciler, sources, board, status

    async def answer(self, request: Request) -> object:
        """Carry out one request.

        :raises ControlError: when it is refused; the message is for people.
        """
        if request.kind is not None:
            return await self._of_service(request)
        match request.verb:
            case "status":
                return dict(self._status())
            case "reload":
                self._sources.read_again()
                return "reading the configuration again"
            case "move":
                return await self._move(_text(request.args, "group"), _text(request.args, "to"))
            case "drain":
                return self._drain(undo=_truth(request.args, "undo"))
            case verb:
                raise ControlError(f"unknown request {verb!r}")

    async def _of_service(self, request: Request) -> object:
        try:
            kind = Kind(request.kind)
        except ValueError:
            raise ControlError(f"there is no kind {request.kind!r}") from None
        service = self._reconciler.opened(kind, request.name or "")
        if service is None:
            raise ControlError(f"{kind.value} {request.name!r} is not open here")
        if not isinstance(service, SupportsRequests):
            raise ControlError(f"{kind.value} {request.name!r} answers no requests")
        return await service.request(request.verb, request.args)

    async def _move(self, group: str, to: str) -> str:
        found = next((it for it in self._board.snapshot().groups if it.name == group), None)
        if found is None:
            known = ", ".join(it.name for it in self._board.snapshot().groups) or "none"
            raise ControlError(f"there is no group {group!r} (groups: {known})")
        election = self._reconciler.opened(Kind.ELECTION, found.election)
        if not isinstance(election, SupportsPlacement):
            raise ControlError(f"group {group!r}: election {found.election!r} cannot move a group")
        if to == self._board.node and self._reconciler.is_drained:
            raise ControlError(f"group {group!r}: {to} is drained and would give it away; first kubevip drain --undo")
        await election.move(group, to)
        return f"{group} is held by {to}"

    def _drain(self, *, undo: bool) -> str:
        self._reconciler.drain(undo=undo)
        return "takes part again" if undo else "makes room for others; undo with: kubevip drain --undo"


def _text(args: Mapping[str, object], name: str) -> str:
    value = args.get(name)
    if not isinstance(value, str) or not value:
        raise ControlError(f"{name} is missing")
    return value


def _truth(args: Mapping[str, object], name: str) -> bool:
    """Return what is said there; not to say it is false."""
    value = args.get(name, False)
    if not isinstance(value, bool):
        raise ControlError(f"{name}: expected true or false, got {value!r}")
    return value
