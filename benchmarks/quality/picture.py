"""The ROC of the whole decision's score, as a figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path


def draw_roc(found: dict[str, Any], title: str, path: Path) -> None:
    """Write the curve as SVG; the same figures give the same file."""
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.step([x for x, _, _ in found["roc"]], [y for _, y, _ in found["roc"]], where="post")
    axes.set(
        xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="clean networks beyond", ylabel="backdoored networks beyond",
        title=f"{title}: AUROC {found['auroc']:.3f}",
    )  # fmt: skip
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "backdoor-gate"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n", encoding="utf-8")
