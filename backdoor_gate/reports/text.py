"""What reports show of untrusted text: names, reasons and tags come from the candidate, and each sink has its helper.

`clean` makes any string a single visible line; the helpers below it add what one sink needs on top. Messages and tags
take `untrusted.one_line`, which is stricter: joiners and rare spaces, which some scripts need, stay in a report.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata

NAME_LIMIT = 200
"""Characters of a name, tag or URI as people read it."""
REASON_LIMIT = 1000
"""Characters of a reason or an explanation."""

_ELLIPSIS = "…"
_PLANE_ENDS = "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
# C0 and C1 controls, soft hyphen, Arabic letter mark, Mongolian vowel separator, zero-width space, direction marks
# and overrides, line and paragraph separators, invisible operators, byte-order mark, interlinear annotations,
# noncharacters, surrogates, tag characters. The zero-width joiners U+200C/D stay: scripts and emoji need them.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    f"\ufdd0-\ufdef\ud800-\udfff{_PLANE_ENDS}\U000e0000-\U000e007f]"
)


def clean(text: str, limit: int | None = NAME_LIMIT) -> str:
    r"""Return `text` as one line in Unicode NFC, in which everything invisible or unsafe shows as `\xNN` or `\uNNNN`.

    The result holds only characters of XML 1.0 and encodes to UTF-8. Cleaning twice changes nothing more.

    Args:
        text: any string, lone surrogates included.
        limit: longest result in characters, at least 1, cut with an ellipsis; None does not cut.
    """
    visible = unicodedata.normalize("NFC", _UNSAFE.sub(_escape, text))
    return visible if limit is None or len(visible) <= limit else visible[: limit - 1] + _ELLIPSIS


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


# ---------------------------------------------------------------------------------------------- Markdown

_MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]<>|~&$#]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_BLOCK_START = re.compile(r"^(?:[-+=]|\d+(?=[.)]))")


def markdown_text(text: str, limit: int | None = REASON_LIMIT) -> str:
    """Return plain inline GitHub-flavoured Markdown that renders as `text`, also within a table cell or list item.

    Nothing in it becomes markup, a link, a mention or a new block.
    """
    escaped = _MARKDOWN_SPECIAL.sub(r"\\\g<0>", clean(text, limit).strip())
    # GitHub finds mentions after escapes are resolved; a zero-width space inside one keeps it plain.
    return _BLOCK_START.sub(_escape_block_start, escaped).replace("@", "@&#8203;")


def _escape_block_start(match: re.Match[str]) -> str:
    start = match[0]
    return f"&#{ord(start[0])};{start[1:]}" if start.isdigit() else f"\\{start}"


def markdown_code(text: str, limit: int | None = NAME_LIMIT) -> str:
    """Return a Markdown code span that shows `text`. Not for table cells, where a pipe would end it."""
    content = clean(text, limit) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", content)), default=0))
    pad = " " if content.strip() and (content[0] in "` " or content[-1] in "` ") else ""
    return f"{fence}{pad}{content}{pad}{fence}"


# ---------------------------------------------------------------------------------------------- GitHub Actions


def workflow_data(text: str, limit: int | None = REASON_LIMIT) -> str:
    """Return `text` for the message of a workflow command such as `::error::<message>`."""
    return clean(text, limit).replace("%", "%25")


def workflow_property(text: str, limit: int | None = NAME_LIMIT) -> str:
    """Return `text` for a property of a workflow command such as `::error title=<property>::`."""
    return workflow_data(text, limit).replace(":", "%3A").replace(",", "%2C")


def github_output(name: str, value: str) -> str:
    """Return the lines that set one step output in the file `GITHUB_OUTPUT`; the value is kept on a single line.

    Args:
        name: of the output, our own.
        value: untrusted; never cut, for it may be a path.
    """
    delimiter = f"gate-{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}\n{clean(value, None)}\n{delimiter}\n"


# ---------------------------------------------------------------------------------------------- terminal, files


def terminal(text: str, limit: int | None = REASON_LIMIT) -> str:
    """Return `text` for a terminal or a build log, where no part of it is an escape sequence or a workflow command."""
    return clean(text, limit).replace("::", r":\x3a").replace("##[", r"##\x5b")


_SLUG_LIMIT = 60
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


def slug(text: str) -> str:
    """Return a file name part of letters, digits, `_`, `-` and `.` that any file system takes.

    A text that is such a name already stays as it is; any other gets a short hash, so that two never meet in one file.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:_SLUG_LIMIT].strip("._-")
    unusable = not plain or _RESERVED.match(plain)
    if plain == text and not unusable:
        return plain
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"x_{plain}-{mark}" if unusable else f"{plain}-{mark}"
