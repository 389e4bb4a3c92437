"""Pictures of recovered triggers: pixel arrays, PNG files, and strips of an image without and with the trigger."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from backdoor_gate.reports.files import write_bytes
from backdoor_gate.reports.rows import Way
from backdoor_gate.reports.text import slug

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from backdoor_gate.illustrations import Artefact
    from backdoor_gate.records import AuditReport, InputSpec

Range = tuple[float, float]
"""Values shown as black and as white."""

MAX_SIDE = 1024
"""Pixels of the longest side of a picture."""
_SCALE = 8
_GAP = 8
_STRIP = ("clean", "trigger", "triggered")
_TWINS = ("clean", "triggered")


@dataclass(frozen=True, eq=False, slots=True)
class Shown:
    """The pictures of one trigger.

    Attributes:
        way: where it leads.
        parts: by name, the trigger itself: `trigger`, `mask`, `pattern`.
        twins: example images, each by name: `clean` and `triggered`, or one of them.
    """

    way: Way
    parts: Mapping[str, Artefact]
    twins: tuple[Mapping[str, Artefact], ...]

    @property
    def first(self) -> Mapping[str, Artefact]:
        """The parts and the first example, by name."""
        return {**self.parts, **(self.twins[0] if self.twins else {})}


def input_range(spec: InputSpec | None) -> Range:
    """Return the range of the model's input values; [0, 1] where it never became known."""
    return (spec.low, spec.high) if spec else (0.0, 1.0)


def picture(artefact: Artefact, values: Range = (0.0, 1.0), max_side: int = MAX_SIDE) -> NDArray[np.uint8]:
    """Return an artefact as pixels: (H, W) grey or (H, W, 3) colour, uint8.

    Three channels are red, green and blue; any other number is shown as the grey of their mean. Values beyond the
    range are clipped, those that are not finite show as the low end.

    Args:
        artefact: (C, H, W) float32, no axis empty.
        values: (low, high) of the model's input; a mask is always in [0, 1].
        max_side: longest side in pixels; see `reduced`.
    """
    low, high = (0.0, 1.0) if artefact.name == "mask" else values
    array = artefact.array.astype(np.float64)  # (C, H, W)
    channels = np.nan_to_num((array - low) / ((high - low) or 1.0), nan=0.0, posinf=1.0, neginf=0.0).clip(0.0, 1.0)
    shown = channels.transpose(1, 2, 0) if len(channels) == 3 else channels.mean(axis=0)
    return reduced((shown * 255).round().astype(np.uint8), max_side)


def reduced(pixels: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """Return pixels (H, W) or (H, W, 3) no larger than `max_side`, by averaging squares of whole pixels."""
    factor = -(-max(pixels.shape[:2]) // max_side)
    return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor))


def png(pixels: NDArray[np.uint8], scale: int = 1) -> bytes:
    """Return a PNG file of (H, W) or (H, W, 3) pixels, each enlarged to `scale` × `scale`, never beyond `MAX_SIDE`."""
    factor = max(1, min(scale, MAX_SIDE // max(pixels.shape[:2])))
    file = io.BytesIO()
    Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1)).save(file, format="PNG", optimize=True)
    return file.getvalue()


def trigger_png(artefact: Artefact, scale: int = _SCALE, values: Range = (0.0, 1.0)) -> bytes:
    """Return an artefact as a PNG file, enlarged without smoothing; see `picture` for what it shows."""
    return png(picture(artefact, values), scale)


def by_trigger(artefacts: Sequence[Artefact]) -> dict[Way, Shown]:
    """Return the pictures of each trigger, by target and source."""
    parts: dict[Way, dict[str, Artefact]] = {}
    twins: dict[Way, dict[int, dict[str, Artefact]]] = {}
    for artefact in artefacts:
        way = Way(artefact.source_class, artefact.class_index)
        parts.setdefault(way, {})
        if artefact.name in _TWINS:
            twins.setdefault(way, {}).setdefault(artefact.example, {})[artefact.name] = artefact
        else:
            parts[way][artefact.name] = artefact
    ways = sorted(parts, key=lambda way: (way.target, -1 if way.source is None else way.source))
    return {way: Shown(way, parts[way], tuple(twin for _, twin in sorted(twins.get(way, {}).items()))) for way in ways}


def told(artefact: Artefact) -> str:
    """Return what the model takes an example image for, such as `class 7, 98%`; empty where that is not known."""
    found = artefact.prediction
    return f"class {found.class_index}, {found.probability:.0%}" if found else ""


def save_triggers(report: AuditReport, folder: Path) -> tuple[Path, ...]:
    """Write each recovered trigger as `trigger-<detector>-class<k>.png` and return the files, in order.

    One from class s to class k alone is `…-class<s>-to-<k>.png`. Where there is an example image, `…-strip.png` beside
    it shows the image, the trigger, and the image with it.

    Raises:
        OutputError: a file could not be written.
    """
    values = input_range(report.scan.input if report.scan else None)
    written = []
    for result in report.decision.detectors:
        for way, shown in by_trigger(result.artefacts).items():
            named = shown.first
            if "trigger" not in named:
                continue
            place = f"{way.target}" if way.source is None else f"{way.source}-to-{way.target}"
            stem = f"trigger-{slug(result.name)}-class{place}"
            files = {f"{stem}.png": trigger_png(named["trigger"], values=values)}
            if all(name in named for name in _STRIP):
                files[f"{stem}-strip.png"] = _strip([picture(named[name], values) for name in _STRIP])
            for name, content in files.items():
                write_bytes(folder / name, content)
                written.append(folder / name)
    return tuple(written)


def _strip(pictures: Sequence[NDArray[np.uint8]]) -> bytes:
    height = max(len(pixels) for pixels in pictures)
    scale = max(1, min(_SCALE, MAX_SIDE // (height * len(pictures))))
    tiles: list[NDArray[np.uint8]] = []
    for pixels in pictures:
        colour = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)  # (H, W, 3)
        tile = colour.repeat(scale, axis=0).repeat(scale, axis=1)
        bottom = height * scale - len(tile)
        tiles.append(np.pad(tile, ((0, bottom), (0, _GAP), (0, 0)), constant_values=255))
    return png(np.concatenate(tiles, axis=1)[:, :-_GAP])
