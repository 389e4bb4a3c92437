"""Pickles as data: which globals a stream names, and which tensors it describes. Nothing is ever unpickled here.

A state_dict needs very little of the pickle machine. What it needs is replayed on plain values; a tensor becomes
the description of a tensor, and everything else is refused by name.
"""

from __future__ import annotations

import contextlib
import pickletools
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading.naming import MAX_TENSORS, shown

if TYPE_CHECKING:
    from collections.abc import Callable

STORAGES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Float": "float32",
        "Half": "float16",
        "BFloat16": "bfloat16",
        "Double": "float64",
        "Long": "int64",
        "Int": "int32",
        "Bool": "bool",
    }.items()
}
"""The storage classes that a state_dict may name, and the dtype of each."""
_MAPPING = "collections.OrderedDict"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_ALLOWED = {*STORAGES, _MAPPING, _TENSOR, _PARAMETER}

_DTYPES = {"torch._utils._rebuild_qtensor", "torch._utils._rebuild_tensor_v3", "torch.storage.UntypedStorage"}
_DTYPES |= {f"torch.{name}Storage" for name in ("Byte", "Char", "Short", "ComplexFloat", "ComplexDouble")}
_DTYPES |= {f"torch.{name}Storage" for name in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")}
_LAYOUTS = {
    "torch._tensor._rebuild_from_type_v2",
    "torch.serialization._get_layout",
    *(
        f"torch._utils._rebuild_{kind}"
        for kind in (
            "sparse_tensor",
            "nested_tensor",
            "meta_tensor_no_storage",
            "wrapper_subclass",
            "device_tensor_from_numpy",
            "device_tensor_from_cpu_tensor",
        )
    ),
}
_COMPANION = re.compile(
    r"torch\.(?:Size|device|bool|u?int\d+|b?float\d+\w*|complex\d+|q\w*int\d\w*|bits\w+|per_(?:tensor|channel)_\w+)"
)
"""Constants that come along with the tensors that are not supported, and with no others."""
_PROTOCOL = 2
"""What torch.save writes, and all that its safe loader reads."""
_MAX_STREAMS = 8
"""Pickles in a row in one file; the format from before zip archives holds four."""
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error, OverflowError, MemoryError)
"""What a damaged stream raises on the way."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as a pickle describes it: a window into a record of the archive.

    Attributes:
        dtype: numpy-style name of the element type.
        key: name of the record that holds the storage.
        count: elements that the storage claims to have.
        offset: first element of the tensor.
        sizes: shape.
        strides: elements between neighbours, per dimension.
    """

    dtype: str
    key: str
    count: int
    offset: Any
    sizes: Any
    strides: Any


def check_globals(data: bytes, where: str) -> None:
    """Refuse a pickle, or several in a row, that names anything which a state_dict does not need.

    Reads as far as the stream is well formed, so that a payload in front of damage is found too.

    Raises:
        RefusedError: a global is outside the allow-list, or belongs to a kind of tensor that is not supported.
    """
    names = _globals(data)
    for name in names:
        if name not in _ALLOWED | _DTYPES | _LAYOUTS and not _COMPANION.fullmatch(name):
            what = f"pickle has a global outside the allow-list: {shown(name)}"
            raise RefusedError(what, where=where, hint="save model.state_dict(), not the model")
    for name in names:
        if name in _DTYPES:
            raise RefusedError(f"dtype not supported: {shown(name)}", where=where, hint="save float32 weights")
        if name in _LAYOUTS:
            raise RefusedError(f"tensor layout not supported: {shown(name)}", where=where, hint="save dense weights")


def _globals(data: bytes) -> list[str]:
    found: list[str] = []
    rest = memoryview(data)
    for _ in range(_MAX_STREAMS):
        end = _globals_of_one(bytes(rest), found)
        if not end:
            break
        rest = rest[end:]
    return found


def _globals_of_one(data: bytes, found: list[str]) -> int:
    """Add the globals of the first pickle in `data` to `found`; return its length, 0 where it is damaged."""
    recent, memo = ["", ""], dict[int, str]()
    try:
        argument: Any
        for opcode, argument, position in pickletools.genops(data):
            name = opcode.name
            if name in ("GLOBAL", "INST"):
                found.append(".".join(argument.split(" ", 1)))
            elif name == "STACK_GLOBAL":
                found.append(".".join(recent[-2:]))
            elif name.startswith("EXT"):
                found.append(f"extension registry {argument}")
            elif isinstance(argument, str):
                recent.append(argument)
            elif "GET" in name:
                recent.append(memo.get(argument, "?"))
            elif "PUT" in name or name == "MEMOIZE":
                memo[len(memo) if argument is None else argument] = recent[-1]
            elif name == "STOP":
                return (position or 0) + 1
    except _DAMAGE:
        pass
    return 0


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    key: str
    count: int


@dataclass(eq=False, slots=True)
class _Mapping:
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


CHECKPOINT_KEYS = ("model_state_dict", "state_dict", "model_state", "model", "net", "network")
"""Under which training code keeps the weights beside an optimiser's state. They are not taken from there: what
is scanned has to be what is loaded in production, and only the code there knows the key."""


class _NotFlatError(Exception):
    """The stream is a legal pickle, but not of a mapping from names to tensors."""


def read_state_dict(data: bytes, where: str) -> dict[str, Stored]:
    """Return what a pickled state_dict describes.

    Args:
        data: one pickle whose globals `check_globals` has accepted.
        where: the file.

    Raises:
        RefusedError: the stream is damaged, or its root is anything but a flat mapping of names to tensors.
    """
    try:
        root = _Machine().run(data)
        if not isinstance(root, _Mapping) or any(not isinstance(value, Stored) for _, value in root.pairs):
            raise _NotFlatError
        if any(not isinstance(name, str) for name, _ in root.pairs):
            raise _NotFlatError
    except _NotFlatError:
        what = "state_dict must be a flat mapping of names to tensors"
        raise RefusedError(what, where=where, hint=_saved_alone(data, where)) from None
    except _DAMAGE as error:
        hint = "upload the file again"
        raise RefusedError("truncated or not a PyTorch file", where=where, hint=hint) from error
    found = dict(root.pairs)
    if len(found) != len(root.pairs):
        raise RefusedError("duplicate tensor name", where=where)
    return found


def _saved_alone(data: bytes, where: str) -> str:
    """Return the line of Python that saves the weights of a checkpoint alone, as far as it has a usual key for them."""
    texts: set[object] = set()
    with contextlib.suppress(*_DAMAGE):
        texts.update(argument for opcode, argument, _ in pickletools.genops(data) if opcode.name == "BINUNICODE")
    key = next((key for key in CHECKPOINT_KEYS if key in texts), None)
    weights = f"torch.load({where!r}, weights_only=True)[{key!r}]" if key else "model.state_dict()"
    return f"save the weights alone: torch.save({weights}, 'weights.pt')"


class _Machine:
    """The part of the pickle machine that a state_dict uses. Its state is plain values; it calls nothing."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Replay the stream and return the value it leaves."""
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _LITERALS:
                self.stack.append(argument if _LITERALS[name] is _ARGUMENT else _LITERALS[name])
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name != "PROTO" or argument != _PROTOCOL:
                raise _NotFlatError
        raise ValueError("no STOP")

    def to_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        taken, self.stack = self.stack, self.marked.pop()
        return taken

    def mark(self, _: Any) -> None:
        """Start a new frame of the stack."""
        self.marked.append(self.stack)
        self.stack = []

    def pack_marked(self, _: Any) -> None:
        """Replace everything above the last mark with a tuple of it."""
        items = tuple(self.to_mark())
        self.stack.append(items)

    def pack(self, count: int) -> None:
        """Replace the top `count` values with a tuple of them."""
        taken = self.stack[len(self.stack) - count :]
        if len(taken) != count:
            raise IndexError
        del self.stack[len(self.stack) - count :]
        self.stack.append(tuple(taken))

    def put(self, slot: int) -> None:
        """Remember the top of the stack."""
        if len(self.memo) > 64 * MAX_TENSORS:
            raise ValueError("memo too large")
        self.memo[slot] = self.stack[-1]

    def set_items(self, items: list[Any]) -> None:
        """Add alternating keys and values to the mapping on top of the stack."""
        mapping = self.stack[-1]
        if not isinstance(mapping, _Mapping):
            raise _NotFlatError
        mapping.pairs.extend(zip(items[::2], items[1::2], strict=True))

    def set_item(self, _: Any) -> None:
        """Add one key and value to the mapping below them."""
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def build(self, _: Any) -> None:
        """Drop the attributes of an OrderedDict, where modules keep version numbers of theirs."""
        self.stack.pop()
        if not isinstance(self.stack[-1], _Mapping):
            raise _NotFlatError

    def persist(self, _: Any) -> None:
        """Replace a persistent id with the storage it stands for."""
        tag, kind, key, _, count = self.stack.pop()
        if tag != "storage" or not isinstance(key, str) or type(count) is not int:
            raise _NotFlatError
        self.stack.append(_Storage(STORAGES[kind.name], key, count))

    def reduce(self, _: Any) -> None:
        """Describe the result of the call on top of the stack."""
        arguments, function = self.stack.pop(), self.stack.pop().name
        if function == _MAPPING and arguments == ():
            self.stack.append(_Mapping())
        elif function == _TENSOR and isinstance(arguments[0], _Storage):
            storage, offset, sizes, strides = arguments[:4]
            self.stack.append(Stored(storage.dtype, storage.key, storage.count, offset, sizes, strides))
        elif function == _PARAMETER and isinstance(arguments[0], Stored):
            self.stack.append(arguments[0])
        else:
            raise _NotFlatError


_ARGUMENT = object()
_LITERALS: dict[str, Any] = {
    **dict.fromkeys(("BINUNICODE", "SHORT_BINSTRING", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _ARGUMENT),
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "TUPLE": _Machine.pack_marked,
    "TUPLE1": lambda machine, _: machine.pack(1),
    "TUPLE2": lambda machine, _: machine.pack(2),
    "TUPLE3": lambda machine, _: machine.pack(3),
    "EMPTY_DICT": lambda machine, _: machine.stack.append(_Mapping()),
    "GLOBAL": lambda machine, name: machine.stack.append(_Global(".".join(name.split(" ", 1)))),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": lambda machine, slot: machine.stack.append(machine.memo[slot]),
    "LONG_BINGET": lambda machine, slot: machine.stack.append(machine.memo[slot]),
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.to_mark()),
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persist,
    "REDUCE": _Machine.reduce,
}
