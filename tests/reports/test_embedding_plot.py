"""Figures of the network's inside: every image a dot, the same bytes each time, whatever the worker may send."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from samples import embedding, passed

from backdoor_gate.illustrations import Embedding
from backdoor_gate.reports import html
from backdoor_gate.reports.embedding_plot import caption, embedding_plots, tsne


def small(components: np.ndarray, triggered: int = 2) -> Embedding:
    count = len(components)
    labels = tuple(k % 2 for k in range(count - triggered))
    flags = (False,) * (count - triggered) + (True,) * triggered
    shares = (1.0,) * components.shape[1]
    return Embedding(components.astype(np.float32), shares, labels + labels[:triggered], flags, True, "a", 1, None)


def test_every_image_is_drawn() -> None:
    for plot in embedding_plots(embedding()):
        root = ET.fromstring(plot.svg)
        dots = [e.get("class") or e.get("href") for e in root.iter("use")]
        assert len(dots) == 220 + 3  # the legend's
        assert {e.text for e in root.iter("text")} >= {*"0123456789", "clean, class 4", "with the trigger"}


def test_the_caption_names_the_trigger_and_the_layer() -> None:
    assert "the trigger of 9→4 that pair_patch found" in caption(embedding())
    assert "the input of the final linear layer" in caption(embedding())
    bare = replace(embedding(source=None), penultimate=False)
    assert "the trigger of class 4" in caption(bare)
    assert "the logits, for want of a final layer" in caption(bare)


def test_the_words_tell_how_far_the_trigger_moves_images() -> None:
    places = np.zeros((8, 2))
    places[1:6:2, 0] = 0.5  # class 1
    places[6:, 1] = 0.25
    places[7, 0] = 0.5
    words = embedding_plots(small(places))[0].words
    assert "by 50% of the usual distance" in words
    assert "100% of it the same way for all 2 images" in words


def test_the_same_embedding_gives_the_same_bytes() -> None:
    assert embedding_plots(embedding()) == embedding_plots(embedding())


def test_tsne_keeps_clusters_together() -> None:
    found = embedding()
    places, labels = tsne(found.components)[:200], np.array(found.labels[:200])
    inner = np.mean([places[labels == k].std(axis=0).max() for k in range(10)])
    assert inner < 0.2 * places.std(axis=0).min()


@pytest.mark.parametrize("places", [np.zeros((40, 2)), np.ones((6, 3)), np.eye(12)[:, :2]])
def test_poor_embeddings_do_not_cost_the_report(places: np.ndarray) -> None:
    plots = embedding_plots(small(places))
    assert plots
    assert not any(re.search(r"\bnan\b|\binf\b", plot.svg) for plot in plots)


def test_without_an_embedding_there_is_no_section() -> None:
    assert 'id="within"' not in html.render(passed())
    audit = passed()
    assert 'id="within"' in html.render(replace(audit, scan=replace(audit.scan, embedding=embedding())))
