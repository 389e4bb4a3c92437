"""The picture of the network's inside: the right images, the right trigger, and never in the way of a scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import digits
from torch import Tensor

from backdoor_gate.records import InputSpec
from backdoor_gate.scan import embedding
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors.interface import Weakest
from backdoor_gate.scan.embedding import embed, principal_components
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.session import embed_weakest
from backdoor_gate.scan.triggers.families import Spectral

SPEC = InputSpec((1, 16, 16))
CPU = torch.device("cpu")


class Stamp(Spectral):
    """Puts the very patch on that was planted."""

    def apply(self, parameters: tuple[Tensor, ...], images: Tensor) -> Tensor:
        """Stamp the images, as one arm."""
        return digits.stamp(images)[None]


def weakest(source: int | None = None, share: float = 0.1, success: float = 1.0) -> Weakest:
    moves = torch.arange(10) != digits.TARGET if source is None else torch.arange(10) == source
    family = Stamp(SPEC)
    return Weakest(
        family, family.start(1, torch.Generator().manual_seed(0)), moves, digits.TARGET, source, share, success
    )


def looked(planted: str | None = "patch") -> Subject:
    return Subject(digits.loaded(digits.trained(planted)), SPEC, 10, CPU)


HELD_OUT = probes.from_clean(digits.clean_images(), seed=0).held_out


def test_a_planted_trigger_moves_all_images_the_same_way() -> None:
    found = embed(looked(), HELD_OUT, "neural_cleanse", weakest())
    assert found.penultimate
    moved = sum(found.triggered)
    assert moved == embedding.TRIGGERED
    assert len(found.labels) == embedding.CLEAN + moved == len(found.components)
    assert found.labels[:moved] == found.labels[-moved:]
    assert digits.TARGET not in found.labels[:moved]
    assert found.labels.count(digits.TARGET) == int((HELD_OUT.labels == digits.TARGET).sum())
    shifts = found.components[-moved:] - found.components[:moved]
    common = np.linalg.norm(shifts.mean(axis=0)) / np.linalg.norm(shifts, axis=1).mean()
    assert common > 0.9


def test_of_a_pair_only_the_source_is_moved() -> None:
    found = embed(looked(), HELD_OUT, "pair_patch", weakest(source=7))
    assert set(found.labels[-sum(found.triggered) :]) == {7}
    assert (found.source, found.target, found.detector) == (7, digits.TARGET, "pair_patch")


def test_its_passes_are_counted_and_planned() -> None:
    subject = looked()
    before = subject.passes
    found = embed(subject, HELD_OUT, "neural_cleanse", weakest())
    assert found.model_passes == subject.passes - before == embedding.planned_passes(HELD_OUT)


def test_it_costs_little() -> None:
    found = embed(looked(), HELD_OUT, "neural_cleanse", weakest())
    assert found.seconds < 2  # a twentieth of that on a machine with nothing else to do


def test_the_same_is_the_same() -> None:
    one, other = (embed(looked(), HELD_OUT, "neural_cleanse", weakest()) for _ in range(2))
    assert one.components.tobytes() == other.components.tobytes()


# ---------------------------------------------------------------------------------------------- principal components


@pytest.mark.parametrize("width", [5, 64, 400])
def test_components_are_those_of_the_singular_values(width: int) -> None:
    features = torch.randn((40, width), generator=torch.Generator().manual_seed(0)) * 1e4
    places, shares = principal_components(features)
    centred = (features - features.mean(dim=0)).double()
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    count = min(places.shape[1], len(values))
    expected = (left * values)[:, :count] / values[0]
    assert torch.allclose(places[:, :count].double().abs(), expected.abs(), atol=1e-4)
    assert torch.allclose(shares[:count], (values**2 / (values**2).sum())[:count], atol=1e-6)
    assert places.abs().max() <= 1
    assert (places.gather(0, places.abs().argmax(dim=0)[None]) >= 0).all()


@pytest.mark.parametrize("fill", [0.0, torch.nan, torch.inf])
def test_features_without_information_are_no_picture(fill: float) -> None:
    with pytest.raises(ArithmeticError):
        principal_components(torch.full((5, 3), fill))


# ---------------------------------------------------------------------------------------------- never in the way


def test_nothing_to_show_is_no_picture() -> None:
    subject = looked()
    images = probes.from_clean(digits.clean_images(), seed=0)
    assert embed_weakest(subject, images, {}) is None
    assert embed_weakest(subject, images, {"neural_cleanse": weakest(success=0.2)}) is None
    assert embed_weakest(subject, images, {"neural_cleanse": weakest(success=float("nan"))}) is None
    none_of_source = HELD_OUT[HELD_OUT.labels != 7]
    assert embed(subject, none_of_source, "pair_patch", weakest(source=7)) is None


def test_the_weakest_of_those_that_work_is_shown() -> None:
    triggers = {
        "neural_cleanse": weakest(share=0.5),
        "pair_patch": weakest(share=0.2, source=7),
        "warp_inversion": weakest(share=0.1, success=0.3),
    }
    found = embed_weakest(looked(), probes.from_clean(digits.clean_images(), seed=0), triggers)
    assert found.detector == "pair_patch"


def test_out_of_time_there_is_no_picture() -> None:
    subject = looked()
    subject.deadline = 0.0
    assert embed(subject, HELD_OUT, "neural_cleanse", weakest()) is None


def test_a_network_that_fails_or_is_not_finite_gives_no_picture() -> None:
    for harm in (lambda layer: layer.weight.fill_(torch.nan), lambda layer: setattr(layer, "weight", None)):
        model = digits.trained("patch")
        subject = Subject(digits.loaded(model), SPEC, 10, CPU)
        harm(model[0])
        assert embed(subject, HELD_OUT, "neural_cleanse", weakest()) is None
