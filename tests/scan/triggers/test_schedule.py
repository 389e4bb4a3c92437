"""The cost schedule: each arm pays more while its trigger works, and less while it does not."""

from __future__ import annotations

import pytest
import torch

from backdoor_gate.scan.triggers.schedule import CostSchedule, ScheduleSettings

PROMPT = ScheduleSettings(initial=2.0, raised_by=3.0, lowered_by=5.0, patience=3, bar=0.9, smoothing=1.0)


def costs(settings: ScheduleSettings, *steps: list[float], device: torch.device | None = None) -> list[list[float]]:
    """Return the cost of each arm after each step's success rates."""
    place = device or torch.device("cpu")
    schedule = CostSchedule(len(steps[0]), settings, place)
    seen = []
    for rates in steps:
        schedule.update(torch.tensor(rates, device=place))
        seen.append(schedule.cost.tolist())
    return seen


def test_it_is_raised_after_patience_and_not_before(device: torch.device) -> None:
    after = costs(PROMPT, *[[1.0]] * 7, device=device)
    assert [cost for (cost,) in after] == [2, 2, 6, 6, 6, 18, 18]


def test_it_is_lowered_after_patience_and_not_before(device: torch.device) -> None:
    after = costs(PROMPT, [1.0], *[[0.5]] * 6, device=device)
    assert [cost for (cost,) in after] == pytest.approx([2, 2, 2, 2 / 5, 2 / 5, 2 / 5, 2 / 25])


def test_nothing_is_paid_before_the_trigger_has_worked(device: torch.device) -> None:
    after = costs(PROMPT, *[[0.5]] * 5, [1.0], [0.5], device=device)
    assert [cost for (cost,) in after] == [0, 0, 0, 0, 0, 2, 2]


def test_the_bar_itself_works() -> None:
    assert costs(PROMPT, *[[0.9]] * 3)[-1] == [6]
    assert costs(PROMPT, *[[0.8999]] * 3)[-1] == [0]


def test_a_relapse_starts_the_count_anew() -> None:
    assert costs(PROMPT, [1.0], [1.0], [0.0], [1.0], [1.0])[-1] == [2]
    assert costs(PROMPT, [1.0], [0.0], [0.0], [1.0], [0.0], [0.0])[-1] == [2]


def test_no_arm_waits_for_another() -> None:
    rates = [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    together = costs(PROMPT, *rates)
    for arm in range(3):
        assert [row[arm] for row in together] == [row[0] for row in costs(PROMPT, *([step[arm]] for step in rates))]
    assert together[-1] == [6, torch.tensor(2 / 5).item(), 2]


def test_one_lucky_step_does_not_count_as_working() -> None:
    schedule = CostSchedule(1, ScheduleSettings(initial=1.0, smoothing=0.5), torch.device("cpu"))
    running = []
    for _ in range(3):
        schedule.update(torch.tensor([1.0]))
        running.append(schedule.success.item())
    assert running == [0.5, 0.75, 0.875]
