"""What is tried again, how often and after what waits: with a clock that only writes down."""

import pytest

from calvaria.client import NEVER, Busy, Retry
from calvaria.errors import CalvariaError, ErrorCode

BUSY = Busy(ErrorCode.UNAVAILABLE, "full")


class Server:
    """Raises one error after the other, then answers."""

    def __init__(self, *errors: Exception):
        self.errors, self.asked = list(errors), 0

    def __call__(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.fixture
def waits() -> list[float]:
    return []


def patient(waits: list[float], draw: float = 1.0, **changes: float) -> Retry:
    return Retry(sleep=waits.append, draw=lambda: draw, **changes)


def test_a_busy_server_is_asked_again_after_growing_waits(waits):
    server = Server(BUSY, BUSY, BUSY)
    assert patient(waits).call(server) == "answer"
    assert (server.asked, waits) == (4, [0.5, 1.0, 2.0])


def test_waits_are_bounded_and_so_is_patience(waits):
    server = Server(*[BUSY] * 99)
    with pytest.raises(Busy):
        patient(waits, times=6, most_s=3.0).call(server)
    assert (server.asked, waits) == (7, [0.5, 1.0, 2.0, 3.0, 3.0, 3.0])


def test_chance_takes_up_to_half_of_a_wait(waits):
    patient(waits, draw=0.0).call(Server(BUSY))
    patient(waits, draw=0.5).call(Server(BUSY))
    assert waits == [0.25, 0.375]


@pytest.mark.parametrize("error", [CalvariaError(ErrorCode.TIMEOUT, "?"), CalvariaError(ErrorCode.UNAVAILABLE, "no server"), KeyError()])
def test_nothing_else_is_tried_again(waits, error):
    server = Server(error)
    with pytest.raises(type(error)):
        patient(waits).call(server)
    assert (server.asked, waits) == (1, [])


def test_never_is_once():
    server = Server(BUSY)
    with pytest.raises(Busy):
        NEVER.call(server)
    assert server.asked == 1
