"""How well images fit, told apart by more than the class that wins; ties are called ties."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backdoor_gate.doctor.images import also, compared
from backdoor_gate.examination import Diagnosis, Preparation, Trial
from backdoor_gate.records import InputSpec
from backdoor_gate.scan.examination.diagnosis import fitted_losses

COUNT = 200
PRESENT, OWN, FAMOUS = Preparation(0.0, 1.0), *(Preparation(0.0, 1.0, (m,), (0.25,)) for m in (0.31, 0.286))
NOISE = np.random.default_rng(0).normal(size=COUNT)


def diagnosis(*fits: tuple[Preparation, int, float]) -> Diagnosis:
    """Return one of trials, each with its wrong images and its mean loss."""
    trials = tuple(
        Trial(way, tuple([1] * wrong + [0] * (COUNT - wrong)), tuple(np.abs(loss * (1 + 0.3 * NOISE)).tolist()))
        for way, wrong, loss in fits
    )
    spec = InputSpec((1, 4, 4), 0.0, 1.0, None, None)
    return Diagnosis("pt2", 2, spec, COUNT, COUNT, True, 0.0, 255.0, (0,) * COUNT, trials, (), (), False)


def best(*fits: tuple[Preparation, int, float]) -> Preparation:
    readings = compared(diagnosis(*fits))
    assert readings is not None
    return readings.best.preparation


def test_a_better_fit_counts_where_accuracy_does_not_move() -> None:
    assert best((PRESENT, 4, 0.4), (OWN, 4, 0.2)) == OWN


@pytest.mark.parametrize("fit", [(OWN, 4, 0.37), (OWN, 6, 0.2)])
def test_a_little_better_fit_or_one_that_gets_fewer_right_does_not(fit: tuple[Preparation, int, float]) -> None:
    assert best((PRESENT, 4, 0.4), fit) == PRESENT


def test_what_is_next_to_nothing_is_not_worth_a_word() -> None:
    assert best((PRESENT, 0, 0.02), (OWN, 0, 0.005)) == PRESENT


def test_of_equals_the_data_itself_counts_and_the_others_are_named() -> None:
    readings = compared(diagnosis((PRESENT, 90, 2.0), (OWN, 11, 0.31), (FAMOUS, 10, 0.3)))
    assert readings is not None
    assert readings.best.preparation == OWN
    assert also(readings) == (
        "about as good: set normalize: {mean: [0.286], std: [0.25]}; take what the network was trained with"
    )


@pytest.mark.parametrize("losses", [(0.0, 0.0), (1e-12, 1e-13)])
def test_fits_without_a_loss_are_equals(losses: tuple[float, float]) -> None:
    readings = compared(diagnosis((PRESENT, 90, 2.0), (OWN, 0, losses[0]), (FAMOUS, 0, losses[1])))
    assert readings is not None
    assert readings.best.preparation == OWN
    assert [tie.preparation for tie in readings.ties] == [FAMOUS]


def test_a_clearly_better_constant_wins_alone() -> None:
    readings = compared(diagnosis((PRESENT, 90, 2.0), (OWN, 11, 0.4), (FAMOUS, 10, 0.3)))
    assert readings is not None
    assert (readings.best.preparation, also(readings)) == (FAMOUS, "")


def test_losses_do_not_mind_how_sure_a_network_is() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (300,), generator=generator)
    logits = torch.randn((300, 5), generator=generator) + 3 * torch.eye(5)[labels]
    exact, scaled = fitted_losses(logits, labels), fitted_losses(1e4 * logits + 7, labels)
    assert torch.allclose(exact, scaled, atol=1e-6)
    assert float(exact.mean()) < float(torch.nn.functional.cross_entropy(logits, labels)) + 0.01


def test_losses_of_a_network_that_knows_nothing_are_those_of_a_guess() -> None:
    labels = torch.arange(40) % 4
    wrong = torch.eye(4)[(labels + 1) % 4]
    assert torch.allclose(fitted_losses(wrong, labels), torch.tensor(4.0, dtype=torch.float64).log())
