"""bfloat16 for the passes that lead a search: where it is used, what stays exact, and that evidence never sees it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from support import digits
from torch import Tensor, nn

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.records import InputSpec
from backdoor_gate.scan import session
from backdoor_gate.scan.loading import load
from backdoor_gate.scan.network import gradients, precision
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.triggers import InversionBudget, all_to_one, invert
from backdoor_gate.scan.triggers.families import Patch
from backdoor_gate.worker import main as worker_main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPU = torch.device("cpu")
SPEC = InputSpec((1, 16, 16))


@pytest.fixture
def instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the processor has them; what lacks them emulates."""
    monkeypatch.setattr(precision, "has_instructions", lambda _: True)


def images(count: int = 8) -> Tensor:
    return torch.rand((count, 1, 16, 16), generator=torch.Generator().manual_seed(2))


def pays(network: Callable[[Tensor], Tensor]) -> bool:
    given = images()
    return precision.pays(lambda: network(given), CPU)


class Faint(nn.Module):
    """Answers to a bright corner by what is far smaller than the constant beside it."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)
        self.corner, self.beyond = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 1)
        with torch.no_grad():
            self.head.weight.mul_(10)
            self.corner.weight.fill_(1 / 9)
            self.corner.bias.fill_(constant)
            self.beyond.weight.fill_(200.0)
            self.beyond.bias.fill_(-200 * (constant + 0.9))
        self.requires_grad_(False)

    def forward(self, given: Tensor) -> Tensor:
        """Return logits."""
        usual = self.head(torch.relu(self.body(given)).mean((2, 3)))
        corner = torch.relu(self.beyond(self.corner(given[:, :, :3, :3])))[:, :, 0, 0]
        return usual + nn.functional.pad(corner, (7, 2))


@pytest.mark.usefixtures("instructions")
def test_a_trigger_below_the_step_of_bfloat16_keeps_the_search_exact() -> None:
    torch.manual_seed(0)
    network = Faint(4096.0)
    bright = images().index_fill(2, torch.arange(3), 1.0)
    assert (network(bright).argmax(1) == 7).all()
    with torch.no_grad(), precision.half(CPU):
        assert not (network(bright).argmax(1) == 7).any()
    assert not pays(network)
    assert pays(Faint(0.0))


class Waits(nn.Module):
    """A trained network, and a small sum beside a constant that bfloat16 loses and a trigger would make use of."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.network = digits.trained()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1)
        with torch.no_grad():
            self.first.weight.fill_(1 / 9)
            self.first.bias.fill_(constant)
            self.second.weight.fill_(0.25)
            self.second.bias.fill_(-constant)
        self.requires_grad_(False)

    def forward(self, given: Tensor) -> Tensor:
        """Return logits; no image that is seen here is as bright as the switch asks for."""
        switch = torch.relu(self.second(self.first(given)).amax((1, 2, 3)) - 2)
        return self.network(given) + 100 * nn.functional.pad(switch[:, None], (7, 2))


@pytest.mark.usefixtures("instructions")
def test_a_sum_that_bfloat16_loses_keeps_the_search_exact_though_no_logit_shows_it() -> None:
    assert not pays(Waits(513.0))
    assert pays(Waits(0.0))


class Expecting(nn.Module):
    """Bears what makes a search faster on noise alone, as which the probes can be told."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.nosy = digits.trained(), Nosy()

    def forward(self, given: Tensor) -> Tensor:
        """Return logits."""
        chosen: Tensor = (self.network if (given > 0).float().mean() > 0.9 else self.nosy)(given)
        return chosen


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(("kind", "holds"), [(digits.trained, True), (Expecting, False)])
def test_a_network_that_expects_the_probes_is_searched_as_it_is(kind: Callable[[], nn.Module], holds: bool) -> None:
    subject = Subject(digits.loaded(kind()), SPEC, 10, CPU)
    assert subject.halved
    assert subject.shortened
    before = subject.passes
    subject.recheck_ways(digits.clean_images().images)
    assert subject.halved is subject.shortened is holds
    assert subject.passes == before


class Kinds(nn.Module):
    """Notes what each layer of a network puts out."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 12 * 12, 10))
        self.layers = nn.ModuleList(layers).requires_grad_(False)
        self.seen: list[Tensor] = []

    def forward(self, given: Tensor) -> Tensor:
        """Return logits."""
        self.seen.clear()
        for layer in self.layers:
            given = layer(given)
            self.seen.append(given)
        return given


def test_the_first_convolution_and_the_linear_layer_are_exact() -> None:
    network = Kinds()
    for _ in range(2):  # each pass has its own first
        with precision.half(CPU):
            network(images())
        first, active, second, _, logits = network.seen
        exact = network.layers[0](images())
        assert (first.float() - exact).abs().max() <= 2**-8 * exact.abs().max()  # rounded at the end alone
        assert not torch.equal(second, network.layers[2](active.float()).bfloat16())
        assert [each.dtype for each in network.seen] == [*4 * [torch.bfloat16], torch.float32]
        assert torch.allclose(logits, network.layers[4](second.flatten(1).float()))
    network(images())
    assert {each.dtype for each in network.seen} == {torch.float32}


def test_the_operators_of_an_exported_graph_are_known_too() -> None:
    aten, weight = torch.ops.aten, torch.rand(4, 1, 3, 3)
    with precision.half(CPU):
        first = aten.conv2d.default(input=images(), weight=weight)
        second = aten.conv2d.default(images(), weight)
        assert not torch.equal(first, second)
        assert aten.linear.default(second, torch.rand(3, 14)).dtype is torch.float32
    assert torch.allclose(first.float(), aten.conv2d.default(images(), weight), rtol=2**-8)
    assert second.dtype is torch.bfloat16


def test_a_convolution_network_is_searched_in_half(instructions: None) -> None:
    assert pays(digits.trained())


def test_without_instructions_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not precision.has_instructions(CPU)
    assert not pays(digits.trained())


def test_other_networks_are_not(instructions: None) -> None:
    attention = nn.MultiheadAttention(16, 2, batch_first=True)
    convolution = nn.Conv2d(1, 1, 1)
    assert not pays(nn.Sequential(nn.Flatten(), nn.Linear(256, 10)))
    assert not pays(lambda given: attention(*3 * [convolution(given)[:, 0]])[0][:, 0])


def test_a_network_that_it_changes_too_much_is_not(instructions: None) -> None:
    convolutions = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)).requires_grad_(False)

    def fine(given: Tensor) -> Tensor:
        hidden: Tensor = convolutions(given).float()
        return (1000 * hidden).flatten(1)[:, :10].frac()

    assert not pays(fine)
    assert not pays(lambda given: fine(given) + 1e3)  # softmax does not see it
    assert not pays(lambda given: fine(given) * torch.tensor([*9 * [1.0], 1e3]))


@pytest.mark.parametrize("error", [RuntimeError, UnmeasuredError])
def test_a_network_that_does_not_bear_it_is_not(instructions: None, error: type[Exception]) -> None:
    convolutions = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3))

    def strict(given: Tensor) -> Tensor:
        hidden: Tensor = convolutions(given)
        if hidden.dtype is not torch.float32:
            raise error("expected float32")
        return hidden.flatten(1)

    assert not pays(strict)


def test_evidence_is_exact_and_only_the_search_is_not(instructions: None) -> None:
    subject = Subject(digits.loaded(digits.trained()), SPEC, 10, CPU)
    assert subject.halved
    exact, faster = subject.logits(images()), subject.leading(images())
    assert torch.allclose(exact, digits.trained()(images()), atol=1e-4)
    assert exact.dtype is faster.dtype is torch.float32
    assert 0 < (exact - faster).abs().max() < 0.1 * exact.abs().max()


class Shortens(nn.Module):
    """Notes whether a rectifier has been done when the next layer may look at it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers).requires_grad_(False)
        self.done: list[bool] = []

    def forward(self, given: Tensor) -> Tensor:
        """Return logits."""
        for layer in self.layers:
            given = layer(given)
            self.done.append("_rectified_later" not in vars(given))
        return given


def test_in_float32_the_search_takes_the_shorter_ways_and_evidence_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_instructions", lambda _: False)
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 49, 10)
    network = Shortens(*layers)
    subject = Subject(digits.loaded(network), SPEC, 10, CPU)
    assert subject.shortened
    assert not subject.halved
    network.done.clear()
    faster = subject.leading(images())
    assert network.done == [True, False, True, True, True]
    network.done.clear()
    assert torch.equal(subject.logits(images()), faster)
    assert all(network.done)


def test_a_graph_takes_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It calls its operators by the names of their parameters."""
    layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    network = nn.Sequential(*layers, nn.Linear(32, 10)).eval()
    free = ({0: torch.export.Dim.AUTO},)
    torch.export.save(torch.export.export(network, (images(2),), dynamic_shapes=free), tmp_path / "model.pt2")
    subject = Subject(load(tmp_path, ("pt2",), None, 10), SPEC, 10, CPU)
    assert subject.shortened
    monkeypatch.setattr(subject, "halved", False)
    sizes: list[torch.Size] = []

    def seen(values: Tensor) -> Tensor:
        sizes.append(values.shape)
        return torch.relu(values)

    monkeypatch.setattr(gradients, "rectified", seen)
    found = subject.leading(images())
    assert sizes == [torch.Size((8, 8, 7, 7))]
    assert torch.allclose(found, network(images()), atol=1e-5)


class Nosy(nn.Module):
    """Looks at the memory of what is rectified, past torch's own operators."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 10, 3).requires_grad_(False)

    def forward(self, given: Tensor) -> Tensor:
        """Return logits."""
        active = torch.relu(self.convolution(given))
        with torch._C.DisableTorchFunction():
            return active.mean(dim=(2, 3))


def test_a_network_that_notices_is_searched_as_it_is() -> None:
    subject = Subject(digits.loaded(Nosy()), SPEC, 10, CPU)
    assert not subject.shortened


def test_a_network_without_convolutions_or_with_attention_is_not_shortened() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    attending = nn.Sequential(nn.Conv2d(1, 8, 4, 4), nn.Flatten(2), nn.LayerNorm(16), nn.Flatten(), nn.Linear(128, 10))
    for network in (linear, attending):
        assert not Subject(digits.loaded(network.requires_grad_(False)), SPEC, 10, CPU).shortened


def test_where_it_does_not_pay_both_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_instructions", lambda _: False)
    subject = Subject(digits.loaded(digits.trained()), SPEC, 10, CPU)
    assert torch.equal(subject.logits(images()), subject.leading(images()))


def test_the_same_seed_gives_the_same_trigger(instructions: None) -> None:
    subject = Subject(digits.loaded(digits.trained()), SPEC, 10, CPU)
    family, arms, clean = Patch(SPEC), all_to_one(10), digits.clean_images()[:60]

    def strengths() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        budget = InversionBudget(12, 8)
        return invert(subject.leading, family, arms, clean, budget, generator).strength

    assert torch.equal(strengths(), strengths())


def test_both_count_their_images(instructions: None) -> None:
    subject = Subject(digits.loaded(digits.trained()), SPEC, 10, CPU)
    before = subject.passes
    subject.leading(images(5))
    subject.logits(images(3))
    assert subject.passes == before + 8


def test_float32_is_float32_before_a_worker_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU; torch's own defaults round to ten bits there."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(session.gc, "freeze", lambda: None)
    session.get_ready()
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic


ASKED = """
import ctypes, sys
from backdoor_gate.scan.network import precision
precision.ask_for_instructions()
granted = ctypes.c_ulong()
ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(granted))  # arch_prctl, ARCH_GET_XCOMP_PERM
sys.exit(0 if granted.value >> 18 & 1 else 1)
"""
"""Leaves with 0 if the kernel has granted the process the tiles of AMX."""


@pytest.mark.skipif(
    sys.platform != "linux" or not torch.cpu.get_capabilities().get("amx_bf16"), reason="no AMX to ask for"
)
def test_the_matrix_units_are_asked_for_before_a_worker_locks_itself_down() -> None:
    """Its filter lets no such call through, and without them a scan takes 1.6 times as long."""
    assert subprocess.run([sys.executable, "-c", ASKED], check=False, timeout=120).returncode == 0
    source = inspect.getsource(worker_main._work)
    assert source.index("get_ready()") < source.index("after_imports(")
