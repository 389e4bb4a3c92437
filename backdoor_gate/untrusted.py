"""Text of unknown origin for messages and tags: one bounded line that no terminal, log or editor acts upon.

What a sink needs on top is its own: `worker.wire.plain` breaks the marks that build logs obey, and `reports.text`
escapes for each format, where it keeps more of people's scripts than a message needs.
"""

from __future__ import annotations


def one_line(text: str, limit: int | None, *, ascii_only: bool = False) -> str:
    r"""Return `text` with every control, format, separator and surrogate character as an escape such as `\x1b`.

    Args:
        text: any string, lone surrogates included.
        limit: longest result in characters, at least 3, cut with an ellipsis; None does not cut.
        ascii_only: escape everything beyond printable ASCII, too, and each backslash, so that no two texts look alike.
    """
    # Escapes only lengthen: no more than this can be left of it.
    head = text if limit is None else text[: limit + 1]
    line = "".join(char if char.isprintable() and not ascii_only else ascii(char)[1:-1] for char in head)
    if limit is None or len(line) <= limit:
        return line
    mark = "..." if ascii_only else "…"
    return line[: limit - len(mark)] + mark
