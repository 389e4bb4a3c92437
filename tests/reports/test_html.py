"""The HTML report: one inert file, in which every name is text and every number can be found."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from lxml import html as lxml_html
from samples import HOSTILE, SAMPLES, VERDICTS, blocked, hostile, inconclusive, measured, passed, patch, refused

from backdoor_gate.catalogue import DETECTORS
from backdoor_gate.illustrations import Artefact
from backdoor_gate.records import AuditReport, DataFacts
from backdoor_gate.reports import html
from backdoor_gate.reports.rows import rows
from backdoor_gate.reports.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxml.html import HtmlElement

EVERY = {**SAMPLES, **{name: lambda text=text: hostile(text) for name, text in HOSTILE.items()}}
every_report = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)


def page(report: AuditReport) -> HtmlElement:
    return lxml_html.document_fromstring(html.render(report))


def words(element: HtmlElement) -> str:
    return " ".join(" ".join(element.itertext()).split())


def card(root: HtmlElement, name: str) -> HtmlElement:
    return root.get_element_by_id(f"detector-{name}")


# ---------------------------------------------------------------------------------------------- inert


@every_report
def test_nothing_is_loaded_and_nothing_runs(make: Callable[[], AuditReport]) -> None:
    root = page(make())
    assert not root.xpath("//script|//iframe|//object|//embed|//form|//link|//base|//style[position() > 1]")
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on"), name
            assert name != "style", value
            if name in {"src", "href", "xlink:href", "action", "srcset"}:
                assert re.match(r"#|data:image/png;base64,[A-Za-z0-9+/=]+$", value), value
    assert not re.search(r"url\((?!#)|@import", html.render(make()))


@every_report
def test_the_policy_allows_only_this_style_sheet_and_pictures_within(make: Callable[[], AuditReport]) -> None:
    root = page(make())
    policies = root.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    style = root.find(".//style").text
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policies == [
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    ]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_are_text(name: str) -> None:
    plain, found = page(hostile("name")), page(hostile(name))
    assert [element.tag for element in found.iter()] == [element.tag for element in plain.iter()]
    shown = " ".join(clean(name).split())
    assert words(found.xpath("//p[@class='model']")[0]) == shown
    reasons = [words(item) for item in found.xpath("//ul[@class='reasons']/li")]
    assert reasons == [" ".join(clean(name, 1000).split())] * 2
    assert shown in found.xpath("//title/text()")[0].replace("\t", " ") or not shown


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_leave_nothing_invisible(name: str) -> None:
    invisible = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
    assert not re.search(invisible, html.render(hostile(name)))


# ---------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("verdict", SAMPLES)
def test_words(verdict: str, golden: Callable[[str, str], None]) -> None:
    root = page(SAMPLES[verdict]())
    for figure in root.xpath("//svg|//style"):
        figure.drop_tree()
    lines = [" ".join(line.split()) for line in root.text_content().splitlines()]
    golden(f"{verdict}.html.txt", "\n".join(line for line in lines if line) + "\n")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdict_comes_first_then_why(verdict: str) -> None:
    root = page(VERDICTS[verdict]())
    assert verdict.upper() in words(root.find(".//h1"))
    assert root.get("class") == f"verdict-{verdict}"
    headings = [words(heading) for heading in root.iter("h2")]
    expected = ["What to do next", "Tests at a glance"] if verdict == "pass" else ["Why", "What to do next"]
    assert headings[:2] == expected


def test_what_decided_comes_first_among_the_cards() -> None:
    shown = [element.get("class") for element in page(blocked()).xpath("//article")]
    assert shown == ["card blocks", "card noted", "card clear", "card clear", "card skipped"]
    assert [element.get("class") for element in page(inconclusive()).xpath("//article")][:3] == ["card missing"] * 3


def test_where_no_detector_ran_no_card_repeats_the_reason() -> None:
    root = page(refused())
    assert root.xpath("//article|//table[@class='numbers']") == []
    assert words(root).count("re-upload the file") == 1


def test_every_detector_has_its_card_with_claim_and_blind_spot() -> None:
    audit = blocked()
    results = tuple(measured(spec.name) for spec in DETECTORS)
    root = page(replace(audit, decision=replace(audit.decision, detectors=results)))
    for spec in DETECTORS:
        text = words(card(root, spec.name))
        assert spec.title in text
        assert spec.claim in text
        assert spec.blind_to in text


def test_a_card_holds_the_numbers() -> None:
    text = words(card(page(blocked()), "neural_cleanse"))
    for part in ("Anomaly index 9.13", "Limit 4.40", "p-value <1e-12", "2.5 s", "500 clean images", "12,000 images"):
        assert part in text


def test_the_meter_shows_index_against_limit() -> None:
    root = page(blocked())
    meter = card(root, "neural_cleanse").xpath(".//svg[@class='meter']")[0]
    assert meter.get("aria-label") == "Anomaly index 9.13 against a limit of 4.40"
    assert meter.xpath("./rect[2]/@class") == ["reached beyond"]
    assert float(meter.xpath("./rect[2]/@width")[0]) == pytest.approx(100 / 1.15, abs=0.01)
    assert float(meter.xpath("./rect[3]/@x")[0]) == pytest.approx(100 / 1.15 * 4.4 / 9.127, abs=0.01)
    assert card(root, "warp_inversion").xpath(".//svg[@class='meter']/*[name()='rect'][2]/@class") == ["reached"]


def test_pictures_show_the_trigger_beside_the_clean_twin() -> None:
    pictures = card(page(blocked()), "neural_cleanse").xpath(".//div[@class='pictures']")
    assert len(pictures) == 1
    assert words(pictures[0]).startswith("Recovered trigger of class 7 It sends 98% of the images held out to class 7.")
    alternatives = pictures[0].xpath(".//img/@alt")
    assert alternatives == [
        "Trigger of class 7: the trigger on grey; 8 by 8 pixels",
        "Trigger of class 7: an image without it, taken for class 3, 100%; 8 by 8 pixels",
        "Trigger of class 7: an image with it, taken for class 7, 87%; 8 by 8 pixels",
    ]


@pytest.mark.parametrize(("detector", "nearest"), [("neural_cleanse", 1), ("patch_sweep", 3)])
def test_without_a_suspect_what_came_nearest_is_shown_as_such(detector: str, nearest: int) -> None:
    audit = passed()
    values = tuple(1.0 if k == 3 else 0.2 if k == 1 else 0.5 for k in range(10))
    result = measured(detector, per_class=values, artefacts=(*patch(3), *patch(1)))
    results = tuple(result if each.name == "neural_cleanse" else each for each in audit.decision.detectors)
    found = page(replace(audit, decision=replace(audit.decision, detectors=results)))
    assert f"What came nearest to a suspicion: class {nearest} (not suspect)" in words(card(found, detector))


def test_large_pictures_are_reduced_and_many_classes_cut() -> None:
    audit = blocked()
    noise = np.random.default_rng(0).random((3, 512, 512), np.float32)
    artefacts = tuple(Artefact("trigger", k, noise) for k in range(6))
    results = tuple(
        replace(found, artefacts=artefacts, suspect_classes=tuple(range(6))) if found.blocking else found
        for found in audit.decision.detectors
    )
    found = page(replace(audit, decision=replace(audit.decision, detectors=results)))
    assert found.xpath("//img/@width") == ["128"] * 2


def test_what_was_not_tested_is_listed() -> None:
    root = page(passed())
    section = root.xpath("//section[@aria-labelledby='coverage']")[0]
    assert [words(row) for row in section.xpath(".//tbody/tr/th")] == ["neural_cleanse", "warp_inversion"]
    assert [words(item) for item in section.xpath(".//li")] == ["image-dependent triggers"]
    assert "Nothing was tested." in words(page(replace(refused(), coverage=replace(passed().coverage, tested=()))))


def test_provenance_names_every_digest() -> None:
    audit = blocked()
    text = words(page(audit).xpath("//section[@aria-labelledby='provenance']")[0])
    digests = (audit.candidate.digest, audit.policy.digest, audit.architecture_digest, audit.data_digest)
    for part in (*digests, "isolation tier C", "seed 0", "2027-02-18 12:30 UTC", "not calibrated", "0123456789abcdef"):
        assert part in text


def test_synthetic_images_are_called_so() -> None:
    audit = blocked()
    synthetic = replace(audit, scan=replace(audit.scan, data=DataFacts("synthetic", 500, None)))
    assert "500 synthetic images; 12,000" in words(card(page(synthetic), "neural_cleanse"))


@every_report
def test_safe_is_never_said(make: Callable[[], AuditReport]) -> None:
    assert not re.search(r"\bsafe\b", html.render(make()), re.IGNORECASE)


# ---------------------------------------------------------------------------------------------- structure


@every_report
def test_ids_are_unique_and_references_resolve(make: Callable[[], AuditReport]) -> None:
    root = page(make())
    ids = root.xpath("//@id")
    assert len(ids) == len(set(ids))
    named = {name for value in root.xpath("//@aria-labelledby") for name in value.split()}
    linked = {value[1:] for value in root.xpath("//@href")}
    clips = set(re.findall(r"url\(#([^)]+)\)", html.render(make())))
    assert named | linked | clips <= set(ids)


@every_report
def test_headings_go_down_one_level_at_a_time(make: Callable[[], AuditReport]) -> None:
    levels = [int(element.tag[1]) for element in page(make()).iter("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_overview_has_a_row_per_detector_that_leads_to_its_card() -> None:
    audit = blocked()
    root = page(audit)
    links = root.xpath("//table[@class='numbers']//a")
    assert {words(link) for link in links} == {row.name for row in rows(audit)}
    assert all(root.get_element_by_id(link.get("href")[1:]) is not None for link in links)


def test_the_same_audit_gives_the_same_bytes() -> None:
    assert html.render(blocked()) == html.render(blocked())
