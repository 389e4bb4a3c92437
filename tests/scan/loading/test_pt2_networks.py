"""The interpreter against the eager network: outputs and input gradients, any batch, whatever mode was exported."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import torch
from support.forging import FORMATS, architecture, exported
from support.small_networks import ALL, CLASSES, SHAPE, Attention, Excited, Mobile, Normed, Odd, Plain, Residual

from backdoor_gate.errors import RefusedError, UnmeasuredError
from backdoor_gate.scan.loading import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn


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


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_graph_computes_what_the_network_does(kind: Callable[[], nn.Module], training: bool, root: Path) -> None:
    network = trained(kind)
    (root / "model.pt2").write_bytes(exported(network.train(training)))
    model = load(root, FORMATS, None, CLASSES)
    check_equal(network.eval(), model.network)
    assert model.format == "pt2"
    assert model.fixed_batch is None
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


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


@pytest.mark.parametrize("kind", [Plain, Mobile, Attention])
def test_half_precision_weights_run_in_float32(kind: Callable[[], nn.Module], root: Path) -> None:
    network = trained(kind).to(torch.bfloat16)
    program = torch.export.export(
        network, (torch.rand(2, *SHAPE, dtype=torch.bfloat16),), dynamic_shapes=[{0: torch.export.Dim.AUTO}]
    )
    torch.export.save(program, root / "model.pt2")
    check_equal(network.float(), load(root, FORMATS, None, CLASSES).network)


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
    with pytest.raises(RefusedError, match="the graph is not what nets_of_ours:build computes"):
        load(root, FORMATS, architecture(code), CLASSES)


def test_a_batch_that_the_graph_cannot_take_is_no_traceback(root: Path) -> None:
    (root / "model.pt2").write_bytes(exported(trained(Plain)))
    network = load(root, FORMATS, None, CLASSES).network
    with pytest.raises(UnmeasuredError, match=r"linear\.default failed"):
        network(torch.rand(2, 3, 20, 20))
