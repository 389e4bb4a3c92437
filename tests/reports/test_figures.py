"""Pictures of triggers: exact pixels, files of their own, and any array the worker may send."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from samples import HOSTILE, blocked, hostile, measured, passed, patch, scan

from backdoor_gate.errors import OutputError
from backdoor_gate.illustrations import Artefact
from backdoor_gate.records import AuditReport, InputSpec
from backdoor_gate.reports import figures

if TYPE_CHECKING:
    from pathlib import Path


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def artefact(array: object, name: str = "trigger") -> Artefact:
    return Artefact(name, 0, np.asarray(array, np.float32))


def test_grey_values_are_scaled_from_the_input_range_and_clipped() -> None:
    values = artefact([[[-3.0, -1.0, 0.0, 1.0, 9.0]]])
    assert figures.picture(values, (-1.0, 1.0)).tolist() == [[0, 0, 128, 255, 255]]


def test_a_mask_is_in_zero_to_one_whatever_the_input_range() -> None:
    assert figures.picture(artefact([[[0.0, 1.0]]], "mask"), (-1.0, 3.0)).tolist() == [[0, 255]]


def test_three_channels_are_red_green_blue() -> None:
    assert figures.picture(artefact([[[1.0]], [[0.5]], [[0.0]]])).tolist() == [[[255, 128, 0]]]


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_other_channels_are_the_grey_of_their_mean(channels: int) -> None:
    array = np.zeros((channels, 2, 2))
    array[0] = 1.0
    assert (figures.picture(artefact(array)) == round(255 / channels)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5000), (1, 5000, 2), (40, 3, 3)])
@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf, 3e38])
def test_any_array_becomes_a_small_picture(shape: tuple[int, int, int], fill: float) -> None:
    image = opened(figures.trigger_png(artefact(np.full(shape, fill))))
    assert max(image.size) <= figures.MAX_SIDE
    assert len(np.unique(np.asarray(image))) == 1


def test_a_single_pixel_still_shows_in_a_reduced_picture() -> None:
    array = np.zeros((1, 128, 128))
    array[0, 101, 33] = 1.0
    small = figures.picture(artefact(array), max_side=32)
    assert small.shape == (32, 32)
    assert np.argwhere(small).tolist() == [[25, 8]]


def test_an_empty_range_divides_by_nothing() -> None:
    assert figures.picture(artefact([[[0.5]]]), (0.5, 0.5)).tolist() == [[0]]


def test_enlarging_is_by_nearest_neighbour() -> None:
    image = opened(figures.trigger_png(artefact([[[0.0, 1.0], [1.0, 0.0]]]), 4))
    pixels = np.asarray(image)
    assert image.mode == "L"
    assert pixels.shape == (8, 8)
    assert (pixels[::4, ::4] == [[0, 255], [255, 0]]).all()
    assert (pixels == pixels[::4, ::4].repeat(4, 0).repeat(4, 1)).all()


def with_artefacts(artefacts: tuple[Artefact, ...]) -> AuditReport:
    audit = passed()
    results = (measured("neural_cleanse", artefacts=artefacts),)
    return replace(audit, decision=replace(audit.decision, detectors=results))


def test_a_trigger_and_its_strip_are_saved(tmp_path: Path) -> None:
    written = figures.save_triggers(blocked(), tmp_path / "new" / "folder")
    names = ["trigger-neural_cleanse-class7.png", "trigger-neural_cleanse-class7-strip.png"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(names)
    strip = np.asarray(Image.open(written[1]).convert("L"))
    assert strip.shape == (64, 3 * 64 + 2 * 8)
    clean, trigger, both = strip[:, :64], strip[:, 72:136], strip[:, 144:]
    assert clean[-1, 0] == 0
    assert (trigger == np.asarray(Image.open(written[0]))).all()
    assert (both[:48] == clean[:48]).all()
    assert (both[48:, 48:] == 255).all()


def test_only_the_trigger_without_an_example_image(tmp_path: Path) -> None:
    written = figures.save_triggers(with_artefacts((*patch(3)[:1], *patch(1)[:1], *patch(5)[1:])), tmp_path)
    assert [path.name for path in written] == [f"trigger-neural_cleanse-class{index}.png" for index in (1, 3)]


def test_the_input_range_of_the_scan_is_used(tmp_path: Path) -> None:
    audit = with_artefacts((artefact([[[-1.0, 1.0]]]),))
    audit = replace(audit, scan=replace(scan(), input=InputSpec((1, 1, 2), low=-1.0, high=1.0)))
    (path,) = figures.save_triggers(audit, tmp_path)
    assert set(np.asarray(Image.open(path)).ravel().tolist()) == {0, 255}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    written = figures.save_triggers(hostile(name), tmp_path / "out")
    assert len(written) == 2
    assert {path.parent for path in written} == {tmp_path / "out"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert all(path.name.isascii() and path.name.isprintable() for path in (tmp_path / "out").iterdir())


def test_a_file_in_the_way_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        figures.save_triggers(blocked(), tmp_path / "out")
