"""A program that is one network for a batch and another for one image, or flat for every search, is not measured."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import torch
from support.forging import FORMATS, exported
from support.small_networks import ALL, CLASSES, SHAPE, Attention, ConvNext, Excited, Plain, Residual
from torch import Tensor, nn

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.records import InputSpec
from backdoor_gate.scan.loading import load
from backdoor_gate.scan.loading.pt2.layouts import Place, joined, place_of
from backdoor_gate.scan.loading.pt2.sizes import Count, Unknown, counted
from backdoor_gate.scan.network.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIXED, STEPS = "hangs on the others in the batch, or on how many", "decides by comparing or rounding"


def check(root: Path, program: bytes) -> None:
    (root / "model.pt2").write_bytes(program)
    model = load(root, FORMATS, None, CLASSES)
    assert model.check is not None
    model.check(SHAPE)


class Hiding(Plain):
    """Adds what a trigger in the corner makes, times what a function of the images lets through."""

    def __init__(self, switch: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.switch = switch

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        trigger = (x[:, 0, :3, :3].mean((1, 2)) - 0.9).clamp_min(0)
        return super().forward(x) + 1000 * trigger[:, None] * self.switch(x)


def alone_only(x: Tensor) -> Tensor:
    """1 for a batch of one image, else 0."""
    return (2 - torch.full((1, 1), 1.0) * x.shape[0]).clamp(0, 1)


def by_sum(x: Tensor) -> Tensor:
    """The same, counted by adding up."""
    return (2 - torch.ones(x.shape[0], 1).sum(0, keepdim=True)).clamp(0, 1)


def by_faint_mean(x: Tensor) -> Tensor:
    """The share of the batch that has the trigger: nothing of it shows without one."""
    return (x[:, :1, 0, 0] - 0.9).clamp_min(0).mean(0, keepdim=True)


def first_only(x: Tensor) -> Tensor:
    """1 for the first image."""
    return torch.cat([torch.ones_like(x[:1, :1, 0, 0]), torch.zeros_like(x[1:, :1, 0, 0])])


def first_three(x: Tensor) -> Tensor:
    """1 for the first three images, which no batch of three tells from all."""
    return torch.cat([torch.ones_like(x[:3, :1, 0, 0]), torch.zeros_like(x[3:, :1, 0, 0])])


def first_rows(x: Tensor) -> Tensor:
    """1 for the first 101 images."""
    return torch.ones_like(x[:, 0, 0, :1]).triu(-100)


def by_neighbour(x: Tensor) -> Tensor:
    """Of the image before."""
    return x[:, :1, 0, 0].roll(1, 0)


def by_normalising(x: Tensor) -> Tensor:
    """The batch's own mean, made so small beside what is added that rounding hides it, and large again."""
    y = x[:, :1, :1, :].permute(2, 1, 0, 3)
    faint = nn.functional.instance_norm(y, bias=torch.ones(1), weight=torch.ones(1), eps=1e9) - 1
    return (1e5 * faint).permute(2, 1, 0, 3)[:, :, 0, 0]


def by_comparing(x: Tensor) -> Tensor:
    """1 where a pixel is bright."""
    return (x[:, :1, 0, 0] > 0.5).float()


def by_rounding(x: Tensor) -> Tensor:
    """The same by rounding."""
    return x[:, :1, 0, 0].round()


def by_remainder(x: Tensor) -> Tensor:
    """The same by what rounding leaves."""
    return x[:, :1, 0, 0] - x[:, :1, 0, 0].frac()


def by_choosing(x: Tensor) -> Tensor:
    """The same by the position of the brightest."""
    return torch.eye(16)[x[:, 0, 0].argmax(1)][:, :1]


def by_all(x: Tensor) -> Tensor:
    """0 as long as no image has the trigger: random numbers are all the same to that."""
    dark = (0.9 - x[:, 0, :3, :3].mean((1, 2))).clamp_min(0)
    return torch.where(dark.all(), torch.zeros(1, 1), torch.ones(1, 1))


def in_place(x: Tensor) -> Tensor:
    """The same, written through a view."""
    made = torch.zeros_like(x[:, :1, 0, 0])
    made.view(-1, 1).copy_((x[:, :1, 0, 0] > 0.5).float())
    return made


@pytest.mark.parametrize(
    ("switch", "reason"),
    [
        *((switch, MIXED) for switch in (alone_only, by_sum, by_faint_mean, first_only, first_three, first_rows)),
        *((switch, MIXED) for switch in (by_neighbour, by_normalising)),
        *((switch, STEPS) for switch in (by_comparing, by_rounding, by_remainder, by_choosing, by_all)),
        (in_place, "depends on how its memory is laid out"),
    ],
)
def test_what_hides_a_trigger_is_seen(switch: Callable[[Tensor], Tensor], reason: str, root: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(UnmeasuredError, match=reason) as caught:
        check(root, exported(Hiding(switch).eval(), batch=7))
    assert "model.pt2" in str(caught.value)
    assert "safetensors" in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind.__name__ != "Odd"], ids=lambda kind: kind.__name__)
def test_ordinary_networks_keep_images_apart(kind: Callable[[], nn.Module], root: Path) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    check(root, exported(kind().eval()))
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [Residual, Attention, ConvNext, Excited], ids=lambda kind: kind.__name__)
def test_decomposed_ones_do_too(kind: Callable[[], nn.Module], root: Path) -> None:
    program = torch.export.export(kind().eval(), (torch.rand(2, *SHAPE),), dynamic_shapes=[{0: torch.export.Dim.AUTO}])
    buffer = io.BytesIO()
    torch.export.save(program.run_decompositions(), buffer)
    check(root, buffer.getvalue())


def test_what_is_left_unused_does_no_harm(root: Path) -> None:
    class Wasteful(Plain):
        def forward(self, x: Tensor) -> Tensor:
            torch.arange(x.shape[0])[:, None]
            x.mean(0)
            x.round()
            return super().forward(x)

    check(root, exported(Wasteful().eval()))


def test_a_subject_is_none_of_what_hides(root: Path) -> None:
    (root / "model.pt2").write_bytes(exported(Hiding(alone_only).eval()))
    with pytest.raises(UnmeasuredError, match=MIXED):
        Subject(load(root, FORMATS, None, CLASSES), InputSpec(SHAPE), CLASSES, torch.device("cpu"))


# ---------------------------------------------------------------------------------------------- layouts and sizes


@pytest.mark.parametrize("place", [Place(0), Place(1), Place(2), Place(1, 3), Place(2, 2)])
def test_a_place_is_found_again(place: Place) -> None:
    alone = [torch.rand(2, 6, 4) for _ in range(3)]
    together = [joined(alone[:count], place) for count in (2, 3)]
    assert place_of(alone, together) == place
    assert place_of(alone, [together[0].flip(place.axis), together[1]]) is None
    assert place_of(alone, [together[0], together[1] + 0.01]) is None


def test_numbers_that_grow_with_the_batch_stay_exact() -> None:
    batch = Count(1)
    assert counted("mul", [batch, 6]) == counted("mul", [6, batch]) == Count(6)
    assert counted("floordiv", [Count(6), 2]) == Count(3)
    assert counted("floordiv", [Count(6), batch]) == 6
    assert counted("add", [batch, batch]) == Count(2)
    assert counted("sub", [Count(3), batch]) == Count(2)
    assert counted("sym_int", [batch]) == batch
    for name, operands in (
        ("mul", [batch, batch]),
        ("floordiv", [batch, 2]),
        ("floordiv", [6, batch]),
        ("floordiv", [batch, 0]),
        ("add", [batch, 1]),
        ("sub", [batch, 1]),
        ("ge", [batch, 1]),
        ("sym_max", [batch, 7]),
        ("mul", [Unknown("ge", by_steps=False), 1]),
    ):
        assert isinstance(counted(name, operands), Unknown)
