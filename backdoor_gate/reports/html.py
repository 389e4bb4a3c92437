"""The report as one HTML file that needs nothing else: no network, no script, its styles known by their hash.

Every value in the template passes `text.clean`, then the escaping of jinja2. Only what this module makes itself (style
sheet, figures, pictures) goes in as markup.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from backdoor_gate.records import Suspicion, Verdict
from backdoor_gate.reports.advice import next_steps
from backdoor_gate.reports.cards import cards, claims
from backdoor_gate.reports.embedding_plot import caption, embedding_plots
from backdoor_gate.reports.provenance import facts, time
from backdoor_gate.reports.rows import Outcome, headline, points, subject
from backdoor_gate.reports.text import NAME_LIMIT, REASON_LIMIT, clean

if TYPE_CHECKING:
    from jinja2 import Template

    from backdoor_gate.records import AuditReport

OUTCOMES = {
    Outcome.BLOCKS: "blocks",
    Outcome.MISSING: "missing",
    Outcome.NOTED: "noted",
    Outcome.CLEAR: "clear",
    Outcome.SKIPPED: "skipped",
}
"""What the page calls the outcomes, which are also its class names."""

_SIGNS = {Verdict.PASS: "✓", Verdict.BLOCK: "✕", Verdict.INCONCLUSIVE: "?", Verdict.REFUSED: "⊘"}


def render(report: AuditReport) -> str:
    """Return the HTML document of one audit."""
    decision = report.decision
    embedding = report.scan.embedding if report.scan else None
    return _template().render(
        report=report,
        verdict=decision.verdict,
        sign=_SIGNS[decision.verdict],
        headline=headline(report),
        subject=clean(subject(report), NAME_LIMIT),
        reasons=points(report),
        steps=next_steps(decision.verdict, decision.reasons, weak=decision.suspicion is Suspicion.WEAK),
        cards=cards(report),
        outcomes=OUTCOMES,
        embedding=caption(embedding) if embedding else "",
        embedding_plots=[(Markup(plot.svg), plot.words) for plot in embedding_plots(embedding)] if embedding else [],  # noqa: S704
        claims=claims(report),
        facts=facts(report),
        scanned_at=time(report.scanned_at),
        expires_at=time(report.expires_at),
        style=Markup(_style()),  # noqa: S704 (our own file)
        style_hash=Markup(_hash(_style())),  # noqa: S704 (base64)
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read("report.html.j2"))


@cache
def _style() -> str:
    return _read("report.css")


def _read(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _shown(value: object) -> object:
    """Sanitise a value on its way into the page; markup of our own stays as it is."""
    return value if isinstance(value, Markup) else clean(str(value), REASON_LIMIT)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"
