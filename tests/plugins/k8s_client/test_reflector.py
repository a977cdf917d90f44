"""Following a collection through every way in which a connection to the API ends; in virtual time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from anyio import Event, create_task_group, current_time, move_on_after, sleep, sleep_forever
from anyio.lowlevel import checkpoint

from kubevip_k8s import CONFIG_MAPS, Forbidden, Gone, Reflector, ServerError, TimedOut, TooManyRequests, Unreachable
from kubevip_k8s._reflector import SLICE_CHANGES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from kubevip_k8s import ApiError, Change, JsonObject

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


def thing(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": str(version)}}


def whole(found: JsonObject) -> JsonObject:
    return found


class Script:
    """An API whose lists are `things`; each watch plays the next of `watches`, the last one again and again."""

    def __init__(self, *watches: Sequence[object]) -> None:
        self.things = [thing("a", 1)]
        self.watches = list(watches)
        self.lists: list[ApiError] = []
        self.asked: list[tuple[float, Mapping[str, str]]] = []

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str], each: Callable[[object], None], **_: object
    ) -> JsonObject:
        self.asked.append((current_time(), dict(query)))
        await sleep(0.01)
        if self.lists:
            raise self.lists.pop(0)
        for thing in self.things:
            each(thing)
        return {"metadata": {"resourceVersion": "5"}}

    @asynccontextmanager
    async def watch(
        self, path: str, *, query: Mapping[str, str], idle_seconds: float
    ) -> AsyncGenerator[AsyncIterator[JsonObject]]:
        self.asked.append((current_time(), dict(query)))
        await sleep(0.01)
        play = self.watches.pop(0) if len(self.watches) > 1 else self.watches[0]
        if play and isinstance(play[0], Exception):
            raise play[0]
        events = self._play(play)
        try:
            yield events
        finally:
            await events.aclose()

    async def _play(self, play: Sequence[object]) -> AsyncGenerator[Any]:
        for step in play:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                await sleep(step)
            else:
                yield step


FOR_EVER = (1e9,)


async def follow(script: Script, seconds: float) -> tuple[Reflector[JsonObject], list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []

    def tell(changes: Sequence[Change[JsonObject]]) -> None:
        told.extend((change.kind.value, change.key[1]) for change in changes)

    reflector = Reflector(script, CONFIG_MAPS, keep=whole, rng=Random(1), namespace="shop")  # type: ignore[arg-type] # a script takes fewer words
    with move_on_after(seconds):
        await reflector.run(tell)
    return reflector, told


async def test_a_watch_begins_at_the_version_of_the_list_and_asks_for_bookmarks() -> None:
    script = Script(FOR_EVER)
    reflector, told = await follow(script, 1)
    assert told == [("added", "a")]
    assert reflector.synced.value
    assert [query.get("resourceVersion") for _, query in script.asked] == [None, "5"]
    assert script.asked[1][1]["allowWatchBookmarks"] == "true"


async def test_others_have_their_turn_while_a_long_list_is_told() -> None:
    script = Script(FOR_EVER)
    script.things = [thing(f"t{number}", number) for number in range(1000)]
    told, in_a_turn, at_once = list[str](), list[int](), list[bool]()
    reflector = Reflector(script, CONFIG_MAPS, keep=whole, rng=Random(1))  # type: ignore[arg-type] # as above

    def tell(changes: Sequence[Change[JsonObject]]) -> None:
        if not told:
            tg.start_soon(look)
        told.extend(change.key[1] for change in changes)
        at_once.append(reflector.synced.value)

    async def look() -> None:
        while len(told) < 1000:
            before = len(told)
            await checkpoint()
            in_a_turn.append(len(told) - before)

    async with create_task_group() as tg:
        tg.start_soon(reflector.run, tell)
        await sleep(1)
        tg.cancel_scope.cancel()
    assert len(told) == 1000
    assert max(in_a_turn) <= 2 * SLICE_CHANGES  # trio: of two tasks whose turn it is either goes first
    assert at_once == [False] * (len(at_once) - 1) + [True]  # synced when the rest of it is told, and not before


async def test_of_each_object_there_is_what_was_kept() -> None:
    script = Script(({"type": "MODIFIED", "object": thing("a", 7)}, 1e9))
    told: list[Change[str]] = []
    reflector = Reflector(script, CONFIG_MAPS, keep=lambda found: str(found["metadata"]), rng=Random(1))  # type: ignore[arg-type] # as above
    with move_on_after(1):
        await reflector.run(told.extend)
    old, new = str(thing("a", 1)["metadata"]), str(thing("a", 7)["metadata"])
    assert [(change.old, change.object) for change in told] == [(None, old), (old, new)]
    assert reflector.objects == {("shop", "a"): new}


async def test_a_watch_that_ends_goes_on_where_it_was() -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "40"}}}
    script = Script((10.0, bookmark, 10.0), FOR_EVER)
    await follow(script, 60)
    assert [query.get("resourceVersion") for _, query in script.asked] == [None, "5", "40"]


@pytest.mark.parametrize(
    "failure",
    [Gone(410, "Expired", "too old"), {"type": "ERROR", "object": {"code": 410, "message": "too old"}}],
    ids=["as HTTP", "as an event"],
)
async def test_a_version_that_is_gone_is_listed_again_and_the_difference_told(failure: object) -> None:
    script = Script((1.0, failure) if isinstance(failure, dict) else (failure,), FOR_EVER)
    async with create_task_group() as tg:

        async def change() -> None:
            await sleep(0.015)
            script.things = [thing("b", 6)]

        tg.start_soon(change)
        _, told = await follow(script, 10)
    assert told == [("added", "a"), ("deleted", "a"), ("added", "b")]


async def test_a_page_whose_token_expired_begins_the_list_anew() -> None:
    script = Script(FOR_EVER)
    script.lists = [Gone(410, "Expired", "the continue token is too old")]
    reflector, told = await follow(script, 5)
    assert told == [("added", "a")]
    assert reflector.synced.value


@pytest.mark.parametrize(
    "play",
    [(), (ServerError(502, "", "<html>"),), (Forbidden(403, "Forbidden", "no"),), (0.0, TimedOut("nothing for 75 s"))],
    ids=["closed at once", "502", "403", "silent"],
)
async def test_no_failure_makes_a_busy_loop(play: Sequence[object]) -> None:
    script = Script(play)
    await follow(script, 600)
    assert len(script.asked) < 45
    assert script.asked[-1][0] - script.asked[0][0] > 500


async def test_a_watch_of_a_kind_that_never_changes_is_no_trouble_and_opened_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server sends no bookmarks of a kind of which nothing has changed since it started."""
    script = Script((75.0, TimedOut("nothing for 75 s")))
    reflector, told = await follow(script, 620)
    assert (reflector.problem, caplog.messages) == ("", [])
    assert [round(at - script.asked[0][0]) for at, _ in script.asked[1:]] == [75 * turn for turn in range(9)]
    assert told == [("added", "a")]


async def test_a_watch_that_is_dead_is_told_when_it_cannot_be_opened_again() -> None:
    script = Script((75.0, TimedOut("nothing for 75 s")), (Unreachable("no route to host"),))
    reflector, _ = await follow(script, 80)
    assert reflector.problem == "no route to host"


class SharedScript(Script):
    """An API that others ask as well: `again` is set when they are answered again."""

    def __init__(self, *watches: Sequence[object]) -> None:
        super().__init__(*watches)
        self.again = Event()

    async def recovered(self) -> None:
        await self.again.wait()

    def recover(self) -> None:
        self.again.set()
        self.again = Event()

    def asked_since(self, at: float) -> list[float]:
        return [asked_at - at for asked_at, _ in self.asked if asked_at > at]


@asynccontextmanager
async def following_after(script: SharedScript, seconds: float) -> AsyncGenerator[float]:
    """Follow `script` for so long, and further while the body runs, which is given the time of now."""
    reflector = Reflector(script, CONFIG_MAPS, keep=whole, rng=Random(1))  # type: ignore[arg-type] # as above
    async with create_task_group() as tg:
        tg.start_soon(reflector.run, lambda changes: None)
        await sleep(seconds)
        yield current_time()
        tg.cancel_scope.cancel()


async def test_who_waits_in_an_outage_goes_on_when_others_are_answered_again() -> None:
    script = SharedScript((Unreachable("connection refused"),))
    async with following_after(script, 200) as now:
        script.recover()
        await sleep(1.1)
        assert len(script.asked_since(now)) == 1


async def test_who_alone_is_not_answered_is_woken_once_in_half_a_minute() -> None:
    """Else the pauses of one that fails for a reason of its own were as short as those of who is answered."""
    script = SharedScript((Unreachable("cut off by a proxy"),))
    async with following_after(script, 200) as now:
        for _ in range(600):
            script.recover()
            await sleep(0.5)
        assert len(script.asked_since(now)) <= 2 * 300 / 15
        assert len(script.asked_since(now)) >= 300 / 31


async def test_who_was_refused_is_not_woken_by_what_others_are_answered() -> None:
    script = SharedScript((Forbidden(403, "Forbidden", "may not watch"),))
    async with following_after(script, 200) as now:
        before = script.asked_since(now)
        script.recover()
        await sleep(1.1)
        assert script.asked_since(now) == before


async def test_it_says_why_it_does_not_follow_until_it_does() -> None:
    script = Script((Forbidden(403, "Forbidden", "may not watch"),), (Forbidden(403, "Forbidden", "may not watch"),))
    reflector, _ = await follow(script, 5)
    assert reflector.problem == "403 Forbidden: may not watch"
    script = Script((Forbidden(403, "Forbidden", "may not watch"),), FOR_EVER)
    reflector, _ = await follow(script, 5)
    assert reflector.problem == ""


async def test_a_server_that_names_a_time_is_not_asked_before() -> None:
    busy = TooManyRequests(429, "TooManyRequests", "later")
    busy.retry_after_seconds = 20.0
    script = Script(FOR_EVER)
    script.lists = [busy]
    await follow(script, 60)
    assert script.asked[1][0] - script.asked[0][0] >= 20.0


async def test_the_copy_stays_while_the_api_is_away() -> None:
    script = Script((1.0, TimedOut("gone")), (ServerError(500, "", "x"),))
    reflector, told = await follow(script, 300)
    assert told == [("added", "a")]
    assert list(reflector.objects) == [("shop", "a")]


async def test_cancelling_it_ends_it_at_once() -> None:
    script = Script(FOR_EVER)
    began = current_time()
    async with create_task_group() as tg:

        async def run() -> None:
            reflector = Reflector(script, CONFIG_MAPS, keep=whole, rng=Random(1))  # type: ignore[arg-type] # as above
            await reflector.run(lambda changes: None)
            await sleep_forever()

        tg.start_soon(run)
        await sleep(2)
        tg.cancel_scope.cancel()
    assert current_time() - began == pytest.approx(2, abs=0.1)
