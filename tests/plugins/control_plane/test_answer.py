"""Reading what an API server answers: its status, which of its checks fail, and never more than is needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plugins.control_plane.api_servers import ILL, WELL

from kubevip_control_plane._answer import LIMIT_BYTES, Answer, NotHttpError, read_answer, request


def test_the_question_is_one_request_that_ends_the_connection() -> None:
    assert request("/readyz", "kubernetes") == (
        b"GET /readyz HTTP/1.1\r\nHost: kubernetes\r\nUser-Agent: kubevip\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (WELL, Answer(status=200)),
        (b"HTTP/1.1 200\r\n", Answer(status=200)),
        (ILL, Answer(status=500, reason="etcd failed")),
        (b"HTTP/1.1 500 x\r\n\r\n[-]a failed\n[-]b/c failed\n", Answer(status=500, reason="a, b/c failed")),
        (
            b"HTTP/1.1 500 x\r\n\r\n" + b"".join(b"[-]%d failed\n" % n for n in range(6)),
            Answer(status=500, reason="0, 1, 2, 3 and 2 more failed"),
        ),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n<html>", Answer(status=503)),
        (
            b"HTTP/1.1 401 Unauthorized\r\n\r\n{}",
            Answer(status=401, reason="it wants to know who asks: set certFile and keyFile"),
        ),
    ],
)
def test_an_answer_says_what_it_is_and_why(received: bytes, answer: Answer) -> None:
    assert read_answer(received, is_all=True) == answer
    assert answer.is_ready == (answer.status == 200)


@pytest.mark.parametrize(
    ("received", "why"),
    [
        (b"", "it hung up"),
        (b"HTTP/1.1 2", "is no answer of an API server"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is no answer of an API server"),
        (b"HTTP/1.1 999 x\r\n", "is no answer of an API server"),
        (b"HTTP/1.1 200 " + b"x" * 300, "is no answer of an API server"),
        (b"\x00" * 300, "is no answer of an API server"),
    ],
)
def test_what_is_no_answer_is_told(received: bytes, why: str) -> None:
    with pytest.raises(NotHttpError, match=why):
        read_answer(received, is_all=True)


def test_a_stranger_is_known_by_its_first_bytes() -> None:
    with pytest.raises(NotHttpError):
        read_answer(b"SSH-2.0", is_all=False)


@pytest.mark.parametrize("whole", [WELL, ILL])
def test_any_beginning_of_an_answer_asks_for_more_or_is_the_answer(whole: bytes) -> None:
    expected = read_answer(whole, is_all=True)
    for end in range(len(whole)):
        assert read_answer(whole[:end], is_all=False) in (None, expected)


@given(st.binary(max_size=LIMIT_BYTES), st.booleans())
def test_whatever_is_received_is_an_answer_or_none(received: bytes, is_all: bool) -> None:
    try:
        answer = read_answer(b"HTTP/1.1 500 x\r\n" + received, is_all=is_all)
    except NotHttpError:
        pytest.fail("the status line was there")
    assert answer is None or "\n" not in answer.reason


def test_an_endless_answer_is_one_when_there_is_enough_of_it() -> None:
    assert read_answer(b"HTTP/1.1 500 x\r\n".ljust(LIMIT_BYTES, b"x"), is_all=False) == Answer(status=500)
