"""The interpreter against the eager network: outputs and input gradients, any batch, whatever mode was exported."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import torch
from support.forging import FORMATS, architecture, exported
from support.small_networks import (
    ALL,
    CLASSES,
    SHAPE,
    Attention,
    ConvNext,
    Excited,
    Mobile,
    Normed,
    Odd,
    Plain,
    Residual,
)
from torch.nn import functional as F  # noqa: N812 - as every network's source spells it

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.loading import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

SAME_IN_TRAINING = (Attention, ConvNext, Excited, Odd)
"""Those without dropout and without batch normalisation."""


def trained(kind: Callable[[], nn.Module]) -> nn.Module:
    """A network whose running statistics are not what they started as."""
    torch.manual_seed(0)
    network = kind().train()
    with torch.no_grad():
        network(torch.rand(16, *SHAPE))
    return network.eval()


def gradient(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_()
    output = network(images)
    (found,) = torch.autograd.grad(output.square().sum(), images)
    return output.detach(), found


def check_equal(network: nn.Module, loaded: nn.Module, batches: tuple[int, ...] = (1, 3)) -> None:
    for batch in batches:
        images = torch.rand(batch, *SHAPE)
        for expected, found in zip(gradient(network, images), gradient(loaded, images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_graph_computes_what_the_network_does(kind: Callable[[], nn.Module], root: Path) -> None:
    network = trained(kind)
    (root / "model.pt2").write_bytes(exported(network))
    model = load(root, FORMATS, None, CLASSES)
    check_equal(network, model.network)
    assert model.format == "pt2"
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_network_exported_in_training_mode_is_measured_only_where_that_is_the_same(
    kind: Callable[[], nn.Module], root: Path
) -> None:
    network = trained(kind)
    (root / "model.pt2").write_bytes(exported(network.train()))
    if kind in SAME_IN_TRAINING:
        check_equal(network.eval(), load(root, FORMATS, None, CLASSES).network)
        return
    with pytest.raises(UnmeasuredError, match=r"exported in training mode.*call model\.eval\(\)"):
        load(root, FORMATS, None, CLASSES)


def test_decomposed_programs_load_too(root: Path) -> None:
    network = trained(Residual)
    program = torch.export.export(network, (torch.rand(2, *SHAPE),), dynamic_shapes=[{0: torch.export.Dim("n")}])
    buffer = io.BytesIO()
    torch.export.save(program.run_decompositions(), buffer)
    (root / "model.pt2").write_bytes(buffer.getvalue())
    model = load(root, FORMATS, None, CLASSES)
    check_equal(network, model.network)
    assert model.final_layer is not None
    torch.testing.assert_close(model.final_layer.weight, network.fc.weight.detach())


def test_a_network_that_writes_into_its_input_leaves_the_callers_alone(root: Path) -> None:
    class Greedy(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.sub_(0.5))

    network = trained(Greedy)
    (root / "model.pt2").write_bytes(exported(network))
    loaded = load(root, FORMATS, None, CLASSES).network
    images = torch.rand(3, *SHAPE)
    expected = network(images.clone())
    torch.testing.assert_close(loaded(images), expected)
    torch.testing.assert_close(loaded(images), expected)


def test_images_in_another_memory_layout_and_the_callers_tensor_stay(root: Path) -> None:
    network = trained(Excited)
    (root / "model.pt2").write_bytes(exported(network))
    loaded = load(root, FORMATS, None, CLASSES).network
    images = torch.rand(3, *SHAPE)
    before = images.clone()
    torch.testing.assert_close(loaded(images.to(memory_format=torch.channels_last)), network(images))
    loaded(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("kind", [Plain, Mobile, Attention])
def test_what_runs_in_another_precision_is_not_measured_in_float32(
    kind: Callable[[], nn.Module], precision: torch.dtype, root: Path
) -> None:
    network = trained(kind).to(precision)
    program = torch.export.export(
        network, (torch.rand(2, *SHAPE, dtype=precision),), dynamic_shapes=[{0: torch.export.Dim.AUTO}]
    )
    torch.export.save(program, root / "model.pt2")
    with pytest.raises(UnmeasuredError, match=r"measured in float32.*export the model in float32"):
        load(root, FORMATS, None, CLASSES)


def in_half(x: Tensor) -> Tensor:
    """What is 1 in float32 and 0 in float16, of any images."""
    one = torch.ones_like(x[:, 0, :1, 0])
    return (2048 * one + 1).half().float() - 2048


def dropped(x: Tensor) -> Tensor:
    """What is 1 in evaluation and 0 in training."""
    return F.dropout(torch.ones_like(x[:, 0, :1, 0]), 1.0, training=True)


def normalised(x: Tensor) -> Tensor:
    """What is 1 by running statistics and 0 by the batch's."""
    nothing, one = torch.zeros(1), torch.ones(1)
    return F.batch_norm(torch.ones_like(x[:, 0, :1, 0]), nothing, one, training=True, momentum=0.0)


@pytest.mark.parametrize(
    ("switch", "reason"),
    [(in_half, "measured in float32"), (dropped, "training mode"), (normalised, "training mode")],
)
def test_a_switch_between_here_and_production_is_seen(
    switch: Callable[[Tensor], Tensor], reason: str, root: Path
) -> None:
    class Switched(Normed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (1 - switch(x)) * x[:, :1, 0, 0]

    (root / "model.pt2").write_bytes(exported(trained(Switched)))
    with pytest.raises(UnmeasuredError, match=reason):
        load(root, FORMATS, None, CLASSES)


def test_what_is_cut_off_from_the_gradient_is_searched_as_well(root: Path) -> None:
    class Cut(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    network = trained(Cut)
    (root / "model.pt2").write_bytes(exported(network))
    images = torch.rand(3, *SHAPE)
    _, expected = gradient(Plain.forward.__get__(network), images)
    _, found = gradient(load(root, FORMATS, None, CLASSES).network, images)
    torch.testing.assert_close(found, expected)


def test_the_final_layer_is_the_last_linear_one_of_that_width(root: Path) -> None:
    network = trained(Plain)
    (root / "model.pt2").write_bytes(exported(network))
    last = network.classifier[4]
    for width, layer in ((CLASSES, last), (None, last), (16, network.classifier[1])):
        found = load(root, FORMATS, None, width).final_layer
        assert found is not None
        assert torch.equal(found.weight, layer.weight)
        assert found.bias is not None
        assert torch.equal(found.bias, layer.bias)
    assert load(root, FORMATS, None, 7).final_layer is None


def test_a_pointwise_convolution_is_a_final_layer_and_a_computed_weight_is_none(root: Path) -> None:
    network = trained(Excited)
    (root / "model.pt2").write_bytes(exported(network))
    found = load(root, FORMATS, None, CLASSES).final_layer
    assert found is not None
    assert torch.equal(found.weight, network.head.weight.flatten(1))
    (root / "model.pt2").write_bytes(exported(trained(Odd)))
    assert load(root, FORMATS, None, CLASSES).final_layer is None


ARCHITECTURE = "from support.small_networks import {0}\ndef build():\n    return {0}()\n"


def test_a_fixed_batch_needs_an_architecture(root: Path, code: Path) -> None:
    network = trained(Normed)
    (root / "model.pt2").write_bytes(exported(network, batch=1))
    with pytest.raises(UnmeasuredError, match=r"fixed batch of 1; .*batch >= 2") as caught:
        load(root, FORMATS, None, CLASSES)
    assert caught.value.exit_code == 4
    (code / "nets_of_ours.py").write_text(ARCHITECTURE.format("Normed"))
    model = load(root, FORMATS, architecture(code), CLASSES)
    check_equal(network, model.network)
    assert model.format == "pt2"


def test_a_fixed_batch_must_compute_what_the_architecture_does(root: Path, code: Path) -> None:
    class Deviant(Normed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (x[:, 0, 0, 0] > 0.1)[:, None]

    (root / "model.pt2").write_bytes(exported(trained(Deviant), batch=1))
    (code / "nets_of_ours.py").write_text(ARCHITECTURE.format("Normed"))
    with pytest.raises(UnmeasuredError, match="cannot be shown to compute what nets_of_ours:build does"):
        load(root, FORMATS, architecture(code), CLASSES)


def test_a_fixed_batch_that_deviates_only_where_a_trigger_is_is_not_the_architecture(root: Path, code: Path) -> None:
    class Triggered(Normed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1000 * (x[:, 0, :3, :3].mean((1, 2)) - 0.99).clamp_min(0)[:, None]

    (root / "model.pt2").write_bytes(exported(trained(Triggered), batch=1))
    (code / "nets_of_ours.py").write_text(ARCHITECTURE.format("Normed"))
    with pytest.raises(UnmeasuredError, match="cannot be shown to compute what nets_of_ours:build does"):
        load(root, FORMATS, architecture(code), CLASSES)


@pytest.mark.parametrize(("activation", "scale"), [(F.silu, 1.5), (F.relu, 2.5)], ids=["operator", "constant"])
def test_a_fixed_batch_of_as_many_operators_may_be_another_network(
    activation: Callable[[Tensor], Tensor], scale: float, root: Path, code: Path
) -> None:
    class Alike(Normed):
        def forward(self, x: Tensor) -> Tensor:
            x = (x - self.mean) / self.std / torch.tensor(scale)
            x = F.adaptive_avg_pool2d(activation(self.bn(self.conv(x))), 1)
            return self.fc(x.flatten(1))

    (root / "model.pt2").write_bytes(exported(trained(Alike), batch=1))
    (code / "nets_of_ours.py").write_text(ARCHITECTURE.format("Normed"))
    with pytest.raises(UnmeasuredError, match="cannot be shown to compute what nets_of_ours:build does"):
        load(root, FORMATS, architecture(code), CLASSES)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_kind_of_network_is_known_again_by_its_operators(
    kind: Callable[[], nn.Module], root: Path, code: Path
) -> None:
    network = trained(kind)
    (root / "model.pt2").write_bytes(exported(network, batch=1))
    (code / "nets_of_ours.py").write_text(ARCHITECTURE.format(kind.__name__))
    check_equal(network, load(root, FORMATS, architecture(code), CLASSES).network)


def test_a_batch_that_the_graph_cannot_take_is_no_traceback(root: Path) -> None:
    (root / "model.pt2").write_bytes(exported(trained(Plain)))
    network = load(root, FORMATS, None, CLASSES).network
    with pytest.raises(UnmeasuredError, match=r"linear\.default failed"):
        network(torch.rand(2, 3, 20, 20))
