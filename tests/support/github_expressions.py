"""The part of GitHub's expression language that this project's action uses; anything else is an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(\d+(?:\.\d+)?)|(&&|\|\||==|!=|[!().])|([A-Za-z_][\w-]*))")
_STATUS = re.compile(r"\b(?:always|success|failure|cancelled)\(\)")
_LITERALS = {"true": True, "false": False, "null": None}


class Expressions:
    """Evaluates expressions against contexts.

    Attributes:
        contexts: by name (`inputs`, `steps`, ...); a property that is not there is null, a context is an error.
        failed: whether a step before this one failed.
    """

    def __init__(self, contexts: Mapping[str, Any], *, failed: bool = False) -> None:
        self.contexts = contexts
        self.functions = {
            "always": lambda: True,
            "success": lambda: not failed,
            "failure": lambda: failed,
            "cancelled": lambda: False,
        }

    def fill(self, text: str) -> str:
        """Return a text with every `${{ … }}` in it replaced by what it is."""
        return re.sub(r"\$\{\{(.*?)\}\}", lambda match: _shown(self.value(match[1])), text, flags=re.DOTALL)

    def condition(self, text: str | None) -> bool:
        """Tell whether a step runs: without a status function of its own, only where nothing has failed."""
        inner = re.sub(r"^\$\{\{(.*)\}\}$", r"\1", (text or "success()").strip())
        return bool(self.value(inner)) and (bool(_STATUS.search(inner)) or self.functions["success"]())

    def value(self, text: str) -> Any:
        """Evaluate one expression."""
        tokens, place, text = [], 0, text.strip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            assert match, f"not understood: {text[place:]!r} in {text!r}"
            tokens.append(match.groups())
            place = match.end()
        parser = _Parser(tokens, self)
        found = parser.either()
        assert not parser.tokens, f"left over: {parser.tokens} in {text!r}"
        return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, ...]], expressions: Expressions) -> None:
        self.tokens = tokens
        self.given = expressions

    def _takes(self, *operators: str) -> str:
        return self.tokens.pop(0)[2] if self.tokens and self.tokens[0][2] in operators else ""

    def either(self) -> Any:
        found = self.both()
        while self._takes("||"):
            other = self.both()
            found = found or other
        return found

    def both(self) -> Any:
        found = self.equal()
        while self._takes("&&"):
            other = self.equal()
            found = found and other
        return found

    def equal(self) -> bool | Any:
        found = self.single()
        while operator := self._takes("==", "!="):
            found = (_folded(found) == _folded(self.single())) == (operator == "==")
        return found

    def single(self) -> Any:
        if self._takes("!"):
            return not self.single()
        if self._takes("("):
            found = self.either()
            assert self._takes(")"), "a parenthesis is left open"
            return found
        text, number, _, name = self.tokens.pop(0)
        if text:
            return text[1:-1].replace("''", "'")
        return float(number) if number else self._named(name)

    def _named(self, name: str) -> Any:
        if name in _LITERALS:
            return _LITERALS[name]
        if self._takes("("):
            assert self._takes(")"), f"{name} takes no argument here"
            return self.given.functions[name]()
        found = self.given.contexts[name]
        while self._takes("."):
            part = self.tokens.pop(0)[3]
            found = found.get(part) if isinstance(found, dict) else None
        return found


def _folded(value: Any) -> Any:
    """Return what is compared: strings without regard to case, null as an empty one."""
    return "" if value is None else value.casefold() if isinstance(value, str) else value


def _shown(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
