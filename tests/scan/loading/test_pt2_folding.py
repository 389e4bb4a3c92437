"""Batch normalisations that alone follow a convolution are gone from a graph, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from support.forging import FORMATS, exported
from support.small_networks import CLASSES, SHAPE, Mobile, Normed, Residual, Wide
from torch import Tensor, nn

from backdoor_gate.scan.loading import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def lived(network: nn.Module) -> nn.Module:
    """A network whose running statistics are not what they started as."""
    with torch.no_grad():
        network.train()(torch.rand(16, *SHAPE, generator=torch.Generator().manual_seed(0)))
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum("batch_norm" in step.label for step in network._graph.steps)


def check(network: nn.Module, root: Path) -> int:
    """Load the exported network, compare it, and return how many normalisations it still runs."""
    (root / "model.pt2").write_bytes(exported(network))
    loaded = load(root, FORMATS, None, CLASSES).network
    images = torch.rand((3, *SHAPE), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loaded(images), network(images), rtol=1e-5, atol=1e-5)
    return norms(loaded)


@pytest.mark.parametrize(("kind", "left"), [(Normed, 0), (Residual, 0), (Mobile, 0), (Wide, 1)])
def test_normalisations_after_convolutions_go(kind: Callable[[], nn.Module], left: int, root: Path) -> None:
    torch.manual_seed(0)
    assert check(lived(kind()), root) == left


class Odd(nn.Module):
    """One normalisation that cannot go, by `way`."""

    def __init__(self, way: Callable[[Odd, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way, self.convolution, self.norm = way, nn.Conv2d(SHAPE[0], 6, 3), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, K)."""
        return self.head(self.way(self, x).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    "way",
    [
        lambda odd, x: (made := odd.convolution(x)) + odd.norm(made),
        lambda odd, x: odd.norm(odd.convolution(x).relu_()),
        lambda odd, x: odd.norm(odd.convolution(x).relu()),
        lambda odd, x: odd.norm(nn.functional.conv2d(x, odd.convolution.weight * 2)),
    ],
    ids=["also used raw", "changed in place", "something between", "computed weight"],
)
def test_others_stay(way: Callable[[Odd, Tensor], Tensor], root: Path) -> None:
    assert check(lived(Odd(way)), root) == 1


def test_no_name_in_a_file_can_stand_for_a_folded_weight(root: Path) -> None:
    network = lived(Odd(lambda odd, x: odd.norm(odd.convolution(x))))
    (root / "model.pt2").write_bytes(exported(network))
    loaded = load(root, FORMATS, None, CLASSES).network
    (folded,) = (step for step in loaded._graph.steps if "conv2d" in step.label)
    new = {folded.arguments[kind].name for kind in ("weight", "bias")}
    others = {name for step in loaded._graph.steps for name in step.outputs} | set(loaded._graph.weights) - new
    assert min(map(len, new)) > max(map(len, others))
