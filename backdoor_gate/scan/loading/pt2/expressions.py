"""Symbolic sizes and guards of an exported program. They are never evaluated; they only have to be harmless.

PyTorch's own loader evaluates both as Python, and the texts within them once more. The interpreter needs neither, since
it computes each size from the input it is given, so here it is enough that they are what they claim to be.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import TYPE_CHECKING, Any

from backdoor_gate.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_LENGTH = 2000
_SYMPY = """
Add Mul Pow Mod PythonMod FloorDiv CleanDiv CeilDiv IntTrueDiv FloatTrueDiv Max Min Abs ToFloat TruncToInt CeilToInt
FloorToInt RoundToInt Eq Ne Gt Ge Lt Le Equality Unequality GreaterThan LessThan StrictGreaterThan StrictLessThan And
Or Not Piecewise Identity
"""
_FUNCTIONS = frozenset(_SYMPY.split())
_NUMBERS = frozenset({"Integer", "Rational", "Float"})
_METHODS = frozenset({"size", "stride", "storage_offset", "dim"})
_INPUTS = "L"
"""How a guard calls the network's arguments."""
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9]{0,31}")
_ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,255}")
_NODES = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
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
        legal = _is_legal(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal(where) from error
    if not legal:
        raise _refusal(where)


def expressions(document: Any) -> Iterator[object]:
    """Yield every symbolic size of a document, wherever it lies."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "expr_str":
                yield value
            else:
                yield from expressions(value)
    elif isinstance(document, list):
        for value in document:
            yield from expressions(value)


def _is_legal(node: ast.AST) -> bool:
    """Tell whether a node is, and all below it."""
    if rule := _RULES.get(type(node)):
        return rule(node)
    return isinstance(node, _NODES) and all(map(_is_legal, ast.iter_child_nodes(node)))


def _is_legal_call(call: Any) -> bool:
    if any(not isinstance(word.value, ast.Constant) or type(word.value.value) is not bool for word in call.keywords):
        return False
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in _METHODS and not call.keywords and all(map(_is_legal, (call.func.value, *call.args)))
    if not isinstance(call.func, ast.Name):
        return False
    if call.func.id == "Symbol":
        return len(call.args) == 1 and _is_text(call.args[0], _SYMBOL)
    if call.func.id in _NUMBERS:
        return not call.keywords and all(map(_is_number, call.args))
    return call.func.id in _FUNCTIONS and all(map(_is_legal, call.args))


def _is_legal_subscript(node: Any) -> bool:
    """Tell whether it is `L['name']`, or an item of something legal by its number."""
    if isinstance(node.value, ast.Name) and node.value.id == _INPUTS:
        return _is_text(node.slice, _ARGUMENT)
    return isinstance(node.slice, ast.Constant) and type(node.slice.value) is int and _is_legal(node.value)


def _is_text(node: ast.AST, pattern: re.Pattern[str]) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(pattern.fullmatch(node.value))


def _is_number(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _is_number(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float, bool)


_RULES: dict[type[ast.AST], Callable[[Any], bool]] = {
    ast.Call: _is_legal_call,
    ast.Subscript: _is_legal_subscript,
    ast.Attribute: lambda _node: False,
    ast.Name: lambda node: bool(_SYMBOL.fullmatch(node.id)) and any(map(str.isdigit, node.id)),
    ast.Constant: _is_number,
}


def _refusal(where: str) -> RefusedError:
    return RefusedError("pt2: expression not allowed", where=where, hint="export the model again from its source")
