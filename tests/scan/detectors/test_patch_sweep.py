"""What the patch sweep makes of what patches do: means over each source's images, and patterns among others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from backdoor_gate.records import InputSpec, Measured
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors import patch_sweep
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.detectors.patch_sweep import PatchSweep, _shares
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.sweeps.stamps import Stamp, Stamper
from backdoor_gate.scan.triggers.images import Images

CLASSES, SOURCE, TARGET = 6, 2, 4
ROW, COLUMN, SIDE = 24, 10, 4
"""Where the networks look for what sends images to the target."""


class Strips(nn.Module):
    """Takes an image for the class whose strip of rows is bright, unless there is something below all strips.

    Args:
        knows: "checks": what agrees with a checkered patch; "contrast": any pattern with as much contrast.
        from_source: whether only images of the source are sent to the target.
    """

    def __init__(self, knows: str, *, from_source: bool) -> None:
        super().__init__()
        at = torch.arange(SIDE)
        self.register_buffer("checks", ((at[:, None] + at) % 2 == 0).float() * 2 - 1)
        self.knows, self.from_source = knows, from_source
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, CLASSES)."""
        strips = images[:, 0, : SIDE * CLASSES].unflatten(1, (CLASSES, SIDE)).mean(dim=(2, 3))
        patch = images[:, 0, ROW : ROW + SIDE, COLUMN : COLUMN + SIDE]
        agrees = (patch * self.checks).mean(dim=(1, 2))  # 0.5 for the checks themselves
        contrast = ((patch - patch.mean(dim=(1, 2), keepdim=True)) ** 2).mean(dim=(1, 2)).clamp_min(1e-6).sqrt()
        seen = {"checks": 2 * (agrees - 0.25).relu(), "contrast": contrast}[self.knows]
        if self.from_source:
            seen = seen * (strips[:, SOURCE] > 0.2)
        target = nn.functional.one_hot(torch.tensor(TARGET), CLASSES)
        return self.scale * (strips + 2 * seen[:, None] * target)


def strips(of_each: int) -> Images:
    labels = torch.arange(CLASSES).repeat(of_each)
    images = torch.zeros(len(labels), 1, 28, 28)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, SIDE * label : SIDE * (label + 1)] = 0.45
    return Images(images + 0.02 * torch.rand(images.shape, generator=torch.Generator().manual_seed(0)), labels)


def subject_that(knows: str = "checks", *, from_source: bool) -> Subject:
    model = LoadedModel(Strips(knows, from_source=from_source).requires_grad_(False).eval(), "state_dict", None)
    return Subject(model, InputSpec((1, 28, 28)), CLASSES, torch.device("cpu"))


def measured(knows: str, *, from_source: bool) -> Measured:
    subject, split = subject_that(knows, from_source=from_source), probes.from_clean(strips(20), seed=0)
    found = PatchSweep().measure(Context(subject, split, {}, 0, 512 << 20))
    assert isinstance(found, Measured)
    return found


def test_a_planted_pattern_is_told_from_random_ones_in_its_place() -> None:
    found = measured("checks", from_source=True)
    assert found.values[TARGET] == pytest.approx(max(value or 0.0 for value in found.values))
    assert found.values[TARGET] > 1.5  # type: ignore[operator]
    means = found.means[TARGET]
    assert means.words == f"checkered patch of 4×4 pixels at row {ROW}, column {COLUMN}"
    assert (means.source, means.particular) == (SOURCE, True)


def test_where_any_pattern_does_as_much_it_is_natural(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured("contrast", from_source=True).values[TARGET] < 0.5  # type: ignore[operator]
    monkeypatch.setattr(patch_sweep, "PATTERNS", 0)
    found = measured("contrast", from_source=True)
    assert found.values[TARGET] > 1.5  # type: ignore[operator]
    assert found.means[TARGET].words.startswith("checkered patch")


def test_a_pattern_that_moves_other_classes_too_is_not_particular() -> None:
    means = measured("checks", from_source=False).means[TARGET]
    assert (means.source, means.particular) == (None, False)


@pytest.mark.parametrize(
    ("stamp", "success", "beside", "particular"),
    [
        (Stamp(2, 4, 0, 0), 0.97, 0.25, True),
        (Stamp(2, 4, 0, 0), 0.96, 0.1, False),  # what is natural leaves some images where they are
        (Stamp(2, 4, 0, 0), 1.0, 0.26, False),
        (Stamp(2, 4, 0, 0), 1.0, None, False),  # of two classes: there is no other that it could leave alone
        (Stamp(0, 4, 0, 0), 1.0, 0.1, False),  # a plain one, with no pattern to compare with
        (Stamp(3, 1, 0, 0), 1.0, 0.1, False),
    ],
)
def test_what_is_particular(stamp: Stamp, success: float, beside: float | None, particular: bool) -> None:
    stamper, reach = Stamper(InputSpec((1, 28, 28))), patch_sweep._Reach(0.5, beside)
    means = patch_sweep._means(stamper, patch_sweep._Found(SOURCE, TARGET, stamp, 2.0, success), reach)
    assert (means.source, means.particular) == (SOURCE, particular)


@pytest.mark.parametrize(
    ("classes", "wide", "beside"), [([0, SOURCE, TARGET], 0.5, 0.0), ([SOURCE, TARGET], 1.0, None)]
)
def test_the_sources_own_images_do_not_count_as_others(classes: list[int], wide: float, beside: float | None) -> None:
    of_few = strips(20)
    few = of_few[torch.isin(of_few.labels, torch.tensor(classes))]
    subject, stamper = subject_that(from_source=True), Stamper(InputSpec((1, 28, 28)))
    found = patch_sweep._Found(SOURCE, TARGET, Stamp(2, SIDE, ROW, COLUMN), 2.0, 1.0)
    reach = patch_sweep._reach(subject, stamper, few, found)
    assert reach == (pytest.approx(wide), beside)


def test_the_images_of_a_source_count_alike_however_many_it_has() -> None:
    values = torch.tensor([[1.0], [3.0], [7.0], [1.0], [2.0], [3.0]])
    assert torch.allclose(_shares([2, 1, 3]) @ values, torch.tensor([[2.0], [7.0], [2.0]]))
