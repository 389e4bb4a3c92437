"""The trusted architecture: found, called with its arguments, filled exactly; what is wrong with it is told apart."""

from __future__ import annotations

import py_compile
import sys
from importlib.util import cache_from_source
from py_compile import PycInvalidationMode
from typing import TYPE_CHECKING

import pytest
import torch
from support.forging import architecture
from torch import nn

from backdoor_gate.errors import RefusedError, UsageError
from backdoor_gate.scan.loading.architecture import build, fill
from backdoor_gate.scan.loading.final_layer import final_layer

if TYPE_CHECKING:
    from pathlib import Path


def test_a_package_is_built_with_its_arguments(code: Path) -> None:
    (code / "zoo").mkdir()
    (code / "zoo" / "__init__.py").write_text("")
    (code / "zoo" / "parts.py").write_text("WIDTH = 7\n")
    (code / "zoo" / "net.py").write_text(
        "from torch import nn\nfrom zoo.parts import WIDTH\n"
        "class Net:\n    @staticmethod\n    def build(depth, *, classes):\n        return nn.Linear(WIDTH, classes)\n"
    )
    network = build(architecture(code, "zoo.net:Net.build", depth=2, classes=3))
    assert (network.in_features, network.out_features) == (7, 3)
    assert sys.path[0] == str(code)
    build(architecture(code, "zoo.net:Net.build", depth=2, classes=3))
    assert sys.path.count(str(code)) == 1


def test_source_is_run_and_not_bytecode_that_claims_to_be_it(code: Path) -> None:
    honest, other = code / "nets_of_ours.py", code.parent / "other.py"
    for file, width in ((honest, 2), (other, 5)):
        file.write_text(f"from torch import nn\ndef build():\n    return nn.Linear({width}, 3)\n")
    kept = cache_from_source(str(honest))
    py_compile.compile(str(other), cfile=kept, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    assert build(architecture(code)).in_features == 2


def test_an_installed_callable_needs_no_search_path() -> None:
    assert isinstance(build(architecture(None, "torch.nn:Linear", in_features=2, out_features=3)), nn.Linear)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "cannot import 'nets_of_ours': ModuleNotFoundError"),
        (
            "import nothing_like_this",
            "cannot import 'nets_of_ours': ModuleNotFoundError: No module named 'nothing_like",
        ),
        ("raise SystemExit(0)", "cannot import 'nets_of_ours': SystemExit"),
        ("def build(:", "cannot import 'nets_of_ours': SyntaxError"),
        ("def other(): pass", "module 'nets_of_ours' has no 'build'"),
        ("build = 3", "raised TypeError"),
        ("def build(a): pass", "raised TypeError: build\\(\\) missing"),
        ("def build(): raise ValueError('first\\nsecond')", "raised ValueError: first;"),
        ("def build(): return 'net'", "returned str"),
        ("from torch import nn\ndef build(): return nn.LazyLinear(3)", "has lazy layers"),
    ],
)
def test_faults_name_the_policy_key(source: str | None, message: str, code: Path) -> None:
    if source is not None:
        (code / "nets_of_ours.py").write_text(source)
    with pytest.raises(UsageError, match=message) as caught:
        build(architecture(code))
    assert caught.value.where == "model.architecture"
    assert caught.value.hint


@pytest.mark.parametrize("target", ["net", "net:", ":build", "net.build", "../net:build", "net:a-b", "net:build()"])
def test_a_target_has_a_form(target: str, code: Path) -> None:
    with pytest.raises(UsageError, match="does not name a callable"):
        build(architecture(code, target))


def test_a_loaded_modules_name_is_not_taken_over(code: Path) -> None:
    (code / "json.py").write_text("def loads(): pass")
    with pytest.raises(UsageError, match=r"'json' in .* has the name of a loaded module"):
        build(architecture(code, "json:loads"))


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_weights_that_do_not_fit_are_listed() -> None:
    state = weights(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)))
    state["9.weight"] = state.pop("1.weight")
    state["0.weight"] = torch.ones(3, 4)
    with pytest.raises(RefusedError) as caught:
        fill(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)), state, "a:b", "model.pth")
    expected = "weights do not fit a:b: missing 1.weight, unexpected 9.weight, mis-shaped 0.weight (3, 4) for (3, 2)"
    assert caught.value.what == expected
    with pytest.raises(RefusedError, match="and 7 more"):
        fill(nn.Linear(2, 3), {f"w{index}": torch.ones(1) for index in range(10)}, "a:b", "model.pth")


def test_a_wrappers_prefix_is_recognised() -> None:
    state = {f"module.{name}": tensor for name, tensor in weights(nn.Linear(2, 3)).items()}
    with pytest.raises(RefusedError, match=r"every name starts with 'module\.'"):
        fill(nn.Linear(2, 3), state, "a:b", "model.pth")


def test_a_filled_network_is_frozen_float32_in_evaluation() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Dropout()).half().train()
    filled = fill(network, weights(nn.Sequential(nn.Linear(2, 3))), "a:b", "model.pth")
    assert not filled.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in filled.parameters())


def test_the_final_layer_of_a_module_network() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Linear(8, 5), nn.Conv2d(5, 10, 1, bias=False), nn.Conv2d(10, 2, 3))
    pointwise = final_layer(network, 10)
    assert pointwise is not None
    assert pointwise.bias is None
    assert torch.equal(pointwise.weight, network[2].weight.flatten(1))
    last = final_layer(network, None)
    assert last is not None
    assert last.weight.shape == (10, 5)
    linear = final_layer(network, 5)
    assert linear is not None
    assert torch.equal(linear.weight, network[1].weight)
    assert final_layer(network, 2) is None
