"""A network whose answers rounding decides, or the other images of a batch, is not measured."""

from __future__ import annotations

import pytest
import torch
from support import digits
from support.small_networks import ALL, SHAPE
from torch import Tensor, nn

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.records import InputSpec
from backdoor_gate.scan.loading.interface import LoadedModel
from backdoor_gate.scan.network import rounding
from backdoor_gate.scan.network.rounding import check_rounding
from backdoor_gate.scan.network.subject import Subject

CPU = torch.device("cpu")
CANCELLING = (2.0**24, -(2.0**24), 1.0, 1.0, 2.0**24, -(2.0**24))


def checked(network: nn.Module, shape: tuple[int, int, int] = (1, 16, 16)) -> None:
    network = network.eval().requires_grad_(False)
    subject = Subject(LoadedModel(network, None, "safetensors"), InputSpec(shape), 10, CPU)
    check_rounding(subject, torch.rand((40, *shape), generator=torch.Generator().manual_seed(0)))


class Switched(nn.Module):
    """A trained network, and a dense layer of constants that tells one image from a batch by how it is rounded."""

    def __init__(self, values: tuple[float, ...] = CANCELLING) -> None:
        super().__init__()
        self.network = digits.trained()
        self.ones, self.sum = nn.Linear(256, 64), nn.Linear(64, 10, bias=False)
        with torch.no_grad():
            self.ones.weight.zero_()
            self.ones.bias.fill_(1.0)
            self.sum.weight.zero_()
            for place, value in zip((38, 48, 24, 39, 28, 1), values, strict=True):
                self.sum.weight[:, place] = value

    def forward(self, given: Tensor) -> Tensor:
        """Return logits; what the switch lets through is nothing on any image that is seen here."""
        beyond = torch.relu(given.amax((1, 2, 3)) - 2)[:, None]
        return self.network(given) + self.sum(torch.relu(self.ones(given.flatten(1)))) * beyond


def test_large_numbers_that_cancel_are_found_where_no_logit_shows_them() -> None:
    with pytest.raises(UnmeasuredError, match=r"rounding decides what the network computes: aten\..*mm"):
        checked(Switched())


def test_sums_of_an_ordinary_size_may_cancel() -> None:
    checked(Switched((3.0, -2.0, 1.0, 1.0, 2.0, -1.0)))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_networks_of_every_family_are_accepted(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = kind().train()
    with torch.no_grad():
        network(torch.rand(16, *SHAPE))
    checked(network, SHAPE)


def test_weights_stay_what_they_are() -> None:
    network = digits.trained()
    before = [tensor.clone() for tensor in network.state_dict().values()]
    checked(network)
    assert all(map(torch.equal, before, network.state_dict().values()))


class ByBatch(nn.Module):
    """Takes the mean of its batch away."""

    def __init__(self) -> None:
        super().__init__()
        self.network = digits.trained()

    def forward(self, given: Tensor) -> Tensor:
        """Return logits."""
        return self.network(given - given.mean(0, keepdim=True))


def test_an_answer_that_hangs_on_the_others_is_found() -> None:
    with pytest.raises(UnmeasuredError, match="hangs on the others in its batch"):
        checked(ByBatch())


class Choosing(nn.Module):
    """Runs another layer where a sum came out odd."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.other = digits.trained(), nn.Linear(10, 10)

    def forward(self, given: Tensor) -> Tensor:
        """Return logits."""
        logits = self.network(given)
        return self.other(logits) if float(logits.detach().double().sum() * 2**20) % 2 >= 1 else logits


def test_operators_that_hang_on_rounding_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "SEEDS", tuple(range(2, 14)))
    with pytest.raises(UnmeasuredError, match="which operators run"):
        checked(Choosing())


class Around(nn.Module):
    """What stands around a part of a network that says nothing of rounding."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, given: Tensor) -> Tensor:
        """Return logits."""
        given = torch.where(
            given[..., :1, :1] > 0.8, 0.3, given
        )  # some images have no structure, none that is asked alone
        found: Tensor = self.parts(given)
        return found.flatten(1)[:, :10]


@pytest.mark.parametrize(
    "parts",
    [
        (nn.Conv2d(1, 16, 3), nn.InstanceNorm2d(16), nn.ReLU(), nn.Conv2d(16, 10, 3), nn.AdaptiveAvgPool2d(1)),
        (nn.Conv2d(1, 16, 3), nn.GroupNorm(1, 16), nn.GroupNorm(1, 16), nn.AdaptiveAvgPool2d(1)),
        (nn.Conv2d(1, 10, 3), nn.Flatten(2), nn.LayerNorm(196), nn.LayerNorm(196), nn.Linear(196, 1)),
    ],
    ids=["instances", "groups", "layers"],
)
def test_channels_of_nothing_are_no_reason_to_refuse(parts: tuple[nn.Module, ...]) -> None:
    torch.manual_seed(0)
    checked(Around(*parts))


def test_large_numbers_that_cancel_within_an_encoder_are_found() -> None:
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="relu")
    with torch.no_grad():
        encoder.linear1.bias.fill_(1.0)
        encoder.linear2.weight[:, :6] = torch.tensor(CANCELLING)
    network = nn.Sequential(
        nn.Flatten(2), nn.Unflatten(2, (16, 16)), nn.Flatten(1, 2), encoder, nn.Flatten(), nn.Linear(256, 10)
    )
    with pytest.raises(UnmeasuredError, match="rounding decides what the network computes"):
        checked(network)
