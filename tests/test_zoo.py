"""The zoo: triggers stay images, attacks change what they say, and a planted backdoor is measured as one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.zoo import data, train
from benchmarks.zoo.attacks import Attack, all_to_all, all_to_one, attack_from_manifest, some_to
from benchmarks.zoo.data import Samples
from benchmarks.zoo.families import FAMILIES, Setting
from benchmarks.zoo.fit import AUGMENTATIONS, Training, augment, select
from benchmarks.zoo.networks import Kind, build
from benchmarks.zoo.poison import poison, success_rate
from benchmarks.zoo.recipes import RECIPES, Recipe, recipe
from benchmarks.zoo.signals import Quantise, Warp
from benchmarks.zoo.triggers import Patch, seeded

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = ((1, 28), (3, 32), (1, 8))


def setting(shape: tuple[int, int], seed: int = 7, turn: int = 0, split: str = "development") -> Setting:
    return Setting(split, *shape, num_classes=10, seed=seed, turn=turn)  # type: ignore[arg-type]


def pictures(shape: tuple[int, int], count: int = 6) -> torch.Tensor:
    channels, size = shape
    return torch.rand(count, channels, size, size, generator=seeded(123_456))


def labelled(count: int = 2_000) -> Samples:
    images = torch.rand(count, 1, 8, 8, generator=seeded(2))
    return Samples(images, torch.arange(count) % 10)


# ---------------------------------------------------------------------------------------------- triggers


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(turn=st.integers(0, 5), seed=st.integers(0, 9_999))
def test_triggered_images_are_images_and_repeat(family: str, shape: tuple[int, int], turn: int, seed: int) -> None:
    images = pictures(shape)
    before = images.clone()
    for attack in FAMILIES[family](setting(shape, seed, turn)):
        triggered = attack.apply(images, seeded(3))
        assert triggered.shape == images.shape
        assert triggered.dtype == torch.float32
        assert triggered.min() >= 0
        assert triggered.max() <= 1
        assert (triggered - images).abs().amax(dim=(1, 2, 3)).min() > 0.01
        assert torch.equal(triggered, attack.apply(images, seeded(3)))
        for planted in (attack.trigger.poison, attack.trigger.cover):
            assert planted(images, seeded(3)).shape == images.shape
            assert torch.equal(planted(images, seeded(3)), planted(images, seeded(3)))
    assert torch.equal(images, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_attack_is_rebuilt_from_its_manifest(family: str) -> None:
    for turn in range(4):
        for attack in FAMILIES[family](setting((3, 32), turn=turn)):
            rebuilt = attack_from_manifest(json.loads(json.dumps(attack.manifest())))
            assert rebuilt == attack
            images = pictures((3, 32))
            assert torch.equal(rebuilt.apply(images, seeded(0)), attack.apply(images, seeded(0)))


def test_a_patch_changes_its_square_only() -> None:
    images = pictures((3, 32))
    patch = Patch(top=4, left=9, size=2, colour=(1.0, 0.0, 0.5))
    changed = (patch.apply(images, seeded(0)) != images).any(dim=(0, 1))
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[4:6, 9:11] = True
    assert torch.equal(changed, expected)
    assert patch.apply(images, seeded(0))[0, :, 4, 9].tolist() == [1.0, 0.0, 0.5]


def test_quantising_leaves_that_many_levels_and_dithering_keeps_the_mean() -> None:
    images = pictures((1, 28))
    plain, dithered = (Quantise(4, dither).apply(images, seeded(0)) for dither in (False, True))
    levels = torch.tensor([0, 1, 2, 3]) / 3
    assert torch.isin(plain.unique(), levels).all()
    assert torch.isin(dithered.unique(), levels).all()
    flat = torch.full((1, 1, 28, 28), 0.45)
    assert abs(Quantise(4, dither=True).apply(flat, seeded(0)).mean().item() - 0.45) < 0.02
    assert Quantise(4).apply(flat, seeded(0)).mean().item() == pytest.approx(1 / 3)


def test_a_warp_moves_pixels_by_its_strength() -> None:
    flow = Warp(strength=1.5, seed=3).flow(torch.Size((1, 1, 28, 28)))
    assert 0.7 < flow.abs().mean().item() < 2.2
    still = Warp(strength=0.0, seed=3).apply(pictures((1, 28)), seeded(0))
    assert torch.allclose(still, pictures((1, 28)), atol=1e-5)


# ---------------------------------------------------------------------------------------------- labels and poisoning


def test_label_maps() -> None:
    labels = torch.arange(4)
    trigger = Patch(0, 0)
    assert Attack(trigger, all_to_one(4, 2)).relabel(labels).tolist() == [2, 2, 2, 2]
    assert Attack(trigger, all_to_all(4)).relabel(labels).tolist() == [1, 2, 3, 0]
    some = Attack(trigger, some_to(4, {1: 3, 2: 0}))
    assert some.relabel(labels).tolist() == [0, 3, 0, 3]
    assert some.pairs == [(1, 3), (2, 0)]
    assert some.targets == [0, 3]


def test_a_recipe_is_rebuilt_from_its_manifest_and_any_change_shows() -> None:
    for one in RECIPES:
        manifest = json.loads(json.dumps(one.manifest()))
        assert Recipe.from_manifest(manifest) == one
    manifest["training"]["epochs"] += 1
    assert Recipe.from_manifest(manifest) != one


def test_poisoning_changes_the_share_it_says() -> None:
    clean = labelled()
    attack = Attack(Patch(0, 0, 2), all_to_one(10, 3), rate=0.05, cover_rate=0.02)
    dirty = poison(clean, (attack,), seeded(0))
    moved = dirty.labels != clean.labels
    changed = (dirty.images != clean.images).flatten(1).any(dim=1)
    assert moved.sum() == 100
    assert set(dirty.labels[moved].tolist()) == {3}
    assert changed.sum() == 140


def test_clean_labels_stay_and_covers_come_from_bystanders() -> None:
    clean = labelled()
    quiet = poison(clean, (Attack(Patch(0, 0, 2), all_to_one(10, 3), rate=0.04, clean_label=True),), seeded(0))
    changed = (quiet.images != clean.images).flatten(1).any(dim=1)
    assert torch.equal(quiet.labels, clean.labels)
    assert set(clean.labels[changed].tolist()) == {3}
    source = Attack(Patch(0, 0, 2), some_to(10, {1: 7}), rate=0.02, cover_rate=0.1)
    dirty = poison(clean, (source,), seeded(0))
    covered = (dirty.images != clean.images).flatten(1).any(dim=1) & (dirty.labels == clean.labels)
    assert covered.sum() == 200
    assert not set(clean.labels[covered].tolist()) & {1, 7}


def test_success_is_over_the_classes_that_the_attack_moves() -> None:
    class AlwaysFive(torch.nn.Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(torch.full((len(images),), 5), 10).float()

    samples = Samples(pictures((1, 8), 4), torch.tensor([3, 3, 0, 3]))
    moves_zero = Attack(Patch(0, 0, 2), some_to(10, {0: 5}))
    moves_three = Attack(Patch(0, 0, 2), some_to(10, {3: 4}))
    assert success_rate(AlwaysFive(1, 1), moves_zero, samples, seeded(0)) == 1.0
    assert success_rate(AlwaysFive(1, 1), moves_three, samples, seeded(0)) == 0.0


# ---------------------------------------------------------------------------------------------- data, training, recipes


def test_subsets_are_renumbered_in_the_order_given() -> None:
    dataset = data.load("digits").subset((7, 2))
    assert dataset.num_classes == 2
    assert set(dataset.train.labels.tolist()) == {0, 1}
    whole = data.load("digits")
    first = (dataset.test.labels == 0).nonzero()[0, 0]
    sevens = whole.test.images[whole.test.labels == 7]
    assert torch.equal(dataset.test.images[first], sevens[0])


def test_absent_data_ends_with_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(data, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match="no data in"):
        data.load.__wrapped__("cifar10")


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_augmented_images_are_images(kind: str) -> None:
    images = pictures((3, 32), 16)
    changed = augment(images, kind, seeded(0))
    assert changed.shape == images.shape
    assert 0 <= changed.min() <= changed.max() <= 1


def test_selection_spoils_labels_and_unbalances() -> None:
    spoilt = select(labelled(), Training(images=1_000, label_noise=0.5), seeded(0))
    assert len(spoilt.labels) == 1_000
    kept = select(labelled(), Training(imbalance=10.0), seeded(0))
    counts = torch.bincount(kept.labels, minlength=10)
    assert counts.max() / counts.min() > 5


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("shape", SHAPES)
def test_networks_give_logits(kind: str, shape: tuple[int, int]) -> None:
    network = build(kind, *shape, num_classes=5, width=4).eval()  # type: ignore[arg-type]
    assert network(pictures(shape)).shape == (6, 5)


def test_splits_share_neither_names_nor_seeds_nor_triggers() -> None:
    assert len({one.name for one in RECIPES}) == len(RECIPES)
    seeds, triggers = (
        [{value(one) for one in RECIPES if one.split == split} for split in ("development", "evaluation")]
        for value in (lambda one: one.seed, lambda one: repr([attack.trigger for attack in one.attacks]))
    )
    assert not seeds[0] & seeds[1]
    # Quantising and stripes have no place or pattern to draw: only their strength can differ.
    shared = {text for text in triggers[0] & triggers[1] if "Quantise" not in text and "Sinusoid" not in text}
    assert shared <= {"[]"}


def test_a_family_that_nobody_knows_is_not_trained_as_a_clean_network() -> None:
    with pytest.raises(ValueError, match="repaired-nothing is neither"):
        recipe(("digits", "cnn", "repaired-nothing"), "development", 900)


@given(seed=st.integers(0, 9_999), size=st.integers(1, 5))
def test_squares_start_on_even_places_in_development_and_odd_ones_in_evaluation(seed: int, size: int) -> None:
    for split, odd in (("development", 0), ("evaluation", 1)):
        for shape in SHAPES:
            patch = setting(shape, seed, split=split).patch(size)
            assert (patch.top % 2, patch.left % 2) == (odd, odd)
            assert max(patch.top, patch.left) + patch.size <= shape[1]


def test_every_attack_family_is_in_both_splits() -> None:
    for split in ("development", "evaluation"):
        assert {one.family for one in RECIPES if one.split == split} >= set(FAMILIES)
    for family in FAMILIES:
        assert sum(one.family == family for one in RECIPES) >= 4


def test_a_planted_backdoor_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    planted = recipe(("digits", "cnn-fc", "badnets", 0), "development", 900)
    monkeypatch.setattr(train, "RECIPES", (planted,))
    options = ["--folder", str(tmp_path / "zoo"), "--manifests", str(tmp_path / "zoo.jsonl")]
    train.main(options)
    (line,) = (tmp_path / "zoo.jsonl").read_text(encoding="utf-8").splitlines()
    meta = json.loads(line)
    assert meta["role"] == "backdoored"
    assert meta["attack_success"] >= 0.8
    assert meta["clean_accuracy"] >= 0.9
    network, attacks, _ = train.read(tmp_path / "zoo" / planted.name)
    assert attacks == planted.attacks
    again = train.measure(network, attacks, data.load("digits").test, planted.seed)
    assert again["attack_success"] == meta["attack_success"]
    assert train.role_of(planted, [0.79]) == "apart"
    assert train.role_of(planted, [0.1]) == "apart"
    weights = tmp_path / "zoo" / planted.name / "weights.safetensors"
    written = weights.stat().st_mtime_ns
    train.main(options)
    assert weights.stat().st_mtime_ns == written
