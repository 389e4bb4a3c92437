"""What the descriptions in an exported program may say, field by field: nothing that PyTorch reads is passed over.

Its loader pastes names into Python source, evaluates sizes, and imports what a structure of arguments names. So names
are names here, and every field that is not known here is refused, whether the interpreter needs the rest or not.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from backdoor_gate import strict_json
from backdoor_gate.scan.loading.naming import is_identifier, shown
from backdoor_gate.scan.loading.pt2.arguments import decode
from backdoor_gate.scan.loading.pt2.members import refused

MAX_DEPTH = 8
"""Of the structure of a network's arguments."""
_IN_ORDER = frozenset({"builtins.tuple", "builtins.list"})
"""Kinds of arguments that hold others in order."""


def _identifier(text: str) -> str:
    if not is_identifier(text):
        raise ValueError("not a plain name")
    return text


def _structure(text: str) -> str:
    """Accept a structure of tuples, lists and dicts of plain names."""
    try:
        version, tree = strict_json.parse(text.encode())
    except (strict_json.JsonError, TypeError, ValueError) as error:
        raise ValueError("not a structure of arguments") from error
    if type(version) is not int or not _is_plain(tree, MAX_DEPTH):
        raise ValueError("not a structure of tuples, lists and dicts")
    return text


def _is_plain(tree: Any, depth: int) -> bool:
    if not isinstance(tree, dict) or tree.keys() != {"type", "context", "children_spec"} or not depth:
        return False
    kind, context, children = tree["type"], tree["context"], tree["children_spec"]
    if not isinstance(children, list) or not all(_is_plain(child, depth - 1) for child in children):
        return False
    if kind is None:
        return context is None and not children
    if kind == "builtins.dict":
        return isinstance(context, str) and _are_keys(context, len(children))
    return kind in _IN_ORDER and context == "null"


def _are_keys(text: str, count: int) -> bool:
    try:
        keys = strict_json.parse(text.encode())
    except strict_json.JsonError:
        return False
    return isinstance(keys, list) and len(keys) == count and all(map(is_identifier, keys))


def _argument(value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """Accept what the interpreter could take: a graph within an argument would be made into source, too."""
    decode(value, str(info.context))
    return value


Name = Annotated[str, AfterValidator(_identifier)]
Structure = Annotated[str, AfterValidator(_structure)]
Label = Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z0-9_.@+\-]*$")]
Argument = Annotated[dict[str, Any], Field(min_length=1, max_length=1), AfterValidator(_argument)]
"""Of a node or a signature, its results among them; what it may hold is said in `arguments`."""


_Note = Literal["stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom"]
"""What is noted with a node, and changes nothing."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _OneOf(_Strict):
    """Exactly one of its fields is given."""

    @model_validator(mode="after")
    def _one(self) -> _OneOf:
        if len(self.model_fields_set) != 1:
            raise ValueError("not one of the kinds")
        return self


class _Expression(_Strict):
    expr_str: str
    hint: dict[Literal["as_int", "as_bool", "as_float"], int | bool | float] | None = None


class _Symbol(_OneOf):
    as_expr: _Expression | None = None
    as_int: int | None = None
    as_bool: bool | None = None
    as_float: float | None = None


class _Device(_Strict):
    type: Label
    index: int | None = None


class TensorMeta(_Strict):
    """How a tensor is laid out."""

    dtype: int
    sizes: list[_Symbol]
    requires_grad: bool
    device: _Device
    strides: list[_Symbol]
    storage_offset: _Symbol
    layout: int


class _NamedArgument(_Strict):
    name: Label
    arg: Argument
    kind: Literal[1, 2] | None = None


class _Node(_Strict):
    target: Label
    inputs: list[_NamedArgument]
    outputs: list[Argument]
    metadata: dict[_Note, str] = {}
    is_hop_single_tensor_return: bool | None = None
    name: Name | None = None


class _Graph(_Strict):
    inputs: list[Argument]
    outputs: list[Argument]
    nodes: list[_Node]
    tensor_values: dict[Name, TensorMeta]
    sym_int_values: dict[Name, _Symbol]
    sym_bool_values: dict[Name, _Symbol]
    is_single_tensor_return: bool = False
    custom_obj_values: Annotated[dict[str, Any], Field(max_length=0)] = {}
    sym_float_values: dict[Name, _Symbol] = {}


class _TensorName(_Strict):
    name: Name


class _Parameter(_Strict):
    arg: _TensorName
    parameter_name: str


class _Buffer(_Strict):
    arg: _TensorName
    buffer_name: str
    persistent: bool


class _Constant(_Strict):
    arg: _TensorName
    tensor_constant_name: str


class _User(_Strict):
    arg: Argument


class _Fixed(_Strict):
    name: Name
    value: Argument


class _InputSpec(_OneOf):
    parameter: _Parameter | None = None
    buffer: _Buffer | None = None
    tensor_constant: _Constant | None = None
    user_input: _User | None = None
    constant_input: _Fixed | None = None


class _OutputSpec(_Strict):
    user_output: _User


class _Signature(_Strict):
    input_specs: list[_InputSpec]
    output_specs: list[_OutputSpec]


class _CallSignature(_Strict):
    inputs: list[Argument]
    outputs: list[Argument]
    in_spec: Structure
    out_spec: Structure
    forward_arg_names: list[Name] | None = None


class _Call(_Strict):
    fqn: Label
    signature: _CallSignature | None = None


class _Module(_Strict):
    graph: _Graph
    signature: _Signature
    module_call_graph: list[_Call]
    metadata: dict[Literal["custom"], str] = {}
    treespec_namedtuple_fields: Annotated[dict[str, Any], Field(max_length=0)] = {}


class _Range(_Strict):
    min_val: int | None
    max_val: int | None


class _Version(_Strict):
    major: int
    minor: int


class _Program(_Strict):
    graph_module: _Module
    opset_version: dict[Name, int]
    range_constraints: dict[str, _Range]
    schema_version: _Version
    verifiers: list[Name] = []
    torch_version: Label = ""
    guards_code: list[str] = []


class _Payload(_Strict):
    path_name: Label
    is_param: bool
    use_pickle: Literal[False]
    tensor_meta: TensorMeta


class _Payloads(_Strict):
    config: dict[str, _Payload]


def check_program(program: dict[str, Any], where: str) -> None:
    """Accept a program in which every field is known and of its kind.

    Raises:
        RefusedError: one is not; the message says which.
    """
    _check(_Program, program, where)


def check_payloads(config: dict[str, Any], where: str) -> None:
    """Accept a description of weights or constants in which every field is known; raises as `check_program`."""
    _check(_Payloads, config, where)


def _check(model: type[_Strict], document: dict[str, Any], where: str) -> None:
    try:
        model.model_validate(document, context=where)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = shown(".".join(map(str, first["loc"])), 120)
        raise refused(
            f"field not allowed: {place}: {shown(first['msg'].removeprefix('Value error, '))}", where
        ) from error
