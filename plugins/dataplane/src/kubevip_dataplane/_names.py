"""Backends that are given by host name: their addresses, asked for away from the workers."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from anyio import Event, create_task_group, move_on_after

from kubevip_dataplane._question import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: How often names are asked for again, and how long one question may take.
REFRESH_SECONDS = 30.0
RETRY_SECONDS = 2.0
QUESTION_SECONDS = 5.0


def is_literal(host: str) -> bool:
    """Whether `host` is an address and needs no question."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class NamesUser(Protocol):
    """Something that needs the addresses of names."""

    def names(self) -> Iterable[str]:
        """Return the names that it needs."""
        raise NotImplementedError

    def names_changed(self) -> None:
        """Take note that `Names.address` of one of them returns something else now."""


class Names:
    """The addresses of names, kept fresh while anybody needs them."""

    def __init__(self, current_time: Callable[[], float]) -> None:
        self._current_time = current_time
        self._users: set[NamesUser] = set()
        self._addresses: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._due: dict[str, float] = {}
        self._unanswered: dict[str, Question] = {}  # given up here, not by the resolver
        self._wake = Event()

    def add(self, user: NamesUser) -> None:
        """Keep the names of `user` fresh; also to say that it needs others now."""
        self._users.add(user)
        self._wake.set()

    def discard(self, user: NamesUser) -> None:
        """Forget `user`."""
        self._users.discard(user)

    def address(self, name: str) -> str | None:
        """Return the address of `name`, as far as it is known; the last one known when asking fails."""
        return self._addresses.get(name)

    def problem(self, name: str) -> str:
        """Return why the address of `name` is not known."""
        return self._problems.get(name, "its address is being looked up")

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._wake = Event()
            wanted = {name for user in self._users for name in user.names()}
            for known in (self._addresses, self._problems, self._due, self._unanswered):
                for name in known.keys() - wanted:
                    del known[name]
            now = self._current_time()
            due = sorted(name for name in wanted if self._due.get(name, 0.0) <= now)
            if due:
                async with create_task_group() as tg:
                    for name in due:
                        tg.start_soon(self._ask, name)
                continue
            patience = min((self._due[name] - now for name in wanted), default=None)
            with move_on_after(patience):
                await self._wake.wait()

    def _is_being_asked(self, name: str) -> bool:
        """Whether an earlier question still occupies a thread: a dead resolver shall not occupy one a try."""
        question = self._unanswered.get(name)
        return question is not None and question.is_open

    async def _ask(self, name: str) -> None:
        problem = "its name is not answered for"
        answers: list[str] = []
        if not self._is_being_asked(name):
            with move_on_after(QUESTION_SECONDS) as patience:
                try:
                    question = self._unanswered[name] = Question(name)
                    answers = await question.answer()
                except OSError as error:
                    problem = f"its name is not known: {error.strerror or error}"
            if not patience.cancelled_caught:
                self._unanswered.pop(name, None)
        before = (self._addresses.get(name), self._problems.get(name))
        if answers:
            if self._addresses.get(name) not in answers:  # the same one, as long as it is among them
                self._addresses[name] = answers[0]
            self._problems.pop(name, None)
        else:
            self._problems[name] = problem
        self._due[name] = self._current_time() + (REFRESH_SECONDS if answers else RETRY_SECONDS)
        if before != (self._addresses.get(name), self._problems.get(name)):
            for user in tuple(self._users):
                if name in user.names():
                    user.names_changed()
