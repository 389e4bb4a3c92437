"""The tables of the documents that are written from the program: policy keys and detectors."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.policy.schema import PolicyFile, Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo


def policy_keys() -> str:
    """Return the table of every key of a policy: default, what is legal, and meaning."""
    lines = ["| key | default | legal | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{key}` | {_default(field)} | {_legal(field)} | {_cell(field.description)} |"
        for key, field in _keys(PolicyFile)
    ]
    return "\n".join(lines)


def detector_summary() -> str:
    """Return the table of every detector: what it sees, what clean images are to it, and whether it decides."""
    lines = ["| detector | sees | clean images | required |", "|---|---|---|---|"]
    lines += [
        f"| [`{spec.name}`](#{spec.name}) | {_cell(spec.claim)} | {spec.clean_images} "
        f"| {'yes' if spec.required else 'no'} |"
        for spec in DETECTORS
    ]
    return "\n".join(lines)


def _keys(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        kind = _plain(field.annotation)
        items = _plain(get_args(kind)[0]) if get_origin(kind) is list else None
        if _is_section(kind) and name != "detectors":
            yield from _keys(kind, f"{prefix}{name}.")
            continue
        yield f"{prefix}{name}", field
        if _is_section(items):
            yield from ((f"{prefix}{name}[].{key}", inner) for key, inner in items.model_fields.items())


def _plain(hint: Any) -> Any:
    """Return a type without `| None` and without what annotates it."""
    if get_origin(hint) in {types.UnionType, Union}:
        hint = get_args(hint)[0]
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, Section)


def _default(field: FieldInfo) -> str:
    """Return the default as YAML; nothing where it is another for each system, a section, or none."""
    if field.is_required() or field.default_factory or field.default is None or isinstance(field.default, Section):
        return ""
    written = yaml.safe_dump(field.default, default_flow_style=True).removesuffix("...\n")
    return f"`{written.strip()}`"


def _legal(field: FieldInfo) -> str:
    """Return what the checker says of a value that can be none."""
    hint: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    try:
        TypeAdapter(hint).validate_python(object())
    except ValidationError as error:
        said = {found["ctx"]["legal"]: None for found in error.errors() if found["type"] == "illegal"}
        return _cell(" or ".join(said)) if len(said) == 1 else ""
    raise AssertionError(f"{field} takes anything")


def _cell(text: str | None) -> str:
    assert text, "no docstring"
    return " ".join(text.split()).replace("|", "\\|")
