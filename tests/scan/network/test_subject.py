"""The first look at a network: what cannot be measured is said at once, and in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from support import digits
from torch import Tensor, nn
from torch.nn import functional

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.records import InputSpec
from backdoor_gate.scan.network.subject import PROBES, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = InputSpec((1, 16, 16))
CPU = torch.device("cpu")


class Through(nn.Module):
    """The digits network, with something done to its output."""

    def __init__(self, change: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.inner, self.change = digits.network().eval().requires_grad_(False), change

    def forward(self, images: Tensor) -> object:
        """Return the changed logits."""
        return self.change(self.inner(images))


def subject(change: Callable[[Tensor], object], classes: int | None = 10, spec: InputSpec = SPEC) -> Subject:
    return Subject(digits.loaded(Through(change)), spec, classes, CPU)


def images(count: int = 6) -> Tensor:
    return torch.rand((count, 1, 16, 16), generator=torch.Generator().manual_seed(2))


def test_logits_are_the_networks() -> None:
    looked = subject(lambda logits: logits)
    assert looked.num_classes == 10
    assert torch.allclose(looked.logits(images()), digits.network()(images()), atol=1e-6)


def test_the_number_of_classes_may_come_from_the_output() -> None:
    assert subject(lambda logits: logits[:, :7], classes=None).num_classes == 7


def test_every_image_is_counted() -> None:
    looked = subject(lambda logits: logits)
    before = looked.passes
    assert before % PROBES == 0
    looked.logits(images(6))
    assert looked.passes == before + 6


def test_images_are_normalised_before_the_network() -> None:
    spec = InputSpec((1, 16, 16), mean=(0.25,), std=(0.5,))
    looked = subject(lambda logits: logits, spec=spec)
    assert torch.allclose(looked.logits(images()), digits.network()((images() - 0.25) / 0.5), atol=1e-6)


def test_probes_are_taken_from_the_range() -> None:
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            seen.append(given.detach())
            return given.flatten(1)[:, :10]

    Subject(digits.loaded(Watch()), InputSpec((1, 16, 16), -3.0, 5.0), 10, CPU)
    assert -3 <= seen[0].min() < -2
    assert 4 < seen[0].max() <= 5


# ---------------------------------------------------------------------------------------------- probabilities


def test_probabilities_become_their_logarithms() -> None:
    looked = subject(lambda logits: (3 * logits).softmax(dim=1))
    expected = (3 * digits.network()(images())).log_softmax(dim=1)
    assert torch.allclose(looked.logits(images()), expected, atol=1e-4)


def test_saturated_probabilities_stay_finite() -> None:
    looked = subject(lambda logits: (300 * logits).softmax(dim=1))
    found = looked.logits(images())
    assert found.isfinite().all()
    assert found.min() == pytest.approx(torch.tensor(1e-37).log().item(), rel=1e-3)


def test_a_class_that_a_softmax_all_but_rules_out_keeps_its_gradient() -> None:
    looked = subject(lambda logits: torch.cat([logits[:, :9] + 70, logits[:, 9:]], dim=1).softmax(dim=1))
    given = images().requires_grad_()
    functional.cross_entropy(looked.logits(given), torch.full((len(given),), 9)).backward()
    kept = given.grad
    given.grad = None
    plain = subject(lambda logits: torch.cat([logits[:, :9] + 70, logits[:, 9:]], dim=1))
    functional.cross_entropy(plain.logits(given), torch.full((len(given),), 9)).backward()
    assert kept.abs().max() > 1e-3
    torch.testing.assert_close(kept, given.grad, rtol=1e-3, atol=1e-6)


def test_a_softmax_after_it_changes_neither_what_is_folded_nor_what_comes_out() -> None:
    class Ended(nn.Module):
        """Reads a convolution's output twice, as pre-activation networks do."""

        def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolution, self.norm, self.head = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Linear(8 * 49, 10)
            self.norm.running_mean.uniform_(-1, 1)
            self.end = end

        def forward(self, x: Tensor) -> Tensor:
            made = self.convolution(x)
            pooled = functional.avg_pool2d(made + self.norm(made).relu(), 2)
            return self.end(30 * self.head(pooled.flatten(1)) + torch.tensor([50.0, *9 * [0.0]]))

    plain, ended = (
        Subject(digits.loaded(Ended(end).eval().requires_grad_(False)), SPEC, 10, CPU)
        for end in (lambda logits: logits, lambda logits: logits.softmax(dim=1))
    )
    torch.testing.assert_close(ended.logits(images()), plain.logits(images()).log_softmax(dim=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits.log_softmax(dim=1),
        lambda logits: logits.sigmoid(),
        lambda logits: logits.softmax(dim=1) * 1.01,
        lambda logits: logits.softmax(dim=1) * 20 - 1.9,
    ],
    ids=["log-probabilities", "sigmoid", "sum not one", "beyond [0, 1]"],
)
def test_what_is_not_probabilities_stays_as_it_is(change: Callable[[Tensor], Tensor]) -> None:
    assert torch.allclose(subject(change).logits(images()), change(digits.network()(images())), atol=1e-6)


# ---------------------------------------------------------------------------------------------- what cannot be measured


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: logits * torch.nan, "not finite"),
        (lambda logits: logits / 0, "not finite"),
        (lambda logits: logits[:1] + 0 * logits, "carries no information: the same for every image"),
        (lambda logits: logits[:, :9], "9 classes, the policy or the data says 10"),
        (lambda logits: logits[:, :1], "shape [8, 1] for 8 images"),
        (lambda logits: logits[0], "shape [10] for 8 images"),
        (lambda logits: logits[:4], "shape [4, 10] for 8 images"),
        (lambda logits: logits[:, :, None], "shape [8, 10, 1] for 8 images"),
        (lambda logits: {"logits": logits}, "dict instead of a tensor"),
        (lambda logits: (logits, logits), "tuple instead of a tensor"),
        (lambda logits: None, "NoneType instead of a tensor"),
        (lambda logits: logits.detach(), "no gradient reaches the model's input"),
    ],
)
def test_an_output_that_cannot_be_measured(change: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(UnmeasuredError) as caught:
        subject(change)
    assert message in caught.value.what
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_images_that_the_network_does_not_take() -> None:
    with pytest.raises(UnmeasuredError, match=r"does not take images of shape \[3, 16, 16\]") as caught:
        subject(lambda logits: logits, spec=InputSpec((3, 16, 16)))
    assert "model.input.shape" in caught.value.hint
    assert "\n" not in str(caught.value)
