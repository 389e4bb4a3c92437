"""What a terminal shows: it fits, it has colour only where wanted, and no name drives the terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from samples import HOSTILE, VERDICTS, blocked, calibrated, hostile, passed, refused

from backdoor_gate.records import Cost, Decision, DetectorResult, Progress, Status, Suspicion, Verdict
from backdoor_gate.reports.console import verdict_view
from backdoor_gate.reports.progress import ScanProgress
from backdoor_gate.reports.terminal_picture import TerminalPicture

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def shown(renderable: object, width: int = 100, *, colour: bool = False, **settings: object) -> str:
    file = io.StringIO()
    system = "truecolor" if colour else None
    Console(file=file, width=width, color_system=system, force_terminal=colour, **settings).print(renderable)
    return file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("verdict", VERDICTS)
def test_it_fits_the_width(verdict: str, width: int) -> None:
    lines = shown(verdict_view(VERDICTS[verdict]()), width).splitlines()
    assert max(len(line) for line in lines) <= width


@pytest.mark.parametrize("verdict", VERDICTS)
def test_eighty_columns_hold_every_number(verdict: str) -> None:
    text = shown(verdict_view(VERDICTS[verdict]()), 80)
    assert "…" not in text
    assert verdict.upper() in text.splitlines()[1]
    for result in VERDICTS[verdict]().decision.detectors:
        assert result.name in text


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_are_only_text(name: str, colour: bool) -> None:
    text = COLOUR.sub("", shown(verdict_view(hostile(name), [("junit", name)]), colour=colour))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert not re.search(r"^\s*::", text, re.MULTILINE)
    assert "##[" not in text


def test_brackets_are_no_markup_of_rich() -> None:
    name = HOSTILE["markup of rich"]
    text = shown(verdict_view(hostile(name), [("junit", name)]), 200)
    assert text.count(name) == 6  # the headline, two reasons, the table, the picture's title, the file


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(verdict_view(blocked()), colour=True)
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]", text)
    assert "▀" not in text


def test_a_block_shows_its_trigger_and_a_pass_shows_none() -> None:
    assert "Recovered trigger of class 7 (neural_cleanse)" in shown(verdict_view(blocked()))
    assert "Recovered" not in shown(verdict_view(passed()))


@pytest.mark.parametrize(("width", "pictures"), [(20, 1), (50, 1), (80, 2), (110, 3)])
def test_as_many_pictures_as_fit_the_trigger_first(width: int, pictures: int) -> None:
    text = shown(verdict_view(blocked()), width, colour=True)
    side = min(32, (width - 2) // 8 * 8)
    assert text.count("▀") == pictures * side * side // 2
    titles = ["the trigger", "an image with it", "the image without"]
    assert [title in text for title in titles] == [index < pictures for index in range(3)]


def test_what_the_verdict_is_worth_is_told() -> None:
    line = "False-block rate: 0.01 ({}); valid until 2027-02-18 12:30 UTC"
    assert line.format("not calibrated") in shown(verdict_view(passed()))
    assert line.format("calibrated on references") in shown(verdict_view(calibrated()))


def test_where_nothing_was_measured_that_is_said_once() -> None:
    text = shown(verdict_view(refused()))
    assert text.count("No detector measured anything, for the reason above") == 1
    assert "missing" not in text


def test_where_detectors_lack_for_one_reason_it_is_told_once() -> None:
    missing = tuple(
        DetectorResult(name, True, Status.INCONCLUSIVE, "of no use", cost=Cost(0.0))
        for name in passed().expected_detectors
    )
    decision = Decision(Verdict.INCONCLUSIVE, Suspicion.NONE, (), ("too few",), missing)
    text = shown(verdict_view(replace(passed(), decision=decision)))
    assert "No detector measured anything: of no use" in text
    assert "max_margin" not in text
    other = replace(missing[0], reason="crashed")
    text = shown(verdict_view(replace(passed(), decision=replace(decision, detectors=(other, *missing[1:])))))
    assert "max_margin" in text


def test_what_several_detectors_lack_is_told_once_with_what_was_measured() -> None:
    rest = list(passed().decision.detectors)
    done = rest.pop(next(at for at, each in enumerate(rest) if each.status is Status.MEASURED))
    late = tuple(replace(each, status=Status.INCONCLUSIVE, reason="out of time") for each in rest)
    told = ("weak suspicion, max_margin: p = 0.03", *(f"{each.name}: out of time" for each in late))
    decision = Decision(Verdict.INCONCLUSIVE, Suspicion.WEAK, (), told, (done, *late))
    text = shown(verdict_view(replace(passed(), decision=decision)), 200)
    assert f"• {', '.join(each.name for each in late)}: out of time" in text
    assert text.count(": out of time") == 1
    assert f"• measured all the same: {done.name}" in text
    assert "• weak suspicion, max_margin: p = 0.03" in text


def test_reports_are_named() -> None:
    assert "out/junit.xml" in shown(verdict_view(passed(), [("junit", "out/junit.xml")]))


# ---------------------------------------------------------------------------------------------- pictures

CHECKS = np.array([[0, 255], [255, 0]], np.uint8)


def test_half_blocks_hold_two_pixels_each() -> None:
    text = shown(TerminalPicture(CHECKS, 2), colour=True)
    assert text.count("▀") == 2
    assert "38;2;0;0;0;48;2;255;255;255m▀" in text
    assert "38;2;255;255;255;48;2;0;0;0m▀" in text


def test_colours_are_kept() -> None:
    red = np.zeros((1, 1, 3), np.uint8) + np.array([200, 10, 30], np.uint8)
    assert "38;2;200;10;30m▀" in shown(TerminalPicture(red, 1), colour=True)


def test_without_colour_it_is_a_ramp() -> None:
    text = shown(TerminalPicture(np.array([[0, 128, 255]], np.uint8), 3))
    assert text == " =@\n"


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (28, 28), (224, 224, 3), (1, 500), (500, 1)])
@pytest.mark.parametrize("colour", [False, True])
def test_pictures_of_any_size_fit(shape: tuple[int, ...], colour: bool) -> None:
    text = COLOUR.sub("", shown(TerminalPicture(np.full(shape, 200, np.uint8)), 30, colour=colour))
    assert 0 < max(len(line) for line in text.splitlines()) <= 30
    assert len(text.splitlines()) <= 16


# ---------------------------------------------------------------------------------------------- progress

NAMES = ("max_margin", "neural_cleanse")


def test_a_log_gets_one_line_per_detector() -> None:
    file = io.StringIO()
    with ScanProgress(Console(file=file, width=40), NAMES) as progress:
        for detector in (0, 0, 1, 1, 0):
            progress.update(Progress(detector, 1, 2, (0, 4), 10.0))
    assert file.getvalue() == (
        "measuring max_margin (1/2), 0:00 elapsed, 0:10 left\nmeasuring neural_cleanse (2/2), 0:00 elapsed, 0:10 left\n"
    )


def test_time_that_is_not_known_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    file, clock = io.StringIO(), iter([100.0, 190.2])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with ScanProgress(Console(file=file, width=40), NAMES) as progress:
        progress.update(Progress(0, 1, 2, (0, 4), None))
    assert file.getvalue() == "measuring max_margin (1/2), 1:30 elapsed\n"


def test_a_terminal_gets_detector_classes_and_time_left() -> None:
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=True, color_system=None)
    with ScanProgress(console, NAMES) as progress:
        progress.update(Progress(0, 10, 10, (0, 9), 90.0))
        progress.update(Progress(1, 5, 10, (0, 4), 75.4))
        progress._bar.refresh()
        assert progress._bar.tasks[0].percentage == pytest.approx(75.0)
    assert "neural_cleanse (2/2), classes 0 to 4" in file.getvalue()
    assert "0:00 elapsed, 1:15 left" in file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_odd_numbers_and_names_are_harmless(terminal: bool) -> None:
    file = io.StringIO()
    with ScanProgress(Console(file=file, width=80, force_terminal=terminal), [HOSTILE["escape"]]) as progress:
        progress.update(Progress(99, 10**9, 1, (-5, 10**9), float("nan")))
        progress.update(Progress(-1, -3, 0, (0, 0), float("inf")))
    assert "\x1b[31mred" not in file.getvalue()


def test_the_bar_is_gone_after_an_interrupt() -> None:
    progress = ScanProgress(Console(file=io.StringIO(), force_terminal=True), NAMES)
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt
    assert not progress._bar.live.is_started


def test_no_detectors_no_progress() -> None:
    written = io.StringIO()
    with ScanProgress(Console(file=written), ()) as progress:
        progress.update(Progress(0, 0, 1, (0, 0)))
    assert written.getvalue() == ""
