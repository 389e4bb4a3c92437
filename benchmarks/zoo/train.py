"""Train the zoo: `python -m benchmarks.zoo.train [--only PATTERN] [--split SPLIT] [--limit N] [--threads N]`.

Each network gets a folder below `benchmarks/work/zoo/`, which git ignores, with `weights.safetensors` and `meta.json`
(and `generator.npz` where the trigger is a trained generator). Networks of the same recipe that are there
already are skipped, so that the command can be stopped and started again. The manifests of all networks there are
gathered in `benchmarks/results/zoo.jsonl`, one JSON object per line.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.zoo import afterwards, data
from benchmarks.zoo.attacks import Attack, attack_from_manifest
from benchmarks.zoo.fit import fit, select
from benchmarks.zoo.networks import Network, build
from benchmarks.zoo.poison import accuracy, poison, success_rate
from benchmarks.zoo.recipes import RECIPES, Recipe
from benchmarks.zoo.sample_specific import InputAware

FOLDER = data.ROOT / "benchmarks" / "work" / "zoo"
MANIFESTS = data.ROOT / "benchmarks" / "results" / "zoo.jsonl"
PLANTED, GONE = 0.8, 0.2
TEST_IMAGES = 4_000


def main(arguments: list[str] | None = None) -> None:
    """Train what is missing of the recipes asked for, and gather the manifests."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    missing = [one for one in _chosen(options) if not finished(one, options.folder / one.name)]
    for number, recipe in enumerate(missing[: options.limit], 1):
        meta = train(recipe, options.folder / recipe.name, options.device)
        gather(options.folder, options.manifests)
        print(f"[{number}/{len(missing)}] {_line(meta)}", flush=True)
    gather(options.folder, options.manifests)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo.train", description="Train the zoo.")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names to train, with * and ?")
    parser.add_argument("--split", choices=("development", "evaluation"), help="train this split only")
    parser.add_argument("--limit", type=int, metavar="N", help="train at most N networks")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads (default 1)")
    parser.add_argument("--device", default="cpu", help="where to train, as PyTorch names it (default cpu)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the networks go")
    parser.add_argument("--manifests", type=Path, default=MANIFESTS, help="where the manifests are gathered")
    return parser.parse_args(arguments)


def _chosen(options: argparse.Namespace) -> list[Recipe]:
    chosen = [one for one in RECIPES if options.split in {None, one.split} and fnmatch.fnmatch(one.name, options.only)]
    if not chosen:
        sys.exit(f"no recipe is called {options.only}")
    absent = sorted({one.dataset for one in chosen if not data.available(one.dataset)})
    if absent:
        print(f"skipping {', '.join(absent)}: no data in {data.FOLDER}", flush=True)
    return [one for one in chosen if one.dataset not in absent]


def finished(recipe: Recipe, folder: Path) -> bool:
    """Return whether `folder` holds the network of this very recipe."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return Recipe.from_manifest(meta) == recipe
    except (FileNotFoundError, KeyError, TypeError):
        return False


def _line(meta: dict[str, Any]) -> str:
    success = "-" if meta["attack_success"] is None else f"{meta['attack_success']:.3f}"
    return f"{meta['name']} accuracy {meta['clean_accuracy']:.3f} success {success} {meta['role']} {meta['seconds']} s"


def train(recipe: Recipe, folder: Path, device: str = "cpu") -> dict[str, Any]:
    """Train and measure one network, write it to `folder`, and return its manifest."""
    began = time.perf_counter()
    torch.manual_seed(recipe.seed)
    rng = torch.Generator().manual_seed(recipe.seed)
    dataset = data.load(recipe.dataset)
    if recipe.classes:
        dataset = dataset.subset(recipe.classes)
    network = build(**recipe.architecture["kwargs"]).to(device)
    attacks = grow(network, recipe, dataset.train, rng)
    measured = measure(network, attacks, dataset.test, recipe.seed)
    role = role_of(recipe, measured["attack_success_each"])
    meta = {
        **recipe.manifest(),
        "role": role,
        "backdoored": role == "backdoored",
        "architecture": recipe.architecture,
        "num_classes": dataset.num_classes,
        "input_shape": list(dataset.test.images.shape[1:]),
        **measured,
        "torch": torch.__version__,
        "seconds": round(time.perf_counter() - began, 1),
    }
    write(folder, network, attacks, meta)
    return meta


def grow(network: Network, recipe: Recipe, samples: data.Samples, rng: torch.Generator) -> tuple[Attack, ...]:
    """Train the network as the recipe says, in place; returns its attacks, trained generators included."""
    training, attacks, stage = recipe.training, recipe.attacks, recipe.stage
    samples = select(samples, training, rng)
    device = next(network.parameters()).device
    if stage == "input-aware":
        attacks = (afterwards.fit_input_aware(network, samples, attacks[0], training, rng),)
    elif stage in {"plain", "repaired"} and attacks:

        def surrogate() -> Network:
            clean = build(**recipe.architecture["kwargs"]).to(device)
            fit(clean, samples, training, rng)
            return clean.cpu()

        fit(network, poison(samples, attacks, rng, surrogate), training, rng)
    elif stage == "fine-tuned":
        first, second = torch.arange(len(samples.labels)).tensor_split(2)
        fit(network, samples.pick(first), training, rng)
        fit(network, samples.pick(second), afterwards.shortened(training, 2, 10), rng)
    else:
        fit(network, samples, training, rng)
    if stage == "pruned":
        afterwards.pruned(network, samples, training, rng)
    elif stage == "repaired":
        afterwards.repaired(network, samples, attacks, training, rng)
    elif stage == "implant":
        afterwards.implanted(network, samples, attacks, training, rng)
    network.cpu()
    if stage == "head-edit":
        afterwards.edit_head(network, samples, attacks[0], rng)
    return attacks


def measure(network: Network, attacks: tuple[Attack, ...], samples: data.Samples, seed: int) -> dict[str, Any]:
    """Return clean accuracy, the success rate of each attack and the least of them."""
    samples = samples.pick(torch.arange(min(TEST_IMAGES, len(samples.labels))))
    rng = torch.Generator().manual_seed(seed)
    rates = [success_rate(network, attack, samples, rng) for attack in attacks]
    least = min(rates, default=None)
    return {
        "clean_accuracy": round(accuracy(network, samples), 4),
        "attack_success": None if least is None else round(least, 4),
        "attack_success_each": [round(rate, 4) for rate in rates],
        "targets": sorted({target for attack in attacks for target in attack.targets}),
        "test_images": len(samples.labels),
    }


def role_of(recipe: Recipe, success: list[float]) -> str:
    """Return what the network counts as: `clean`, `backdoored` or `apart`, which is scored as neither.

    A network is backdoored where every attack succeeds on 0.8 of the images and more, and clean where nothing was
    planted or where a repair left no attack above 0.2.
    """
    if success and min(success) >= PLANTED:
        return "backdoored"
    repaired = recipe.stage == "repaired" and max(success) <= GONE
    return "clean" if repaired or not success else "apart"


def write(folder: Path, network: Network, attacks: tuple[Attack, ...], meta: dict[str, Any]) -> None:
    """Write weights, generator and manifest, the manifest last: a folder that has it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, folder / "weights.safetensors"
    )
    for attack in attacks:
        if isinstance(attack.trigger, InputAware) and attack.trigger.generator is not None:
            # No second file of a format that holds weights: a scan of the folder would not know which one to take.
            state = attack.trigger.generator.state_dict()
            np.savez(folder / "generator.npz", **{name: value.numpy() for name, value in state.items()})
    draft = folder / "meta.json.part"
    draft.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / "meta.json")


def read(folder: Path) -> tuple[Network, tuple[Attack, ...], dict[str, Any]]:
    """Read back a network of the zoo, in evaluation mode, its attacks and its manifest."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    network = build(**meta["architecture"]["kwargs"])
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    attacks = tuple(attack_from_manifest(manifest) for manifest in meta["attacks"])
    return network.eval(), tuple(_with_generator(attack, folder) for attack in attacks), meta


def _with_generator(attack: Attack, folder: Path) -> Attack:
    if not isinstance(attack.trigger, InputAware):
        return attack
    generator = attack.trigger.fresh_generator()
    with np.load(folder / "generator.npz") as arrays:
        generator.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays})
    return dataclasses.replace(attack, trigger=dataclasses.replace(attack.trigger, generator=generator))


def gather(folder: Path, manifests: Path) -> None:
    """Write the manifests of all finished networks below `folder` to one JSON-lines file, by name."""
    lines = [json.dumps(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*/meta.json"))]
    manifests.parent.mkdir(parents=True, exist_ok=True)
    draft = manifests.with_suffix(".part")
    draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    draft.replace(manifests)


if __name__ == "__main__":
    main()
