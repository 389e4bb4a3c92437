"""Makes matplotlib's SVG fit to stand inside a page: themed by its style sheet, and without inline styles.

A strict content security policy refuses `style` attributes, so they become presentation attributes; placeholder colours
become classes; ids that nothing refers to go, the others get a prefix that keeps two figures apart.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from backdoor_gate.reports.text import slug

COLOURS = {"ink": "#010101", "muted": "#020202", "line": "#030303", "bar": "#040404", "suspect": "#050505"}
"""Placeholders to draw with: `fill` and `stroke` in them become the classes `fill-<name>` and `stroke-<name>`."""

_NAMES = {value: name for name, value in COLOURS.items()}
_XLINK = "{http://www.w3.org/1999/xlink}href"
_SVG = "{http://www.w3.org/2000/svg}"
_COORDINATES = {"d", "x", "y", "width", "height", "transform"}
_FONT = ("font", "font-family", "font-size", "font-style", "font-variant", "font-stretch")
_MORE_DECIMALS = re.compile(r"(?<=\d\.\d\d)\d+")
_SPACE = re.compile(r">\s+<")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline(document: str, prefix: str) -> str:
    """Return matplotlib's SVG document as an element for an HTML page, hidden from screen readers.

    Args:
        document: written with `svg.fonttype: none` and the colours of `COLOURS`.
        prefix: tells this figure from the others of the page.
    """
    root = ET.fromstring(document)  # noqa: S314 (matplotlib's, made in this process)
    root.attrib = {"viewBox": root.attrib["viewBox"], "class": "plot", "aria-hidden": "true", "focusable": "false"}
    for parent in root.iter():
        for child in [child for child in parent if child.tag.removeprefix(_SVG) in {"metadata", "style", "title"}]:
            parent.remove(child)
    referred = _references(root)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        _restyle(element)
        _rename(element, referred, slug(prefix))
        _shorten(element)
    return _SPACE.sub("><", ET.tostring(root, encoding="unicode"))


def _references(root: ET.Element) -> set[str]:
    found = {element.attrib[_XLINK].removeprefix("#") for element in root.iter() if _XLINK in element.attrib}
    return found.union(*(_REFERENCE.findall(value) for element in root.iter() for value in element.attrib.values()))


def _restyle(element: ET.Element) -> None:
    """Turn the style attribute into presentation attributes, and placeholder colours into classes."""
    declarations = (part.partition(":") for part in element.attrib.pop("style", "").split(";") if part.strip())
    for name, _, value in declarations:
        element.set(name.strip(), value.strip())
    classes = []
    for name in ("fill", "stroke"):
        colour = _NAMES.get(element.get(name, ""))
        if colour:
            del element.attrib[name]
            classes.append(f"{name}-{colour}")
    if element.tag == "text" and "fill" not in element.attrib and not classes:
        classes.append("fill-ink")
    if "bold" in element.get("font", ""):
        classes.append("bold")
    for name in _FONT:
        element.attrib.pop(name, None)
    if classes:
        element.set("class", " ".join(classes))


def _rename(element: ET.Element, referred: set[str], prefix: str) -> None:
    own = element.attrib.pop("id", None)
    if own in referred:
        element.set("id", f"{prefix}-{own}")
    target = element.attrib.pop(_XLINK, None)
    if target:
        element.set("href", f"#{prefix}-{target.removeprefix('#')}")
    for name, value in element.attrib.items():
        element.set(name, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))


def _shorten(element: ET.Element) -> None:
    """Cut coordinates to two decimals, which no eye can tell from six."""
    for name in _COORDINATES & element.attrib.keys():
        element.set(name, _MORE_DECIMALS.sub("", element.attrib[name]))
