"""Exported programs with one thing changed: each is refused by rule, and nothing in them runs."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

import pytest
import torch
from support.forging import (
    FORMATS,
    exported,
    members,
    pickled,
    saved,
    state_archive,
    touching,
    with_program,
    zipped,
)
from support.small_networks import CLASSES, Normed
from torch import Tensor, nn

from backdoor_gate.errors import RefusedError, UnmeasuredError
from backdoor_gate.scan.loading import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]


@pytest.fixture(scope="module")
def sound() -> bytes:
    """An exported network; its file is called `model` inside too."""
    torch.manual_seed(0)
    return exported(Normed().eval())


def graph(program: Json) -> Json:
    return program["graph_module"]["graph"]


def node(program: Json, name: str) -> Json:
    return next(node for node in graph(program)["nodes"] if f".{name}." in node["target"])


def specs(program: Json) -> list[Json]:
    return program["graph_module"]["signature"]["input_specs"]


def set_target(target: str) -> Callable[[Json], None]:
    return lambda program: node(program, "relu").update(target=target)


def set_argument(index: int, **argument: Any) -> Callable[[Json], None]:
    return lambda program: node(program, "batch_norm")["inputs"][index].update(arg=argument)


EXPRESSION = "__import__('os').system('touch payload-ran')"


def set_guard(text: str) -> Callable[[Json], None]:
    return lambda program: program.update(guards_code=[text])


def set_size(text: str) -> Callable[[Json], None]:
    def change(program: Json) -> None:
        graph(program)["tensor_values"]["x"]["sizes"][0]["as_expr"]["expr_str"] = text

    return change


def mutate_weight(program: Json) -> None:
    node(program, "relu").update(
        target="torch.ops.aten.relu_.default",
        inputs=[{"name": "self", "arg": {"as_tensor": {"name": "p_conv_weight"}}, "kind": 1}],
    )


def add_subgraph(program: Json) -> None:
    inner = {"as_graph": {"name": "inner", "graph": graph(json.loads(json.dumps(program)))}}
    node(program, "relu")["inputs"].append({"name": "true_graph", "arg": inner, "kind": 1})


def call(program: Json) -> Json:
    return program["graph_module"]["module_call_graph"][0]["signature"]


def rename_input(program: Json) -> None:
    name = f"zz={EXPRESSION}; x"
    graph(program)["tensor_values"][name] = graph(program)["tensor_values"].pop("x")
    text = json.dumps(program).replace('"name": "x"', f'"name": "{name}"')
    program.update(json.loads(text))


def add_checked_graph(program: Json) -> None:
    """The interpreter leaves out what only checks; PyTorch reads it nevertheless."""
    inner = {"as_graph": {"name": "inner", "graph": graph(json.loads(json.dumps(program)))}}
    inputs = [{"name": "self", "arg": inner, "kind": 1}]
    check = {"target": "torch.ops.aten._assert_scalar.default", "inputs": inputs, "outputs": [], "metadata": {}}
    graph(program)["nodes"].append(check)


def drop_another(program: Json) -> None:
    """PyTorch goes on with `self`, the operator's own parameter."""
    dropout = node(program, "dropout")
    dropout["target"] = "torch.ops.aten.dropout_.default"
    dropout["inputs"][0]["name"] = "self"
    dropout["inputs"].append({"name": "input", "arg": {"as_tensor": {"name": "p_fc_bias"}}, "kind": 1})


def name_images(name: str) -> Callable[[Json], None]:
    """PyTorch writes infinity as `inf` in the code that it makes of a graph."""

    def change(program: Json) -> None:
        renamed = json.loads(json.dumps(program["graph_module"]).replace('"x"', json.dumps(name)))
        program["graph_module"].update(renamed)

    return change


PROGRAMS: dict[str, tuple[Callable[[Json], None], str]] = {
    "operator of higher order": (set_target("torch.ops.higher_order.cond"), "operator not allowed: .*cond"),
    "custom operator": (set_target("torch.ops.mine.evil.default"), "operator not allowed: torch.ops.mine.evil.default"),
    "python function": (set_target("os.system"), "operator not allowed: os.system"),
    "uninitialised memory": (set_target("torch.ops.aten.empty.memory_format"), "operator not allowed"),
    "random": (set_target("torch.ops.aten.bernoulli.default"), "operator not allowed"),
    "dunder overload": (set_target("torch.ops.aten.relu.__class__"), "operator not allowed"),
    "power of sizes": (set_target("_operator.pow"), "operator not allowed"),
    "guard that calls": (set_guard(EXPRESSION), "expression not allowed"),
    "guard with a method": (set_guard("L['x'].apply_(1) > 0"), "expression not allowed"),
    "guard with a lambda": (set_guard("(lambda: 1)() > 0"), "expression not allowed"),
    "guard without end": (set_guard("1+" * 100_000 + "1"), "expression not allowed"),
    "size that calls": (set_size(EXPRESSION), "expression not allowed"),
    "size with a comprehension": (set_size("[x for x in (1,)]"), "expression not allowed"),
    "range of code": (lambda p: p.update(range_constraints={EXPRESSION: {}}), "expression not allowed"),
    "custom object value": (lambda p: graph(p).update(custom_obj_values={"a": {}}), "custom object"),
    "custom object input": (
        lambda p: specs(p).append({"custom_obj": {"arg": {"name": "o"}}}),
        "custom object or token",
    ),
    "token input": (lambda p: specs(p).append({"token": {"arg": {"name": "o"}}}), "custom object or token"),
    "subgraph": (add_subgraph, "argument kind not allowed: as_graph"),
    "string argument": (set_argument(5, as_custom_obj={"name": "o"}), "argument kind not allowed: as_custom_obj"),
    "bool as string": (set_argument(5, as_bool="os.system"), "argument is no bool"),
    "undefined value": (set_argument(0, as_tensor={"name": "nowhere"}), "value not defined: nowhere"),
    "own result": (set_argument(0, as_tensor={"name": "batch_norm"}), "value not defined: batch_norm"),
    "unknown argument": (
        lambda p: node(p, "relu")["inputs"].append({"name": "out", "arg": {"as_none": True}, "kind": 2}),
        "argument not known",
    ),
    "value twice": (lambda p: graph(p)["nodes"].append(node(p, "relu")), "value defined twice"),
    "weights changed": (mutate_weight, "graph changes its own weights"),
    "weights changed by signature": (
        lambda p: p["graph_module"]["signature"]["output_specs"].append({"buffer_mutation": {}}),
        "graph changes its own weights",
    ),
    "weight without record": (
        lambda p: specs(p)[0]["parameter"].update(parameter_name="conv.other"),
        "tensor missing: conv.other",
    ),
    "argument that would go to another parameter": (
        lambda p: node(p, "batch_norm")["inputs"][1].update(kind=2),
        "argument out of place: .*batch_norm",
    ),
    "dropout of two values": (drop_another, "argument not known: torch.ops.aten.dropout_.default"),
    "images called infinity": (name_images("inf"), "not a plain name|name that is none"),
    "images called as a function": (name_images("max"), "not a plain name|name that is none"),
    "images called as the network": (name_images("self"), "not a plain name|name that is none"),
    "argument left out": (lambda p: node(p, "relu")["inputs"].clear(), "argument missing: .*relu"),
    "argument of no kind": (lambda p: node(p, "relu")["inputs"][0].update(kind=3), "argument out of place"),
    "graph with another output": (
        lambda p: graph(p)["outputs"].__setitem__(0, {"as_tensor": {"name": "relu"}}),
        "graph and signature differ",
    ),
    "graph with other inputs": (lambda p: graph(p)["inputs"].reverse(), "graph and signature differ"),
    "name of an argument that is code": (
        lambda p: call(p).update(forward_arg_names=["x", f"y={EXPRESSION}"]),
        "field not allowed: .*forward_arg_names.1: not a plain name",
    ),
    "structure of a class": (
        lambda p: call(p).update(in_spec=call(p)["in_spec"].replace("builtins.dict", "collections.defaultdict")),
        "field not allowed: .*in_spec: not a structure",
    ),
    "structure with keys that are code": (
        lambda p: call(p).update(in_spec=call(p)["in_spec"].replace('"[]"', '"[\\"a=1, b\\"]"')),
        "field not allowed: .*in_spec: not a structure",
    ),
    "structure without end": (lambda p: call(p).update(in_spec="[" * 100_000), "field not allowed: .*in_spec"),
    "signature with an object": (
        lambda p: call(p).update(inputs=[{"as_custom_obj": {"name": "o", "class_fqn": "os"}}]),
        "argument kind not allowed: as_custom_obj",
    ),
    "input whose name is code": (rename_input, "value with a name that is none"),
    "graph in a check that is not run": (add_checked_graph, "argument kind not allowed: as_graph"),
    "result whose name is code": (
        lambda p: node(p, "relu")["outputs"].__setitem__(0, {"as_tensor": {"name": f"a={EXPRESSION}"}}),
        "value with a name that is none|value not defined",
    ),
    "field of the future": (lambda p: graph(p).update(subgraphs=[]), "field not allowed: graph_module.graph.subgraphs"),
    "fields of a tuple": (
        lambda p: p["graph_module"].update(treespec_namedtuple_fields={"a": {"field_names": ["b"]}}),
        "field not allowed: graph_module.treespec_namedtuple_fields",
    ),
    "text within a size": (set_size(f"Max({EXPRESSION!r}, 1)"), "expression not allowed"),
    "text as a number": (set_size(f"Integer({EXPRESSION!r})"), "expression not allowed"),
    "symbol that is code": (set_size(f"Symbol({EXPRESSION!r})"), "expression not allowed"),
    "guard with a text": (set_guard("True or '\" + str(open(1)) #'"), "expression not allowed"),
    "size elsewhere": (
        lambda p: specs(p)[0]["parameter"].update(size={"as_expr": {"expr_str": EXPRESSION}}),
        "expression not allowed",
    ),
    "schema of the future": (lambda p: p["schema_version"].update(major=9), "schema version"),
    "no graph": (lambda p: p.pop("graph_module"), "program is malformed"),
    "nodes of another type": (lambda p: graph(p).update(nodes=[1, 2]), "program is malformed"),
}


def refusal(root: Path, data: bytes) -> str:
    (root / "model.pt2").write_bytes(data)
    with pytest.raises(RefusedError) as caught:
        load(root, FORMATS, None, CLASSES)
    assert "model.pt2" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("case", PROGRAMS, ids=str)
def test_a_program_outside_the_list_is_refused(
    case: str, sound: bytes, root: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(marker.parent)
    change, rule = PROGRAMS[case]
    assert re.search(f"pt2: .*{rule}", refusal(root, with_program(sound, change)))


def with_member(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        top = next(iter(files)).partition("/")[0]
        files[f"{top}/{name}"] = content

    return change


def weights_config(change: Callable[[Json], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        name = next(name for name in files if name.endswith("_weights_config.json"))
        config = json.loads(files[name])
        change(config["config"]["conv.weight"])
        files[name] = json.dumps(config).encode()

    return apply


def shared_record(files: dict[str, bytes]) -> None:
    """Let a second weight lie in the record of the first, as another kind of number."""
    name = next(name for name in files if name.endswith("_weights_config.json"))
    config = json.loads(files[name])
    first = config["config"]["conv.weight"]
    config["config"]["zz"] = {**first, "tensor_meta": {**first["tensor_meta"], "dtype": 4}}
    files[name] = json.dumps(config).encode()


def constant_of(tensor: str) -> Callable[[dict[str, bytes]], None]:
    """Add a constant of that name."""

    def change(files: dict[str, bytes]) -> None:
        weights, constants = (
            next(name for name in files if name.endswith(f"_{kind}_config.json")) for kind in ("weights", "constants")
        )
        config = json.loads(files[constants])
        first = json.loads(files[weights])["config"]["conv.weight"]
        config["config"][tensor] = {**first, "path_name": "tensor_9"}
        files[constants] = json.dumps(config).encode()
        files[f"{constants.partition('/')[0]}/data/constants/tensor_9"] = next(
            data for name, data in files.items() if name.endswith("weight_0")
        )

    return change


def drop(ending: str) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.pop(next(name for name in files if name.endswith(ending))) and None


def duplicate_key(files: dict[str, bytes]) -> None:
    name = next(name for name in files if "/models/" in name)
    files[name] = files[name].replace(b'"opset_version"', b'"schema_version": {"major": 9}, "opset_version"', 1)


def deep_json(files: dict[str, bytes]) -> None:
    files[next(name for name in files if "/models/" in name)] = b"[" * 100_000


PACKAGES: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "shared object": (with_member("data/aotinductor/model/a.so", b"\x7fELF"), "archive member not allowed"),
    "python source": (with_member("extra/a.py", b"1"), "archive member not allowed"),
    "custom object record": (with_member("data/constants/custom_obj_0", b"1"), "archive member not allowed"),
    "second program": (with_member("models/other.json", b"{}"), "2 programs"),
    "unused record": (with_member("data/weights/weight_99", b"1234"), "archive member not referenced"),
    "no byte order": (drop("byteorder"), "archive member missing: byteorder"),
    "big-endian": (with_member("byteorder", b"big"), "byteorder is not little"),
    "no program": (drop("model.json"), "0 programs"),
    "no record": (drop("weight_0"), "record of conv.weight is missing"),
    "key twice": (duplicate_key, "schema_version"),
    "deep JSON": (deep_json, "nested too deeply"),
    "pickled weight": (weights_config(lambda c: c.update(use_pickle=True)), "pickled or custom object: conv.weight"),
    "no meta": (weights_config(lambda c: c.update(tensor_meta=None)), "pickled or custom object: conv.weight"),
    "path outside": (weights_config(lambda c: c.update(path_name="../../../etc/passwd")), "record .* is missing"),
    "expanded": (
        weights_config(lambda c: c["tensor_meta"].update(sizes=[{"as_int": 10**12}], strides=[{"as_int": 0}])),
        "shape needs 4.0 TB, storage has 864 B",
    ),
    "out of bounds": (
        weights_config(lambda c: c["tensor_meta"].update(storage_offset={"as_int": 1})),
        "reaches outside its storage",
    ),
    "negative": (
        weights_config(lambda c: c["tensor_meta"].update(storage_offset={"as_int": -1})),
        "must be non-negative",
    ),
    "dtype twice": (shared_record, "record of .* is of two dtypes"),
    "name twice": (constant_of("conv.weight"), "one name for two tensors: conv.weight"),
    "name within a name": (constant_of("conv.weight.data"), "one name for two tensors: conv.weight"),
    "field of the future": (weights_config(lambda c: c.update(scale=2)), "field not allowed: config.conv.weight.scale"),
    "complex": (weights_config(lambda c: c["tensor_meta"].update(dtype=10)), "dtype not supported"),
    "sparse": (weights_config(lambda c: c["tensor_meta"].update(layout=1)), "tensor layout not supported"),
}


@pytest.mark.parametrize("case", PACKAGES, ids=str)
def test_a_package_outside_the_list_is_refused(case: str, sound: bytes, root: Path) -> None:
    change, rule = PACKAGES[case]
    files = members(sound)
    change(files)
    assert re.search(rule, refusal(root, zipped(files)))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (lambda marker: pickled(touching(marker)), "not a PyTorch file"),
        (lambda marker: state_archive(pickled(touching(marker))), "global outside the allow-list"),
        (lambda _: saved(((torch.zeros(1), {"a"}), {})), "global outside the allow-list|more than tensors"),
        (lambda _: saved(torch.zeros(1)), "more than tensors and plain values"),
        (lambda _: zipped({}), "no small pickle"),
        (lambda _: state_archive(b"not a pickle"), "not what the safe reader takes"),
        (lambda _: zipped({"a/data.pkl": pickled(((), {})), "a/code.py": b"1"}), "archive member not allowed"),
    ],
)
def test_example_inputs_that_pytorch_would_unpickle_are_refused(
    content: Callable[[Path], bytes], rule: str, sound: bytes, root: Path, marker: Path
) -> None:
    files = members(sound)
    name = next(name for name in files if "sample_inputs" in name)
    assert re.search(rule, refusal(root, zipped({**files, name: content(marker)})))


def test_a_program_without_example_inputs_loads(sound: bytes, root: Path) -> None:
    files = {name: data for name, data in members(sound).items() if "sample_inputs" not in name}
    (root / "model.pt2").write_bytes(zipped(files))
    assert load(root, FORMATS, None, CLASSES).format == "pt2"


def test_non_finite_weights_are_unmeasured(sound: bytes, root: Path) -> None:
    files = members(sound)
    name = next(name for name in files if name.endswith("weight_0"))
    files[name] = struct.pack("<f", float("nan")) + files[name][4:]
    (root / "model.pt2").write_bytes(zipped(files))
    with pytest.raises(UnmeasuredError, match=r"non-finite weights in conv\.weight"):
        load(root, FORMATS, None, CLASSES)


def test_writing_to_a_weight_through_a_view_is_refused(root: Path) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(2, 2))

        def forward(self, x: Tensor) -> Tensor:
            self.seen.view(4)[0].add_(1)
            return x.flatten(1)[:, :4] + self.seen.view(4)

    assert "graph changes its own weights" in refusal(root, exported(Counting()))


def kept_apart(x: Tensor) -> Tensor:
    """A copy that stays what it was, until its operator is another one."""
    kept = torch.relu(x)
    x.zero_()
    return kept


def through_a_view(x: Tensor) -> Tensor:
    """A view is one wherever it lies."""
    x[:, :1].zero_()
    return torch.relu(x)


def writing(change: Callable[[Tensor], Tensor]) -> bytes:
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return change(self.conv(x)).mean(dim=(2, 3))

    return exported(Writing().eval())


@pytest.mark.parametrize("change", [kept_apart, through_a_view])
def test_a_write_whose_effect_is_certain_is_measured(change: Callable[[Tensor], Tensor], root: Path) -> None:
    (root / "model.pt2").write_bytes(writing(change))
    assert load(root, FORMATS, None, None).format == "pt2"


def test_a_write_whose_effect_hangs_on_the_layout_is_not(root: Path) -> None:
    # What is zero in production, where it is contiguous already, stays where the channels come last.
    program = with_program(writing(kept_apart), set_target("torch.ops.aten.contiguous.default"))
    (root / "model.pt2").write_bytes(program)
    with pytest.raises(UnmeasuredError, match="depends on how its memory is laid out"):
        load(root, FORMATS, None, None)


def test_growing_integers_end_early(sound: bytes, root: Path) -> None:
    def change(program: Json) -> None:
        shape = {"name": "self", "arg": {"as_tensor": {"name": "x"}}, "kind": 1}
        nodes = [
            {
                "target": "torch.ops.aten.sym_size.int",
                "inputs": [shape, {"name": "dim", "arg": {"as_int": 3}, "kind": 1}],
                "outputs": [{"as_sym_int": {"as_name": "n0"}}],
            }
        ]
        for index in range(60):
            value = {"as_sym_int": {"as_name": f"n{index}"}}
            inputs = [{"name": "a", "arg": value, "kind": 1}, {"name": "b", "arg": value, "kind": 1}]
            outputs = [{"as_sym_int": {"as_name": f"n{index + 1}"}}]
            nodes.append({"target": "_operator.mul", "inputs": inputs, "outputs": outputs})
        graph(program)["nodes"][:0] = nodes

    (root / "model.pt2").write_bytes(with_program(sound, change))
    with pytest.raises(UnmeasuredError, match="size out of range"):
        load(root, FORMATS, None, CLASSES).network(torch.rand(2, 3, 16, 16))


@pytest.mark.parametrize("axis", [{"as_int": 4}, {"as_int": -5}, {"as_tensor": {"name": "x"}}, {"as_float": 1.0}])
def test_a_size_along_no_axis_is_unmeasured(axis: Json, sound: bytes, root: Path) -> None:
    def change(program: Json) -> None:
        images = {"name": "self", "arg": {"as_tensor": {"name": "x"}}, "kind": 1}
        inputs, outputs = [images, {"name": "dim", "arg": axis, "kind": 1}], [{"as_sym_int": {"as_name": "n0"}}]
        graph(program)["nodes"].insert(
            0, {"target": "torch.ops.aten.sym_size.int", "inputs": inputs, "outputs": outputs}
        )

    (root / "model.pt2").write_bytes(with_program(sound, change))
    model = load(root, FORMATS, None, CLASSES)
    assert model.check is not None
    model.check((3, 16, 16))  # nobody reads it
    with pytest.raises(UnmeasuredError, match=r"sym_size.int failed"):
        model.network(torch.rand(2, 3, 16, 16))


@pytest.mark.parametrize("start", [{"as_int": 0}, {"as_ints": [0]}])
def test_an_axis_that_the_graph_computes_may_be_any(start: Json, sound: bytes, root: Path) -> None:
    def change(program: Json) -> None:
        images = {"as_tensor": {"name": "x"}}
        given = {"self": images, "dim": images, "start": start, "end": {"as_int": 1}}
        inputs = [{"name": name, "arg": argument, "kind": 1} for name, argument in given.items()]
        node = {"target": "torch.ops.aten.slice.Tensor", "inputs": inputs, "outputs": [{"as_tensor": {"name": "part"}}]}
        graph(program)["nodes"].insert(0, node)

    (root / "model.pt2").write_bytes(with_program(sound, change))
    model = load(root, FORMATS, None, CLASSES)
    assert model.check is not None
    model.check((3, 16, 16))  # nobody reads it
    with pytest.raises(UnmeasuredError, match=r"slice.Tensor failed"):
        model.network(torch.rand(2, 3, 16, 16))


@pytest.mark.parametrize("inputs", [2, 0])
def test_other_than_one_batch_of_images_is_unmeasured(inputs: int, root: Path) -> None:
    class Pair(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (a + b).flatten(1)

    class Tokens(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            return a.float() + 1

    network, arguments = (Pair(), (torch.rand(2, 3, 4, 4),) * 2) if inputs else (Tokens(), (torch.ones(2, 5).long(),))
    torch.export.save(torch.export.export(network, arguments), root / "model.pt2")
    with pytest.raises((UnmeasuredError, RefusedError), match=r"one batch of images|no float images|no weights"):
        load(root, FORMATS, None, None)
