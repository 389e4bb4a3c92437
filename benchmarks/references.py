"""Write the shipped references: the scores of the zoo's clean networks, and nothing else of them.

    python -m benchmarks.references FILE... [--out backdoor_gate/verdict/references_zoo.json]

Reads raw class vectors as `benchmarks.measure` writes them, of networks measured on clean images with the present
detector pack at its default settings. Clean networks count, all of them, also those that the limits block; a network
counts once. Reports use these to say where a model stands among networks of ours; a false-block rate they support for
nobody.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backdoor_gate.catalogue import COMPARABLE_PACKS, DETECTORS, PACK_VERSION, DetectorPlan
from backdoor_gate.records import Verdict
from backdoor_gate.verdict.references import KnownModel, References, known_scores, render, settings_by_name
from benchmarks.quality.figures import by_role
from benchmarks.quality.judging import FALSE_BLOCK_RATE, judged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.quality.judging import Judged

TARGET = Path(__file__).resolve().parents[1] / "backdoor_gate" / "verdict" / "references_zoo.json"


def references(lines: Iterable[dict[str, Any]]) -> References:
    """Return the clean networks among measured lines, by name; what could not be judged is no reference.

    Lines of another detector pack, or measured without clean images, are left out.
    """
    ours = [line for line in lines if line.get("detector_pack") in COMPARABLE_PACKS and line["accuracy"] is not None]
    clean, _ = by_role([judged(line) for line in ours])
    by_name = {network.line["name"]: network for network in clean if network.decision.verdict in _JUDGED}
    plans = [DetectorPlan(spec.name, spec.required, spec.defaults()) for spec in DETECTORS]
    return References(
        detectors=settings_by_name(plans),
        data="clean",
        false_block_rate=FALSE_BLOCK_RATE,
        models=tuple(_reference(by_name[name]) for name in sorted(by_name)),
    )


_JUDGED = {Verdict.PASS, Verdict.BLOCK}


def _reference(network: Judged) -> KnownModel:
    name = network.line["name"]
    return KnownModel(
        name=name,
        # Weights stay out of the repository: a network of the zoo is known by its name, which fixes recipe and seed.
        digest=f"sha256:{hashlib.sha256(name.encode()).hexdigest()}",
        kind=network.subject.kind.model_copy(update={"architecture": network.line["network"]}),
        blocked=network.blocked,
        scores=known_scores(network.scores),
    )


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), default=TARGET, help="File to write.")
def main(files: tuple[Path, ...], out: Path) -> None:
    """Write the references of all lines of the files."""
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    found, left_out = references(lines), sum(line.get("detector_pack") not in COMPARABLE_PACKS for line in lines)
    out.write_bytes(render(found))
    print(f"{out}: {len(found.models)} clean networks, {found.blocked} of which the limits block")
    if left_out:
        print(f"{left_out} of {len(lines)} networks were measured with another detector pack than {PACK_VERSION}")


if __name__ == "__main__":
    main()
