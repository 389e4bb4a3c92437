"""Symbolic sizes and guards of an exported program. They are never evaluated; they only have to be harmless.

PyTorch's own loader evaluates both as Python. The interpreter needs neither, since it computes each size from the
input it is given, so here it is enough that they are what they claim to be.
"""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING, Any

from backdoor_gate.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LENGTH = 2000
_SYMPY = """
Symbol Integer Rational Float Add Mul Pow Mod PythonMod FloorDiv CleanDiv CeilDiv IntTrueDiv FloatTrueDiv Max Min Abs
ToFloat TruncToInt CeilToInt FloorToInt RoundToInt Eq Ne Gt Ge Lt Le Equality Unequality GreaterThan LessThan
StrictGreaterThan StrictLessThan And Or Not Piecewise Identity
"""
_FUNCTIONS = frozenset(_SYMPY.split())
_METHODS = frozenset({"size", "stride", "storage_offset", "dim"})
_NODES = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
    ast.keyword,
)


def check_expression(text: object, where: str) -> None:
    """Refuse anything but plain arithmetic and comparisons on sizes.

    Raises:
        RefusedError: the text is not such an expression.
    """
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        raise _refusal(where)
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text, mode="eval")
        legal = all(_is_legal(node) for node in ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal(where) from error
    if not legal:
        raise _refusal(where)


def _is_legal(node: ast.AST) -> bool:
    rule = _RULES.get(type(node))
    return rule(node) if rule else isinstance(node, _NODES)


def _is_legal_call(node: Any) -> bool:
    # Which methods may be called is the rule for attributes.
    named = isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    return named or isinstance(node.func, ast.Attribute)


_RULES: dict[type[ast.AST], Callable[[Any], bool]] = {
    ast.Call: _is_legal_call,
    ast.Attribute: lambda node: node.attr in _METHODS,
    ast.Name: lambda node: not node.id.startswith("__"),
    ast.Subscript: lambda node: isinstance(node.slice, ast.Constant),
    ast.Constant: lambda node: isinstance(node.value, (int, float, str)) and "__" not in str(node.value),
}


def _refusal(where: str) -> RefusedError:
    return RefusedError("pt2: expression not allowed", where=where, hint="export the model again from its source")
