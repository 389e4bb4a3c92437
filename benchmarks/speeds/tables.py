"""The figures of the speed benchmark as a document."""

from __future__ import annotations

from typing import Any

from benchmarks.circumstances import told

Figures = dict[str, Any]


def markdown(kept: dict[str, Figures]) -> str:
    """Return all parts, each with the circumstances of its own run."""
    lines = ["# Speed", "", "Written by `python -m benchmarks.speed`; the figures behind it are in `speed.json`."]
    lines += ["CPU: images per second of processor time, all cores together. Wall: per second of the clock."]
    for name, figures in kept.items():
        lines += ["", f"## {name}", "", told(figures["circumstances"]), ""]
        lines += [figures["skipped"]] if "skipped" in figures else _WRITERS[name.split()[0]](figures)
    return "\n".join(lines) + "\n"


def table(head: list[str], rows: list[list[object]]) -> list[str]:
    """Return a Markdown table."""
    lines: list[list[Any]] = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, cells))} |" for cells in lines]


def _options(figures: Figures) -> list[str]:
    rates, gains = figures["images_per_second"], figures["gain_over_the_one_before"]
    rows = [[name, r["per_cpu_second"], r["per_second"], gains.get(name, "–")] for name, r in rates.items()]
    title = f"{figures['network']}, {figures['batch']} images at once."
    return [title, "", *table(["one setting more each time", "CPU", "wall", "gain (CPU)"], rows)]


def _details(figures: Figures) -> list[str]:
    return table(["what", "CPU ms"], [[name, value] for name, value in figures["cpu_milliseconds"].items()])


def _efficiency(figures: Figures) -> list[str]:
    rows = [[name, r["per_cpu_second"], r["per_second"]] for name, r in figures["images_per_second"].items()]
    found = [
        [name, figures["arms_at_once"][name], *ratio.values(), figures["of_any_precision"][name]["per_cpu_second"]]
        for name, ratio in figures["efficiency"].items()
    ]
    title = f"{figures['network']}, {figures['threads']} threads."
    head = [
        "family",
        "arms at once",
        "of the bare network in float32, CPU",
        "of the bare network in float32, wall",
        "efficiency: of the bare network in any precision, CPU",
    ]
    return [title, "", *table(head, found), "", *table(["loop", "CPU", "wall"], rows)]


def _memory(figures: Figures) -> list[str]:
    bare = figures["bytes"]["bare"]
    rows: list[list[object]] = [["bare network", round(bare["peak"] / 2**20), "1", "1"]]
    rows += [
        [name, round(figures["bytes"][name]["peak"] / 2**20), ratio, figures["ratio_above_the_start"][name]]
        for name, ratio in figures["ratio_of_peaks"].items()
    ]
    head = ["loop", "peak MiB", "ratio", "ratio above what is in use before the first pass"]
    return [f"{figures['network']}, {bare['batch']} images at once.", "", *table(head, rows)]


def _growth(figures: Figures) -> list[str]:
    units = {
        "classes": ("classes", "relative_to_10_classes"),
        "image_size": ("size", "cpu_microseconds_per_class_and_pixel"),
        "network_width": ("width", "passes"),
    }
    lines = [f"Patch inversion of every class, {figures['steps']} steps of {figures['images']} images."]
    for curve, (key, extra) in units.items():
        rows = [[r[key], r["cpu_milliseconds_per_class"], r["wall_seconds"], r[extra]] for r in figures[curve]]
        lines += ["", *table([key, "CPU ms a class", "wall s in all", extra.replace("_", " ")], rows)]
    if figures["whole_scans"]:
        head = ["network", "classes", "CPU s", "wall s", "CPU ms a class", "relative to 10 classes"]
        rows = [list(row.values()) for row in figures["whole_scans"]]
        lines += ["", "Whole scans by the default policy:", "", *table(head, rows)]
    arms = ", ".join(f"{count}: {found}" for count, found in figures["pair_arms_per_class"].items())
    return [*lines, "", f"Arms of the pair detectors a class, by the number of classes: {arms}."]


def _trained(figures: Figures) -> list[str]:
    head = ["network", "classes", "CPU s", "wall s", "CPU ms a class"]
    rows = [list(row.values()) for row in figures["whole_scans"]]
    return [f"Whole scans of trained networks, {figures['threads']} threads.", "", *table(head, rows)]


def _start(figures: Figures) -> list[str]:
    rows = [[name, seconds["cpu"], seconds["wall"]] for name, seconds in figures["seconds"].items()]
    beyond = f"A scan beyond importing torch: {figures['scan_beyond_import_of_torch']} s."
    return [*table(["command", "CPU s", "wall s"], rows), "", beyond]


def _scan(figures: Figures) -> list[str]:
    done = figures.get("done", {})
    rows = []
    for name, planned in figures["passes"].items():
        own = done.get("detectors", {}).get(name, {})
        rows.append(
            [name, *planned.values(), own.get("passes", "–"), own.get("wall_seconds", "–"), own.get("status", "–")]
        )
    total = figures["passes_in_all"]
    result = figures["told"]
    lines = [
        f"{figures['network']}, {figures['threads']} threads.",
        "",
        *table(["detector", "leading passes", "evidence passes", "passes done", "wall s", "status"], rows),
        "",
        f"In all {total['leading']} leading and {total['evidence']} evidence passes; from the measured rates",
        f"{result['cpu_seconds']} s of CPU, {result['wall_seconds']} s of wall.",
    ]
    if done:
        lines += [f"Done: {done['cpu_seconds']} s of CPU, {done['wall_seconds']} s of wall."]
    if "time_left" in done:
        errors = done["time_left"]
        lines += ["", "How much too long the whole scan was told, from the time left after each tenth of it:", ""]
        lines += table(list(errors), [[f"{error:+.0%}" for error in errors.values()]])
    return lines


def _elsewhere(figures: Figures) -> list[str]:
    title = f"{figures['network']}, untrained, the default detectors, {figures['passes']} passes."
    lines = [title, f"{figures['operators']} operators, {figures['waits']} waits for the device."]
    return [*lines, "", *table(["waits of", "times"], [[*row] for row in figures["waits_by_operator"].items()])]


def _precision(figures: Figures) -> list[str]:
    rows = [
        [what, *figures[key].values()]
        for what, key in (("bfloat16 for float32", "by_precision"), ("another seed", "by_seed"))
    ]
    return table(["change of a class's value, as absolute log ratio", "median", "ninth decile", "largest"], rows)


_WRITERS = {
    "options": _options,
    "details": _details,
    "efficiency": _efficiency,
    "memory": _memory,
    "growth": _growth,
    "trained": _trained,
    "start": _start,
    "scan": _scan,
    "elsewhere": _elsewhere,
    "precision": _precision,
}
