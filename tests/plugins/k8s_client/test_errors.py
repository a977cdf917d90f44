import pytest

from kubevip_k8s import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Refused,
    ServerError,
    TooManyRequests,
    Unauthorized,
    error_of_status,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, Refused),
        (409, Conflict),
        (410, Gone),
        (422, Invalid),
        (429, TooManyRequests),
        (500, ServerError),
        (599, ServerError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[Refused]) -> None:
    assert type(error_of_status(status, None)) is kind


def test_an_object_that_is_there_already_is_no_stale_update() -> None:
    answer = {"kind": "Status", "reason": "AlreadyExists", "message": 'leases "x" already exists', "code": 409}
    error = error_of_status(409, answer)
    assert type(error) is AlreadyExists
    assert str(error) == '409 AlreadyExists: leases "x" already exists'


def test_a_long_answer_is_cut() -> None:
    assert len(str(error_of_status(502, "<html>" * 1000))) < 600


def test_a_server_may_say_when_to_come_back() -> None:
    error = error_of_status(429, None, 1.5)
    assert isinstance(error, TooManyRequests)
    assert error.retry_after_seconds == 1.5
