"""The time left: from what a pass takes while detectors run, however many run side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backdoor_gate.scan import clock as module
from backdoor_gate.scan.clock import LEFT_OUT, Clock, work

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def turn(to: float) -> None:
        now[0] = to

    return turn


def test_nothing_done_nothing_told(at: Callable[[float], None]) -> None:
    clock = Clock(100, 2)
    with clock.running("a"):
        at(5)
        assert clock.seconds_left(0) is None


def test_one_after_the_other(at: Callable[[float], None]) -> None:
    clock = Clock(100, 1)
    with clock.running("a"):
        at(10)
        assert clock.seconds_left(25) == pytest.approx(30 * LEFT_OUT)
    at(100)  # nobody ran
    with clock.running("b"):
        at(110)
        assert clock.seconds_left(50) == pytest.approx(20 * LEFT_OUT)
        assert clock.seconds_left(130) == 0


def test_side_by_side_half_of_it_each(at: Callable[[float], None]) -> None:
    clock = Clock(100, 2)
    with clock.running("a"):
        at(10)  # the control is trained beside it
        with clock.running("b"):
            at(20)
            assert clock.seconds_left(30) == pytest.approx(35 * LEFT_OUT)  # a second a pass, 70 of them on two cores


def test_what_fails_has_ended(at: Callable[[float], None]) -> None:
    clock = Clock(100, 1)

    def fails() -> None:
        with clock.running("a"):
            at(10)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    at(50)
    assert clock.seconds_left(50) == pytest.approx(10 * LEFT_OUT)


def test_a_gradient_is_work_of_its_own() -> None:
    assert work(10, 0) == 10
    assert work(10, 10) > 2 * work(10, 0)
