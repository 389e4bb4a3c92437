"""What the control does as well is natural, and which change is chosen."""

from __future__ import annotations

import torch
from support import digits
from torch import Tensor, nn

from backdoor_gate.records import InputSpec, Measured
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors.interface import Context
from backdoor_gate.scan.detectors.probing import Changes, moved, probe
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.triggers import Images

CHANGES = Changes(("nothing", "a tenth", "half"), lambda images, _: iter([images, images / 10, images / 2]))


class Dark(nn.Module):
    """Answers 1 where the image is darker than a level, else 0."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        lit = images.mean((1, 2, 3)) - self.level
        return torch.stack([lit, -lit], dim=1)


def subject(level: float) -> Subject:
    return Subject(digits.loaded(Dark(level)), InputSpec((1, 8, 8)), 2, torch.device("cpu"))


def probed(network: Subject, control: Subject | None, *, beyond_control: bool) -> Measured:
    images = 0.6 + 0.4 * torch.rand((40, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    split = probes.from_clean(Images(images, torch.zeros(40, dtype=torch.int64)), seed=0)
    given = None if control is None else lambda: control
    context = Context(network, split, {}, 0, 512 << 20, noise_classes=(), control=given)
    found = probe(context, "tone_probe", CHANGES, beyond_control=beyond_control)
    assert isinstance(found, Measured)
    return found


def test_without_a_control_all_that_moves_counts() -> None:
    found = probed(subject(0.5), None, beyond_control=True)
    assert (found.values[1], found.success) == (1.0, (0.0, 1.0))
    assert found.means[1].words == "a tenth"


def test_what_the_control_does_as_well_does_not_count() -> None:
    found = probed(subject(0.5), subject(0.5), beyond_control=True)
    assert found.values[1] == 0.0


def test_the_change_that_the_control_bears_is_chosen_where_that_is_asked_for() -> None:
    network, control = subject(0.5), subject(0.2)  # which only a tenth of the brightness is too dark for
    chosen, first = (probed(network, control, beyond_control=beyond) for beyond in (True, False))
    assert (chosen.means[1].words, chosen.values[1]) == ("half", 1.0)
    assert (first.means[1].words, first.values[1]) == ("a tenth", 0.0)


def test_images_of_a_class_by_their_label_do_not_count_for_it() -> None:
    brightness = torch.tensor([0.6, 0.6, 1.0, 1.0])[:, None, None, None]
    images = Images(brightness.expand(4, 1, 8, 8), torch.tensor([1, 1, 0, 0]))
    dimmed = Changes(("dimmed",), lambda images, _: iter([0.7 * images]))
    assert moved(subject(0.5), images, dimmed, seed=0).tolist() == [[0.0, 0.0]]
    assert moved(subject(0.5), Images(images.images, torch.zeros(4, dtype=torch.int64)), dimmed, seed=0)[0, 1] == 0.5
