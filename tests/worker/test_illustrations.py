"""What is sent for the eye: predictions of example images, and an embedding. Whole, bounded, and of this very scan."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from test_listener import BARE, at, frame, hear, result_document, scan_bytes
from worker_records import make_scan

from backdoor_gate.errors import WorkerError
from backdoor_gate.illustrations import Artefact, Embedding, Prediction
from backdoor_gate.records import Measured, Scan
from backdoor_gate.scan import embedding
from backdoor_gate.scan.detectors import pictures
from backdoor_gate.worker import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[dict[str, Any]], object]

COORDINATES = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)


def embedded(**changes: Any) -> Scan:
    """Return a scan with four images on two components, the first two of which are shown with a trigger as well."""
    fields: dict[str, Any] = {
        "components": COORDINATES,
        "shares": (0.7, 0.2),
        "labels": (0, 1, 0, 1),
        "triggered": (False, False, True, True),
        "penultimate": True,
        "detector": "neural_cleanse",
        "target": 2,
        "source": None,
        "seconds": 0.25,
        "model_passes": 4,
    }
    return replace(make_scan(), embedding=Embedding(**(fields | changes)))


def test_an_embedding_arrives_as_it_was_sent() -> None:
    scan = embedded(source=1)
    sent, heard = scan.embedding, hear(scan_bytes(scan)).embedding
    assert (heard.components == COORDINATES).all()
    assert asdict(replace(heard, components=None)) == asdict(replace(sent, components=None))


def test_predictions_arrive_as_they_were_sent() -> None:
    image = np.zeros((1, 4, 5), np.float32)
    sent = (Artefact("clean", 2, image, 1, 3, Prediction(1, 0.75)), Artefact("triggered", 2, image, 1, 3))
    scan = make_scan()
    last = replace(scan.evidence[2], artefacts=sent)
    heard = hear(scan_bytes(replace(scan, evidence=(*scan.evidence[:2], last)))).evidence[2]
    assert isinstance(heard, Measured)
    assert [(a.source_class, a.example, a.prediction) for a in heard.artefacts] == [
        (1, 3, Prediction(1, 0.75)),
        (1, 3, None),
    ]


def told(**changes: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        data = scan_bytes(embedded())
        size = struct.unpack_from(">cI", data)[1]
        document["scan"]["embedding"] = json.loads(data[5 : 5 + size])["scan"]["embedding"] | changes

    return change


CLEAN = {**BARE, "name": "clean", "class_index": 0, "shape": [1, 4, 5]}


def example(**changes: object) -> Change:
    return at("scan", "evidence", 2, "artefacts", value=[CLEAN | changes])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (told(detector="max_margin"), "a trigger that no detector found"),
        (told(target=3), "embedding of no class"),
        (told(source=3), "embedding of no class"),
        (told(labels=[0, 1, 0, 3]), "embedding of no class"),
        (told(labels=[0, 1, 0]), "columns of unlike length"),
        (told(labels=[0] * 401, triggered=[False] * 401), "labels"),
        (told(triggered=[False] * 4), "or none"),
        (told(triggered=[False, True, True, True]), "more triggered images than clean ones"),
        (told(triggered=[True, False, True, False]), "clean images after triggered ones"),
        (told(triggered=[0, 0, 1, 1]), "triggered"),
        (told(shares=[0.1] * 17), "shares"),
        (told(shares=[0.1] * 5), "more components than images"),
        (told(shares=[0.5, 1.5]), "shares"),
        (told(shares=[0.5]), "shares"),
        (told(verdict="PASS"), "unknown key"),
        (told(), "cut off"),
        (example(example=16), "example"),
        (example(example=-1), "example"),
        (example(prediction={"class_index": 3, "probability": 0.5}), "prediction of no class"),
        (example(prediction={"class_index": 0, "probability": 1.5}), "probability"),
        (example(prediction={"class_index": 0}), "missing key"),
    ],
)
def test_what_is_out_of_line_is_malformed(change: Change, rule: str) -> None:
    document = result_document()
    change(document)
    with pytest.raises(WorkerError) as caught:
        hear(frame(document))
    assert rule in caught.value.what


@pytest.mark.parametrize(
    ("value", "rule"), [(np.nan, "not finite"), (np.inf, "not finite"), (1.5, "beyond the widest")]
)
def test_coordinates_are_finite_and_small(value: float, rule: str) -> None:
    with pytest.raises(WorkerError, match=rule):
        hear(scan_bytes(embedded(components=np.full((4, 2), value, np.float32))))


def test_what_the_scan_shows_fits_the_channel() -> None:
    assert embedding.CLEAN + embedding.TRIGGERED <= schema.MAX_EMBEDDED
    assert embedding.COMPONENTS <= schema.MAX_COMPONENTS
    assert pictures.EXAMPLES <= schema.MAX_EXAMPLES
