"""Names that a candidate chose: which are acceptable for a tensor, and how any of them is shown in a message."""

from __future__ import annotations

import builtins
import keyword
import re
from typing import TYPE_CHECKING

from backdoor_gate.errors import RefusedError
from backdoor_gate.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_TENSORS = 50_000
"""Tensors in one model; a large vision network has a few thousand."""
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_OF_GENERATED_CODE = frozenset(
    {*dir(builtins), "self", "inf", "nan", "torch", "device", "pytree", "fx_pytree", "NoneType"}
    | {"math", "operator", "_operator", "builtins", "typing"}
) - {"input"}
"""Where images are called `inf`, infinity in the graph is the images in its code. `input` is what many call theirs, and
nothing that such code uses."""
_TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/\-]{0,255}")


def shown(text: str, limit: int = 80) -> str:
    """Return a name of the candidate's as one printable line of at most `limit` characters."""
    return one_line(text, limit)


def is_identifier(text: object) -> bool:
    """Tell whether a text is a plain Python name, and none that the code PyTorch makes of a graph has a use for."""
    plain = isinstance(text, str) and bool(_IDENTIFIER.fullmatch(text)) and not keyword.iskeyword(text)
    return plain and text not in _OF_GENERATED_CODE


def check_tensor_names(names: Collection[str], where: str) -> None:
    """Accept plain dotted names only, so that no name can pose as an attribute, a path or a terminal command.

    Args:
        names: the names of all tensors of one file.
        where: the file.

    Raises:
        RefusedError: there are none or too many, or one is not a plain name.
    """
    if not names:
        raise RefusedError("no weights", where=where, hint="save a trained model's state_dict")
    if len(names) > MAX_TENSORS:
        raise RefusedError(f"too many tensors: {len(names)}, at most {MAX_TENSORS}", where=where)
    for name in names:
        if not isinstance(name, str) or not _TENSOR_NAME.fullmatch(name) or any(map(_is_dunder, name.split("."))):
            label = shown(name, 40) if isinstance(name, str) else type(name).__name__
            raise RefusedError(f"tensor name not allowed: {label}", where=where, hint="use plain dotted names")


def _is_dunder(part: str) -> bool:
    return part.startswith("__") and part.endswith("__")
