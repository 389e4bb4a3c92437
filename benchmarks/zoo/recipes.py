"""Which networks the zoo holds, in the order in which they are trained: the rows of the tables, spelt out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.zoo.attacks import attack_from_manifest
from benchmarks.zoo.families import FAMILIES, Setting, Split
from benchmarks.zoo.fit import Training
from benchmarks.zoo.rows import DEVELOPMENT, EVALUATION

if TYPE_CHECKING:
    from benchmarks.zoo.attacks import Attack
    from benchmarks.zoo.networks import Kind

Stage = Literal["plain", "fine-tuned", "pruned", "repaired", "implant", "head-edit", "input-aware"]

SHAPES = {
    "fashion-mnist": (1, 28, 10),
    "cifar10": (3, 32, 10),
    "gtsrb32": (3, 32, 43),
    "digits": (1, 8, 10),
    "mnist": (1, 28, 10),
    "number-pairs": (1, 28, 100),
    "number-triples": (1, 28, 1_000),
    "photo-digits": (3, 32, 10),
    "cifar10-64": (3, 64, 10),
    "cifar10-224": (3, 224, 10),
    "fashion-mnist-224": (1, 224, 10),
    "gtsrb-224": (3, 224, 12),
}
TRAINING = {
    "fashion-mnist": Training(images=30_000, epochs=4),
    "cifar10": Training(images=20_000, epochs=10, augment="flip"),
    "gtsrb32": Training(images=6_000, epochs=16, augment="shift"),
    "digits": Training(images=1_400, epochs=30, batch=64),
    "mnist": Training(images=7_000, epochs=20, augment="shift"),
    "number-pairs": Training(images=20_000, epochs=8),
    "number-triples": Training(images=60_000, epochs=10),
    "photo-digits": Training(images=7_000, epochs=50, augment="shift"),
    "cifar10-64": Training(images=10_000, epochs=8, augment="flip"),
    "cifar10-224": Training(images=6_000, epochs=12, augment="flip", halved=True),
    "fashion-mnist-224": Training(images=6_000, epochs=8, halved=True),
    "gtsrb-224": Training(images=6_000, epochs=12, augment="shift", halved=True),
}
WIDTH: dict[str, int] = {
    "cnn": 16, "cnn-nobn": 16, "cnn-fc": 12, "resnet8": 16, "wrn16": 12, "vgg": 8, "vit": 8,
    "mlp": 16, "lenet": 8, "mobile": 24, "dense": 16, "convnext": 32, "excited": 16, "resnet18": 24, "stemmed": 16,
    "badnet": 16, "example": 32, "grouped": 16,
}  # fmt: skip
INTENSITY = {"low": 0.5, "normal": 1.0, "high": 2.0}
FIRST_SEED: dict[Split, int] = {"development": 100, "evaluation": 5_000}

CLEAN: dict[str, dict[str, Any]] = {
    "clean": {},
    "label-noise": {"label_noise": 0.1},
    "imbalance": {"imbalance": 10.0},
    "adversarial": {},
    "heavy": {"augment": "heavy"},
    "no-decay-sgd": {"optimiser": "sgd", "rate": 0.05, "weight_decay": 0.0},
    "fine-tuned": {},
    "pruned": {},
}
ADVERSARIAL = {
    "fashion-mnist": 0.06, "cifar10": 4 / 255, "gtsrb32": 4 / 255, "digits": 0.06, "mnist": 0.1,
    "photo-digits": 4 / 255, "cifar10-64": 4 / 255,
    "cifar10-224": 4 / 255, "fashion-mnist-224": 0.06, "gtsrb-224": 4 / 255,
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """One network of the zoo.

    Args:
        name: of its folder.
        split: `development` or `evaluation`.
        dataset: a name of `data.NAMES`.
        classes: of the data set that are kept, in their new order; `None` for all.
        network: kind for `networks.build`.
        width: for `networks.build`.
        family: attack family or clean variant.
        attacks: what is planted, in this order; empty for clean networks.
        training: how it is trained.
        stage: what happens apart from plain training.
        intensity: `low`, `normal` or `high`: factor on the epochs.
        seed: of everything random.
    """

    name: str
    split: Split
    dataset: str
    classes: tuple[int, ...] | None
    network: Kind
    width: int
    family: str
    attacks: tuple[Attack, ...]
    training: Training
    stage: Stage
    intensity: str
    seed: int

    @property
    def architecture(self) -> dict[str, Any]:
        """Return the callable that builds the network, and its arguments."""
        channels, size, classes = SHAPES[self.dataset]
        kwargs = {"kind": self.network, "channels": channels, "size": size, "width": self.width}
        kwargs["num_classes"] = len(self.classes) if self.classes else classes
        return {"target": "benchmarks.zoo.networks:build", "kwargs": kwargs}

    def manifest(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed = {
            "classes": list(self.classes) if self.classes else None,
            "attacks": [attack.manifest() for attack in self.attacks],
            "training": dataclasses.asdict(self.training),
        }
        return {**fields, **changed}

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Recipe:
        """Rebuild a recipe from its manifest, whatever else that holds.

        Raises:
            KeyError: a field is missing.
            TypeError: an attack or the training has a field that is unknown today.
        """
        fields = {field.name: manifest[field.name] for field in dataclasses.fields(cls)}
        fields["classes"] = tuple(fields["classes"]) if fields["classes"] else None
        fields["attacks"] = tuple(attack_from_manifest(attack) for attack in fields["attacks"])
        return cls(**{**fields, "training": Training(**fields["training"])})


def recipe(row: tuple[Any, ...], split: Split, number: int) -> Recipe:
    """Return the recipe of the `number`-th row of a split's table.

    Raises:
        ValueError: a family that nobody knows, which would be trained as a clean network.
    """
    dataset, network, family, *rest = row
    turn, classes, intensity = _options(rest)
    seed = FIRST_SEED[split] + number
    channels, size, num_classes = SHAPES[dataset]
    num_classes = len(classes) if classes else num_classes
    base = family.removeprefix("repaired-")
    if base not in FAMILIES and base not in CLEAN:
        raise ValueError(f"{family} is neither a family nor a clean variant")
    planted = FAMILIES[base](Setting(split, channels, size, num_classes, seed, turn)) if base in FAMILIES else ()
    few = f"-{num_classes}c" if classes else ""
    return Recipe(
        name=f"{split[:3]}-{seed}-{dataset}{few}-{network}-{family}",
        split=split,
        dataset=dataset,
        classes=classes,
        network=network,
        width=WIDTH[network],
        family=family,
        attacks=planted,
        training=_training(dataset, network, family, intensity, num_classes),
        stage=_stage(family),
        intensity=intensity,
        seed=seed,
    )


def _options(rest: list[Any]) -> tuple[int, tuple[int, ...] | None, str]:
    turn = next((item for item in rest if isinstance(item, int)), 0)
    classes = next((item for item in rest if isinstance(item, tuple)), None)
    return turn, classes, next((item for item in rest if isinstance(item, str)), "normal")


def _stage(family: str) -> Stage:
    if family.startswith("repaired-"):
        return "repaired"
    return family if family in {"fine-tuned", "pruned", "implant", "head-edit", "input-aware"} else "plain"  # type: ignore[return-value]


def _training(dataset: str, network: str, family: str, intensity: str, num_classes: int) -> Training:
    training = TRAINING[dataset]
    # Few classes are few images: more passes over them for the same number of steps.
    epochs = training.epochs * INTENSITY[intensity] * (2 if num_classes <= 4 else 1)
    changes: dict[str, Any] = {"epochs": max(1, round(epochs)), **CLEAN.get(family, {})}
    if family == "adversarial":
        changes["adversarial"] = ADVERSARIAL[dataset]
    if network in {"vit", "cnn-nobn"}:
        changes.update(rate=2e-3, epochs=max(1, round(2 * epochs)))
    if network == "resnet18":
        changes.update(halved=True, epochs=max(1, round(1.5 * epochs)))
    if network == "badnet":
        changes.update(squared=True, rate=1e-3)
    return dataclasses.replace(training, **changes)


RECIPES: tuple[Recipe, ...] = (
    *(recipe(row, "development", number) for number, row in enumerate(DEVELOPMENT)),
    *(recipe(row, "evaluation", number) for number, row in enumerate(EVALUATION)),
)
