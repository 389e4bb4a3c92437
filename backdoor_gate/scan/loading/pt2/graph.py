"""The graph of an exported program, checked and turned into steps. Nothing runs here, and no text becomes code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.loading.naming import shown
from backdoor_gate.scan.loading.pt2 import operators
from backdoor_gate.scan.loading.pt2.aliases import check_writes
from backdoor_gate.scan.loading.pt2.arguments import Ref, check_binding, decode, references
from backdoor_gate.scan.loading.pt2.document import check_program
from backdoor_gate.scan.loading.pt2.expressions import check_expression, expressions
from backdoor_gate.scan.loading.pt2.members import SCHEMA_MAJOR, refused
from backdoor_gate.scan.loading.pt2.modes import check_evaluation, in_training
from backdoor_gate.scan.loading.pt2.scalars import SCALAR_TYPES, check_float32
from backdoor_gate.scan.loading.tensors import FLOATS

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NODES = 100_000
_OUTPUTS = ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float")
_IN_CONSTANTS = "constant"
_MALFORMED = (KeyError, TypeError, AttributeError, IndexError, ValueError)


@dataclass(frozen=True, slots=True)
class Step:
    """One operation.

    Attributes:
        label: the operator's name, for messages.
        call: what to call; its arguments are all allow-listed tensor operators' or integers.
        arguments: by the operator's own parameter names; `positional` for functions on integers.
        positional: arguments without names.
        outputs: names of the results; one name, or as many as the operator returns.
        spread: whether the operator returns several results.
        writes: name of the value that it changes in place; None for most.
        shares: names of the values that its results may share memory with.
        frees: values that no later step uses.
    """

    label: str
    call: Callable[..., Any]
    arguments: dict[str, Any]
    positional: tuple[Any, ...]
    outputs: tuple[str, ...]
    spread: bool
    writes: str | None
    shares: tuple[str, ...] = ()
    frees: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """A checked program.

    Attributes:
        weights: graph value → (`state` or `constant`, tensor name) for everything that comes from the file.
        parameters: tensor names that were trained.
        input: graph value of the images.
        shape: sizes of the images that it was exported with, None where free: (N, C, H, W).
        steps: the operations in order.
        output: graph value of the result.
    """

    weights: dict[str, tuple[str, str]]
    parameters: frozenset[str]
    input: str
    shape: tuple[int | None, ...]
    steps: tuple[Step, ...]
    output: str


def read_graph(program: dict[str, Any], where: str) -> Graph:
    """Check a serialised program and return it as steps.

    Args:
        program: the parsed JSON.
        where: the file, for messages.

    Raises:
        RefusedError: the program is malformed, or uses anything outside the allow-list.
        UnmeasuredError: it is no network from one batch of images to one tensor, was exported in training mode, or
            computes in another precision than float32.
    """
    try:
        return _read(program, where)
    except _MALFORMED as error:
        raise refused("program is malformed", where) from error


def _read(program: dict[str, Any], where: str) -> Graph:
    if program["schema_version"]["major"] != SCHEMA_MAJOR:
        raise refused("schema version not supported", where)
    module = program["graph_module"]
    graph, signature = module["graph"], module["signature"]
    for text in {*program["range_constraints"], *program.get("guards_code", ()), *expressions(program)}:
        check_expression(text, where)
    if graph.get("custom_obj_values"):
        raise refused("custom object", where)
    if len(graph["nodes"]) > MAX_NODES:
        raise refused(f"more than {MAX_NODES} nodes", where)
    weights, parameters, images = _inputs(signature["input_specs"], where)
    output = _output(signature["output_specs"], where)
    meta = graph["tensor_values"][images]
    steps = _steps(graph["nodes"], {*weights, images}, weights, where)
    check_writes(steps, weights, where)
    check_program(program, where)
    _check_ends(graph, signature, where)
    known = {*weights, images}.union(*(step.outputs for step in steps))
    if output not in known:
        raise refused(f"value not defined: {shown(output)}", where)
    return Graph(weights, parameters, images, _shape(meta, where), with_frees(steps, {*weights, output}), output)


def _check_ends(graph: dict[str, Any], signature: dict[str, Any], where: str) -> None:
    """Refuse a graph whose own inputs and outputs are not those of its signature, one by one."""
    inputs = [_argument_of(spec) for spec in signature["input_specs"]]
    outputs = [spec["user_output"]["arg"] for spec in signature["output_specs"]]
    if graph["outputs"] != outputs or len(graph["inputs"]) != len(inputs):
        raise refused("graph and signature differ", where)
    for given, said in zip(graph["inputs"], inputs, strict=True):
        if said is not None and given != said:
            raise refused("graph and signature differ", where)


def _argument_of(spec: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the graph has to take for an input; None for a constant, which has no value in it."""
    ((kind, entry),) = spec.items()
    if kind == "constant_input":
        return None
    argument: dict[str, Any] = entry["arg"] if kind == "user_input" else {"as_tensor": entry["arg"]}
    return argument


def _inputs(specs: list[dict[str, Any]], where: str) -> tuple[dict[str, tuple[str, str]], frozenset[str], str]:
    weights: dict[str, tuple[str, str]] = {}
    parameters, images = set(), []
    for (kind, spec), *rest in (list(spec.items()) for spec in specs):
        if rest:
            raise refused("program is malformed", where)
        if kind == "parameter":
            weights[_name(spec["arg"])] = ("state", _name(spec, "parameter_name"))
            parameters.add(spec["parameter_name"])
        elif kind == "buffer":
            place = "state" if spec["persistent"] else _IN_CONSTANTS
            weights[_name(spec["arg"])] = (place, _name(spec, "buffer_name"))
        elif kind == "tensor_constant":
            weights[_name(spec["arg"])] = (_IN_CONSTANTS, _name(spec, "tensor_constant_name"))
        elif kind == "user_input" and "as_tensor" in spec["arg"]:
            images.append(_name(spec["arg"]["as_tensor"]))
        elif kind not in ("user_input", "constant_input"):
            raise refused(f"custom object or token among the inputs: {shown(str(kind))}", where)
    if len(images) != 1 or len(weights) + len(images) > len(specs):
        raise UnmeasuredError(f"the network takes {len(images)} tensors, not one batch of images", where=where)
    if len({*weights, *images}) != len(weights) + 1:
        raise refused("program is malformed", where)
    return weights, frozenset(parameters), images[0]


def _output(specs: list[dict[str, Any]], where: str) -> str:
    kinds = [kind for spec in specs for kind in spec]
    if any("mutation" in kind for kind in kinds):
        raise refused("graph changes its own weights or input", where)
    if kinds != ["user_output"]:
        raise UnmeasuredError(f"model output invalid: {len(kinds)} results instead of one tensor", where=where)
    argument = specs[0]["user_output"]["arg"]
    if "as_tensor" not in argument:
        raise UnmeasuredError("model output invalid: not a tensor", where=where)
    return _name(argument["as_tensor"])


def _name(entry: dict[str, Any], key: str = "name") -> str:
    name = entry[key]
    if not isinstance(name, str):
        raise TypeError(key)
    return name


def _shape(meta: dict[str, Any], where: str) -> tuple[int | None, ...]:
    sizes = meta["sizes"]
    kind = SCALAR_TYPES.get(meta["dtype"])
    if len(sizes) != 4 or kind not in FLOATS:
        raise UnmeasuredError(f"the network takes no float images (N, C, H, W): {len(sizes)} dimensions", where=where)
    check_float32(kind, "takes its images", where)
    return tuple(int(size["as_int"]) if "as_int" in size else None for size in sizes)


def _steps(nodes: list[dict[str, Any]], known: set[str], weights: dict[str, tuple[str, str]], where: str) -> list[Step]:
    steps = []
    for node in nodes:
        if node["target"] in operators.CHECKS:
            continue
        step = _step(node, where)
        if step.writes in weights and weights[step.writes][1].endswith("num_batches_tracked"):
            raise in_training("batches are counted", where)
        for ref in (*references(step.arguments), *references(step.positional)):
            if ref not in known:
                raise refused(f"value not defined: {shown(ref)}", where)
        if len({*step.outputs} - known) != len(step.outputs):
            raise refused("value defined twice", where)
        known.update(step.outputs)
        steps.append(step)
    return steps


def _step(node: dict[str, Any], where: str) -> Step:
    target, inputs = node["target"], node["inputs"]
    outputs, spread = _outputs(node["outputs"], where)
    arguments = {entry["name"]: decode(entry["arg"], where) for entry in inputs}
    if len(arguments) != len(inputs):
        raise refused("argument given twice", where)
    if target in operators.INTEGER:
        return Step(target, operators.INTEGER[target], {}, tuple(arguments.values()), outputs, spread, None)
    overload = operators.resolve(target, where)
    schema = {argument.name: argument for argument in overload._schema.arguments}
    check_binding(inputs, overload._schema.arguments, target, where)
    check_evaluation(target, arguments, where)
    if target in operators.IDENTITY:
        same = arguments[next(iter(schema))]
        return Step(target, _same, {}, (same,), outputs, spread, None, tuple(references(same)))
    written = [arguments.get(name) for name, argument in schema.items() if argument.is_write]
    writes = [value.name for value in written if isinstance(value, Ref)]
    if len(writes) != len(written):
        raise refused(f"argument not allowed: {shown(target)}", where)
    call = operators.RUN_AS.get(target, overload)
    unsaid = target in operators.MAY_SHARE
    shared = tuple(references([value for name, value in arguments.items() if unsaid or schema[name].alias_info]))
    return Step(target, call, arguments, (), outputs, spread, writes[0] if writes else None, shared)


def _same(value: Any) -> Any:
    return value


def _outputs(outputs: list[dict[str, Any]], where: str) -> tuple[tuple[str, ...], bool]:
    """Return the names of a node's results, and whether the operator returns several."""
    if len(outputs) == 1 and "as_tensors" in outputs[0]:
        return tuple(_name(value) for value in outputs[0]["as_tensors"]), True
    names = []
    for output in outputs:
        ((kind, value),) = output.items()
        if kind not in _OUTPUTS:
            raise refused(f"result not allowed: {shown(kind)}", where)
        names.append(_name(value, "name" if kind == "as_tensor" else "as_name"))
    if not names:
        raise refused("program is malformed", where)
    return tuple(names), len(names) > 1


def with_frees(steps: list[Step], kept: set[str]) -> tuple[Step, ...]:
    """Note with each step the values that it is the last to use, so that they need not be held."""
    seen = set(kept)
    freed = []
    for step in reversed(steps):
        touched = {*references(step.arguments), *references(step.positional), *step.outputs}
        frees = tuple(sorted(touched - seen))
        seen |= touched
        freed.append(replace(step, frees=frees))
    return tuple(reversed(freed))
