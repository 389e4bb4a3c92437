"""Where clean and triggered images lie within the network: by principal components, and by t-SNE of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backdoor_gate.reports.drawing import Plot, canvas, svg
from backdoor_gate.reports.rows import Way
from backdoor_gate.reports.svg import COLOURS
from backdoor_gate.reports.text import clean
from backdoor_gate.reports.tsne import embed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from backdoor_gate.illustrations import Embedding

_SIZE = (4.5, 3.6)
_LABELLED_CLASSES = 20
_FEWEST = 10
"""Images below which t-SNE has no neighbourhoods to keep."""
_PERPLEXITY = 30


def embedding_plots(embedding: Embedding) -> tuple[Plot, ...]:
    """Return the figures of an embedding, each with its caption; the same embedding, the same bytes."""
    first, second = (f"{share:.0%}" for share in embedding.shares[:2])
    axes = (f"first component, {first} of the variance", f"second component, {second}")
    found = [_plot(embedding, embedding.components[:, :2], "pca", axes, f"Principal components. {_words(embedding)}")]
    neighbours = tsne(embedding.components)
    if neighbours is not None:
        words = "t-SNE of the same images: what is close stays close; distances between groups say nothing."
        found.append(_plot(embedding, neighbours, "tsne", ("", ""), words))
    return tuple(found)


def tsne(components: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Return places (N, 2) that keep neighbours together; None for too few images, or where they do not differ."""
    count = len(components)
    if count < _FEWEST or components.shape[1] < 2 or not float(np.ptp(components[:, 0])) > 0:
        return None
    with np.errstate(all="ignore"):  # what is not finite is left out below
        places = embed(components, min(_PERPLEXITY, (count - 1) / 3))
    return places if np.isfinite(places).all() else None


def _plot(embedding: Embedding, places: NDArray[np.floating], name: str, axes: tuple[str, str], words: str) -> Plot:
    with canvas(*_SIZE) as figure:
        _draw(figure.add_subplot(), embedding, places, axes)
        _legend(figure, embedding)
        return Plot(svg(figure, f"embedding-{name}"), words)


def _draw(axes: Axes, embedding: Embedding, places: NDArray[np.floating], titles: tuple[str, str]) -> None:
    labels, triggered = np.array(embedding.labels), np.array(embedding.triggered)
    kinds = (
        (~triggered & (labels != embedding.target), "o", "muted", 3.0),
        (~triggered & (labels == embedding.target), "o", "bar", 5.0),
        (triggered, "^", "suspect", 4.5),
    )
    for chosen, marker, colour, size in kinds:
        axes.plot(*places[chosen].T, marker, color=COLOURS[colour], markersize=size, markeredgewidth=0)
    shown = np.unique(labels[~triggered])
    for k in shown if len(shown) <= _LABELLED_CLASSES else ():
        x, y = np.median(places[~triggered & (labels == k)], axis=0)
        axes.annotate(
            str(k), (x, y), xytext=(0, 6), textcoords="offset points", ha="center", va="bottom", fontweight="bold"
        )
    axes.margins(0.08)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(titles[0])
    axes.set_ylabel(titles[1])


def _legend(figure: Figure, embedding: Embedding) -> None:
    kinds = (
        ("o", "muted", "clean"),
        ("o", "bar", f"clean, class {embedding.target}"),
        ("^", "suspect", "with the trigger"),
    )
    (axes,) = figure.axes
    handles = [
        axes.plot([], [], marker, color=COLOURS[colour], markersize=5, markeredgewidth=0, label=label)[0]
        for marker, colour, label in kinds
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, handletextpad=0.1)


def _words(embedding: Embedding) -> str:
    """Say in numbers what the figure shows: how far the trigger moves images, and whether all of them the same way."""
    labels, triggered = np.array(embedding.labels), np.array(embedding.triggered)
    places = embedding.components.astype(np.float64)
    shifts = places[triggered] - places[: triggered.sum()]
    centres = np.array([places[~triggered & (labels == k)].mean(axis=0) for k in np.unique(labels[~triggered])])
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(len(centres), 1)]
    length = float(np.linalg.norm(shifts, axis=1).mean())
    if not length or not len(apart) or not np.median(apart):
        return "The trigger moves no image."
    common = float(np.linalg.norm(shifts.mean(axis=0))) / length
    return (
        f"The trigger moves an image by {length / float(np.median(apart)):.0%} of the usual distance between the "
        f"centres of two classes, {common:.0%} of it the same way for all {len(shifts)} images."
    )


def caption(embedding: Embedding) -> str:
    """Return what the figures show, and of which trigger."""
    where = "the input of the final linear layer" if embedding.penultimate else "the logits, for want of a final layer"
    way = Way(embedding.source, embedding.target)
    return (
        f"Held-out images within the network ({where}), and some of them with the trigger of {way.words} that "
        f"{clean(embedding.detector)} found: of all triggers the one furthest below its detector's median strength."
    )
