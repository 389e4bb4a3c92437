"""A rectifier waits for its reader: a pooling goes first, everyone else finds it done, and nobody can tell."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.scan.network import gradients, leading, precision

CPU = torch.device("cpu")
FIRST, SECOND = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
SECOND.requires_grad_(False)
FIRST.requires_grad_(False)


def pooled(given: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(FIRST(given)), 2)


def in_place(given: Tensor) -> Tensor:
    hidden = nn.Sequential(FIRST, nn.ReLU(inplace=True), nn.MaxPool2d(2))(given)
    return torch.relu_(SECOND(hidden))


def operators(given: Tensor) -> Tensor:
    return torch.ops.aten.max_pool2d.default(torch.ops.aten.relu.default(FIRST(given)), [2, 2])


def two_readers(given: Tensor) -> Tensor:
    active = F.relu(FIRST(given))
    return torch.cat([F.max_pool2d(active, 2, 1, 1)[..., :-1, :-1], active], 1)


def changed_in_place_for_others(given: Tensor) -> Tensor:
    hidden = FIRST(given)
    nn.ReLU(inplace=True)(hidden)
    return F.max_pool2d(hidden, 2) + F.avg_pool2d(hidden, 2)


def added_to_itself(given: Tensor) -> Tensor:
    active = torch.relu(FIRST(given))
    return torch.relu(SECOND(active) + active).mean(dim=(2, 3))


def of_vectors(given: Tensor) -> Tensor:
    return F.relu(FIRST(given).flatten(1) - 0.2)


def with_indices(given: Tensor) -> Tensor:
    active = F.relu(FIRST(given))
    values, places = F.max_pool2d(active, 2, return_indices=True)
    return F.max_unpool2d(values, places, 2)


def written_to(given: Tensor) -> Tensor:
    hidden = FIRST(given)
    active = F.relu(hidden)
    hidden.mul_(0.5)
    return active + hidden


def viewed(given: Tensor) -> Tensor:
    hidden = FIRST(given)
    part = hidden[:, :2]
    F.relu(hidden, inplace=True)
    return part + 1


def viewed_among_others(given: Tensor) -> Tensor:
    hidden = FIRST(given)
    part = hidden[:, :2]
    F.relu(hidden, inplace=True)
    return torch.cat([hidden, part], 1)


NETWORKS = [
    pooled,
    in_place,
    operators,
    two_readers,
    changed_in_place_for_others,
    added_to_itself,
    of_vectors,
    with_indices,
]


def in_half() -> AbstractContextManager[None]:
    return precision.half(CPU)


WAYS = pytest.mark.parametrize("way", [in_half, leading.Leading], ids=["bfloat16", "float32"])
Way = Callable[[], AbstractContextManager[object]]


def both(network: Callable[[Tensor], Tensor], way: Way) -> tuple[Tensor, Tensor]:
    """Return a network's output of a leading pass, and its gradient to the images."""
    images = torch.randn((3, 2, 8, 8), generator=torch.Generator().manual_seed(1)).requires_grad_()
    with way():
        output = network(images).float()
    (gradient,) = torch.autograd.grad((output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum(), images)
    return output.detach(), gradient


@WAYS
@pytest.mark.parametrize("network", NETWORKS)
def test_the_output_is_as_without_waiting(
    network: Callable[[Tensor], Tensor], way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, gradient = both(network, way)
    monkeypatch.setattr(leading, "_RECTIFIERS", set())
    monkeypatch.setattr(leading, "_RECTIFIERS_IN_PLACE", set())
    at_once, gradient_at_once = both(network, way)
    assert at_once.std() > 0
    assert torch.equal(output, at_once)
    assert torch.allclose(gradient, gradient_at_once, rtol=1e-3, atol=1e-4)


@WAYS
@pytest.mark.parametrize("network", [written_to, viewed, viewed_among_others])
def test_what_would_find_other_values_ends_the_pass(network: Callable[[Tensor], Tensor], way: Way) -> None:
    """So such a network is searched as it is; a switch could hang on what it finds there."""
    with pytest.raises(RuntimeError, match=r"read by another name|written to before"):
        both(network, way)


@WAYS
@pytest.mark.parametrize("network", [pooled, in_place, operators])
def test_what_is_pooled_is_rectified_afterwards(
    network: Callable[[Tensor], Tensor], way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[torch.Size] = []

    def seen(values: Tensor) -> Tensor:
        sizes.append(values.shape)
        return torch.relu(values)

    monkeypatch.setattr(gradients, "rectified", seen)
    both(network, way)
    assert set(sizes) == {torch.Size((3, 6, 4, 4))}


@WAYS
def test_what_nobody_reads_costs_nothing_and_what_all_read_is_done_once(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Tensor] = []
    real = gradients.rectified
    monkeypatch.setattr(gradients, "rectified", lambda values: calls.append(values) or real(values))
    both(added_to_itself, way)
    assert len(calls) == 2


@WAYS
def test_the_images_themselves_never_wait(way: Way) -> None:
    """They outlive the pass."""
    images = torch.randn(2, 2, 8, 8)
    with way():
        active = F.relu(images)
        FIRST(active)
    assert torch.equal(active, images.relu())


def test_outside_of_a_leading_pass_nothing_waits() -> None:
    images = torch.randn(2, 2, 8, 8)
    hidden = FIRST(images)
    assert torch.equal(F.relu(hidden), hidden.clamp_min(0))
