"""Evidence by pair: named as `9→4` in every report, and drawn as a map of source by target."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from lxml import html as lxml_html
from rich.console import Console
from samples import measured, pair_strengths, paired, patch

from backdoor_gate.illustrations import Artefact
from backdoor_gate.reports import Format, figures, reading, render
from backdoor_gate.reports.class_table import class_view
from backdoor_gate.reports.explain import explain
from backdoor_gate.reports.pair_map import MOST_CLASSES, pair_map
from backdoor_gate.reports.rows import Way, headline, rows, success_of, suspect_pairs, suspects
from backdoor_gate.trigger_facts import Pair

if TYPE_CHECKING:
    from backdoor_gate.records import AuditReport

NAMED = "9→4, 0→1"


def result(classes: int = 10, planted: tuple[tuple[int, int], ...] = ((9, 4), (0, 1)), **changes: object):
    values = (0.1,) * classes
    pairs = pair_strengths(classes, planted)
    return measured("pair_patch", per_class=values, pairs=pairs, suspect_pairs=planted, **changes)


def squares(svg: str, name: str) -> int:
    """Return how many squares a class of the style sheet draws."""
    root = ET.fromstring(svg)
    return sum(element.get("d", "").count("M") for element in root.iter("path") if name in element.get("class", ""))


# ---------------------------------------------------------------------------------------------- the map


def test_every_pair_is_a_square_and_the_suspects_are_framed() -> None:
    plot = pair_map(result())
    assert squares(plot.svg, "stroke-suspect") == 2
    assert squares(plot.svg, "fill-bar") == 89 + 8  # less the one without a trigger, and the legend's
    assert f"Standing apart, framed: {NAMED}." in plot.words
    assert "No trigger was found for 1 of them" in plot.words


def test_the_weakest_have_the_strongest_colour() -> None:
    levels = [e for e in ET.fromstring(pair_map(result()).svg).iter("path") if "fill-bar" in e.get("class", "")]
    strongest = max(levels, key=lambda e: float(e.get("fill-opacity")))
    assert strongest.get("d").count("M") == 2


def test_the_share_counts_and_not_the_strength() -> None:
    pairs = tuple(Pair(s, t, 0.01 if s == 1 else 0.1, 1.0, 3.0) for s in range(3) for t in range(3) if s != t)
    shares = tuple(0.2 if (pair.source, pair.target) == (2, 0) else 1.0 for pair in pairs)
    plot = pair_map(measured("pair_patch", per_class=(0.1,) * 3, pairs=pairs, shares=shares))
    levels = [e for e in ET.fromstring(plot.svg).iter("path") if "fill-bar" in e.get("class", "")]
    strongest = max(levels, key=lambda e: float(e.get("fill-opacity")))
    assert strongest.get("d").count("M") == 1
    assert "0.01 to 0.1, median 0.1" in plot.words
    assert "down to 0.2" in plot.words


def test_of_many_classes_only_the_suspects_are_shown() -> None:
    labels = {e.text for e in ET.fromstring(pair_map(result(200, ((150, 4), (77, 99)))).svg).iter("text")}
    assert {"150", "77", "4", "99"} <= labels
    assert "Only the suspect pairs are shown" in pair_map(result(200, ((150, 4),))).words
    assert "Only the pairs with the smallest shares" in pair_map(result(200, ())).words
    assert "Only" not in pair_map(result(MOST_CLASSES)).words


@pytest.mark.parametrize("classes", [3, 10, MOST_CLASSES, MOST_CLASSES + 1, 1000])
def test_the_map_stays_small(classes: int) -> None:
    assert len(pair_map(result(classes)).svg) < 60_000


def test_without_a_working_trigger_there_is_no_map() -> None:
    assert pair_map(measured("pair_patch", pairs=(Pair(0, 1, None, None, 3.0),))) is None


@pytest.mark.parametrize("strength", [1e-300, 1e300, float("inf"), float("nan"), 0.0])
def test_any_strength_gives_a_map_without_nonsense(strength: float) -> None:
    pairs = (Pair(0, 1, strength, 1.0, 3.0), Pair(1, 0, 0.1, 1.0, 3.0))
    plot = pair_map(measured("pair_patch", per_class=(0.1, 0.1), pairs=pairs, suspect_pairs=((0, 1),)))
    assert not re.search(r"\bnan\b|\binf\b", plot.svg)


def test_the_same_pairs_give_the_same_bytes() -> None:
    assert pair_map(result()) == pair_map(result())


# ---------------------------------------------------------------------------------------------- in words


def test_suspect_pairs_are_named() -> None:
    audit = paired()
    assert headline(audit) == "Evidence of a backdoor; suspect classes: 4, 1; suspect pairs: 9→4, 0→1"
    assert suspect_pairs(audit.decision) == (Way(9, 4), Way(0, 1))
    row = rows(audit)[-1]
    assert (row.suspects, row.success) == (NAMED, "95%")
    assert f"suspect pairs {NAMED}, success of their triggers 95%" in render(audit, Format.JUNIT)
    for report_format in (Format.MARKDOWN, Format.SARIF, Format.ANNOTATIONS, Format.HTML):
        assert NAMED in render(audit, report_format), report_format


def test_the_one_source_of_a_class_is_named() -> None:
    values = tuple(3.2 if k == 4 else 0.3 for k in range(10))
    found = measured(
        "patch_sweep", per_class=values, success=(0.97,) * 10, suspect_classes=(4,), suspect_pairs=((6, 4),)
    )
    assert suspects(found) == (Way(6, 4),)
    assert success_of(found, Way(6, 4)) == 0.97
    assert suspects(replace(found, suspect_pairs=())) == (Way(None, 4),)


def test_a_result_in_sarif_keeps_its_fingerprint_for_the_same_pairs_only() -> None:
    def print_of(audit: AuditReport) -> str:
        return json.loads(render(audit, Format.SARIF))["runs"][0]["results"][0]["partialFingerprints"][
            "backdoorGate/v1"
        ]

    audit = paired()
    *others, found = audit.decision.detectors
    other = replace(audit.decision, detectors=(*others, replace(found, suspect_pairs=((9, 4),))))
    assert print_of(audit) == print_of(paired()) != print_of(replace(audit, decision=other))


def test_json_has_the_pairs_by_column() -> None:
    document = json.loads(render(paired(), Format.JSON))
    assert document["suspect_pairs"] == [[9, 4], [0, 1]]
    *others, found = document["detectors"]
    assert found["suspect_pairs"] == [[9, 4], [0, 1]]
    assert {len(column) for column in found["pairs"].values()} == {90}
    assert found["pairs"]["strengths"][-1] is None
    assert {other["pairs"] for other in others} == {None}
    clean = next(a for a in found["artefacts"] if a["name"] == "clean")
    assert (clean["class"], clean["source_class"]) == (4, 9)
    assert clean["prediction"] == {"class": 3, "probability": 0.998}


def test_json_shows_each_trigger_on_one_image() -> None:
    audit = paired()
    found = audit.decision.detectors[-1]
    more = tuple(replace(a, example=1) for a in found.artefacts if a.name in {"clean", "triggered"})
    found = replace(found, artefacts=(*found.artefacts, *more))
    document = json.loads(render(replace(audit, decision=replace(audit.decision, detectors=(found,))), Format.JSON))
    assert len(document["detectors"][0]["artefacts"]) == len(paired().decision.detectors[-1].artefacts)


def test_explain_tells_pairs_and_reads_reports_that_have_none() -> None:
    content = render(paired(), Format.JSON)
    told = explain(reading.parse(content.encode(), "report"))
    assert "Evidence of a backdoor, in class 4, 1, by way of 9→4, 0→1." in told
    assert f"pair_patch: 90 pairs of classes, compared with each other: {NAMED} stand apart." in told
    older = json.loads(content)
    del older["suspect_pairs"]
    for detector in older["detectors"]:
        del detector["pairs"], detector["suspect_pairs"]
    assert "in class 4, 1." in explain(reading.parse(json.dumps(older).encode(), "report"))


@pytest.mark.parametrize("pairs", [[[1]], [[1, 2, 3]], [1, 2], "9→4", [["9", "4"]]])
def test_a_report_with_broken_pairs_is_not_read(pairs: object) -> None:
    document = json.loads(render(paired(), Format.JSON)) | {"suspect_pairs": pairs}
    with pytest.raises(Exception, match="not a valid report: suspect_pairs"):
        reading.parse(json.dumps(document).encode(), "report")


def test_the_table_of_classes_names_each_targets_weakest_pair() -> None:
    audit = paired()
    weakest = min((p for p in audit.decision.detectors[-1].pairs if p.target == 4), key=lambda p: p.strength or 9)
    values = tuple(weakest.strength if k == 4 else None for k in range(10))
    found = replace(audit.decision.detectors[-1], per_class=values)
    console = Console(width=100, record=True, file=None, color_system=None)
    with console.capture() as captured:
        console.print(class_view(replace(audit, decision=replace(audit.decision, detectors=(found,)))))
    assert "9→4 0.004" in captured.get()


# ---------------------------------------------------------------------------------------------- in pictures


def test_triggers_of_pairs_with_one_target_are_kept_apart() -> None:
    found = figures.by_trigger((*patch(4, source=9), *patch(4, source=2), *patch(4)))
    assert list(found) == [Way(None, 4), Way(2, 4), Way(9, 4)]
    assert all(set(shown.first) == {"trigger", "clean", "triggered"} for shown in found.values())


def test_their_files_are_named_by_source_and_target(tmp_path) -> None:
    names = {path.name for path in figures.save_triggers(paired(), tmp_path)}
    assert "trigger-pair_patch-class9-to-4.png" in names
    assert "trigger-pair_patch-class0-to-1-strip.png" in names


def test_the_card_shows_map_table_and_twins_with_predictions() -> None:
    root = lxml_html.document_fromstring(render(paired(), Format.HTML))
    card = root.get_element_by_id("detector-pair_patch")
    assert [cell.text for cell in card.xpath(".//div[contains(@class, 'pairs')]//tbody//th")] == ["9→4", "0→1"]
    assert [h.text for h in card.iter("h4")] == ["Recovered trigger of 9→4", "Recovered trigger of 0→1"]
    twins = card.xpath(".//ul[@class='twins']/li[1]/div/span//b")
    assert [(b.text, b.get("class")) for b in twins[:2]] == [("class 3, 100%", None), ("class 4, 87%", "reached")]
    assert len(card.xpath(".//figure")) == 1


def test_several_examples_are_shown_of_the_first_trigger_alone() -> None:
    audit = paired()
    *others, found = audit.decision.detectors
    more = tuple(
        Artefact(a.name, a.class_index, a.array, a.source_class, example, a.prediction)
        for a in found.artefacts
        for example in range(4)
        if a.name != "trigger" or example == 0
    )
    decision = replace(audit.decision, detectors=(*others, replace(found, artefacts=more)))
    root = lxml_html.document_fromstring(render(replace(audit, decision=decision), Format.HTML))
    assert [len(ul) for ul in root.xpath("//ul[@class='twins']")] == [4, 1]
