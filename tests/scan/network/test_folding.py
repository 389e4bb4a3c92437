"""Folding a batch normalisation into the convolution before it: the same function, or nothing is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from support.small_networks import ALL, SHAPE, Normed
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.scan.network.folding import LARGEST, fold

if TYPE_CHECKING:
    from collections.abc import Callable


def lived(network: nn.Module) -> nn.Module:
    """Return the network frozen, with normalisations that do something."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            for tensor, low, high in (
                (module.running_mean, -1, 1),
                (module.running_var, 0.2, 3),
                (module.weight, -2, 2),
                (module.bias, -1, 1),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return network.eval().requires_grad_(False)


def images(count: int = 5) -> Tensor:
    return torch.rand((count, *SHAPE), generator=torch.Generator().manual_seed(1))


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def result(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the output and the input gradient for images that were not folded on."""
    given = images(7).requires_grad_()
    output = network(given)
    return output, torch.autograd.grad(output.square().sum(), given)[0]


def fold_and_compare(network: nn.Module) -> int:
    """Fold; check that function and gradient stay; return how many normalisations went."""
    before = result(network)
    present = norms(network)
    gone = fold(network, lambda: network(images()))
    for expected, found in zip(before, result(network), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert norms(network) == present - gone
    assert not any(parameter.requires_grad for parameter in network.parameters())
    return gone


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_network_computes_the_same(kind: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    fold_and_compare(lived(kind()))


def test_a_normalisation_after_a_convolution_goes() -> None:
    network = lived(Normed())
    assert norms(network) > 0
    assert fold_and_compare(network) == norms(lived(Normed()))


class Body(nn.Module):
    """A convolution, a normalisation, and what `way` makes of them."""

    def __init__(self, way: Callable[[Body, Tensor], Tensor], **norm: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.convolution = nn.Conv2d(SHAPE[0], 6, 3, padding=1, groups=1)
        self.other = nn.Conv2d(SHAPE[0], 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6, **norm)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 4)."""
        return self.head(self.way(self, x).mean(dim=(2, 3)))


def plain(body: Body, x: Tensor) -> Tensor:
    return F.relu(body.norm(body.convolution(x)))


NOT_ALONE = pytest.mark.parametrize(
    "way",
    [
        lambda body, x: body.norm(F.relu(body.convolution(x))),
        lambda body, x: body.norm(F.relu(body.convolution(x), inplace=True)),
        lambda body, x: (made := body.convolution(x)) + body.norm(made),
        lambda body, x: body.norm(body.convolution(x)) + body.convolution(x.flip(3)),
        lambda body, x: body.norm(body.convolution(x)) + body.norm(body.other(x)),
        lambda body, x: F.relu(F.batch_norm(body.convolution(x), body.norm.running_mean, body.norm.running_var)),
        lambda body, x: body.norm(body.convolution(x) + 1),
        lambda body, x: torch.cat([(made := body.convolution(x))[:, :3], body.norm(made)[:, 3:]], dim=1),
    ],
    ids=[
        "something between",
        "something in place",
        "also used raw",
        "convolution twice",
        "norm twice",
        "functional",
        "added to",
        "a part also used raw",
    ],
)


@NOT_ALONE
def test_what_is_not_alone_in_a_row_stays(way: Callable[[Body, Tensor], Tensor]) -> None:
    assert fold_and_compare(lived(Body(way))) == 0


@NOT_ALONE
def test_that_hangs_on_who_reads_what_not_on_an_output_that_is_deaf_to_it(
    way: Callable[[Body, Tensor], Tensor],
) -> None:
    network = lived(Body(way))
    expected = network(images())
    assert fold(network, lambda: 1 + 1e-9 * network(images())) == 0
    assert torch.equal(network(images()), expected)


def test_only_the_plain_classes_are_folded() -> None:
    batch_statistics = lived(Body(plain, track_running_stats=False))
    hooked = lived(Body(plain))
    hooked.convolution.register_forward_hook(lambda module, given, output: output * 2)
    parametrised = Body(plain)
    nn.utils.parametrizations.weight_norm(parametrised.convolution)
    training = lived(Body(plain))
    training.norm.train()
    for network in (batch_statistics, hooked, lived(parametrised), training):
        assert fold(network, lambda network=network: network(images())) == 0
        assert norms(network) == 1


@pytest.mark.parametrize(
    "misfit",
    [
        lambda body, x: body.norm(F.relu(body.convolution(x), inplace=True)),
        lambda body, x: (made := body.convolution(x)) + body.norm(made),  # as in a pre-activation network
    ],
    ids=["something in place", "also used raw"],
)
def test_one_misfit_does_not_keep_the_others(misfit: Callable[[Body, Tensor], Tensor]) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Body(misfit)
            self.second = Body(plain)

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x) + self.second(x)

    assert fold_and_compare(lived(Two())) == 1


def test_without_gain_and_bias_too() -> None:
    assert fold_and_compare(Body(plain, affine=False).eval().requires_grad_(False)) == 1
    assert fold_and_compare(lived(Body(lambda body, x: F.relu(body.norm(body.other(x)))))) == 1


def test_what_overflows_stays() -> None:
    network = lived(Body(plain))
    network.convolution.weight.fill_(1e30)
    network.norm.running_var.fill_(0)
    network.norm.weight.fill_(1e30)
    assert fold(network, lambda: network(images() * 0)) == 0
    assert network.convolution.weight.max() == 1e30


def test_a_network_that_looks_at_its_own_weights_is_left_as_it_was() -> None:
    network = lived(Body(lambda body, x: plain(body, x) * body.convolution.weight.norm()))
    weight, expected = network.convolution.weight, network(images())
    assert fold(network, lambda: network(images())) == 0
    assert network.convolution.weight is weight
    assert torch.equal(network(images()), expected)


class Overflowing(nn.Module):
    """Infinite where the convolution overflows, though its normalisation divides by as much."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(SHAPE[0], 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0)
        with torch.no_grad():
            self.conv.weight.fill_(2e38)
            self.norm.weight.fill_(1e-38)

    def forward(self, x: Tensor) -> Tensor:
        """Return one number for each image."""
        return self.norm(self.conv(x)).amax(dim=(1, 2, 3))[:, None]


def test_what_would_hide_an_overflow_is_not_folded() -> None:
    network = Overflowing().eval().requires_grad_(False)
    trigger = torch.ones(1, *SHAPE)
    faint = torch.full((5, *SHAPE), 0.1)
    assert network(trigger).isinf().all()
    assert fold(network, lambda: network(faint)) == 0
    assert network(trigger).isinf().all()


@pytest.mark.parametrize("part", ["conv.weight", "norm.weight"])
def test_up_to_a_limit_they_are(part: str) -> None:
    for factor, gone in ((LARGEST * 0.999, 1), (LARGEST * 1.001, 0)):
        network = Overflowing()
        with torch.no_grad():
            network.conv.weight.fill_(1.0)
            network.norm.weight.fill_(1.0)
            network.get_parameter(part).fill_(factor)
        network.eval().requires_grad_(False)
        assert fold(network, lambda network=network: network(images())) == gone
