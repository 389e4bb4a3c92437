"""Each finding on a really trained network whose inputs were broken on purpose; and none where they were not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from backdoor_gate.doctor.finding import Finding, Level
from backdoor_gate.doctor.images import compared, image_findings
from backdoor_gate.doctor.outputs import output_findings

if TYPE_CHECKING:
    from conftest import Bench

    from backdoor_gate.examination import Diagnosis


def findings(diagnosis: Diagnosis, max_unmeasured: float = 0.2) -> dict[str, Finding]:
    readings = compared(diagnosis)
    explained = readings is not None and readings.best is not readings.present
    found = (
        *image_findings(diagnosis, max_unmeasured, lambda key: f"policy.yaml: {key}"),
        *output_findings(diagnosis, explained=explained),
    )
    assert len({finding.kind for finding in found}) == len(found)
    return {finding.kind: finding for finding in found}


def problems(found: dict[str, Finding]) -> set[str]:
    return {kind for kind, finding in found.items() if finding.level is Level.PROBLEM}


def test_right_inputs_have_no_problem(bench: Bench) -> None:
    found = findings(bench.diagnosis())
    assert set(found) == {"accuracy", "outputs"}
    assert {finding.level for finding in found.values()} == {Level.OK}
    assert found["accuracy"].what.endswith("% of 500 clean images are right")


def test_right_floats_have_no_problem(bench: Bench) -> None:
    images, labels = bench.images()
    unit = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert problems(findings(bench.diagnosis(unit, labels))) == set()


@pytest.mark.parametrize("value", [300.0, -5.0, 1e9])
def test_images_that_are_all_alike_are_looked_at(bench: Bench, value: float) -> None:
    images, labels = bench.images()
    alike = np.full((len(images), images.shape[3], *images.shape[1:3]), value, np.float32)
    assert "accuracy" in problems(findings(bench.diagnosis(alike, labels)))


# ---------------------------------------------------------------------------------------------- preparation


def test_a_missing_normalisation(bench: Bench) -> None:
    found = findings(bench.diagnosis(mean=None, std=None))
    assert "normalisation" in problems(found)
    fix = found["normalisation"]
    assert fix.where == "policy.yaml: model.input.normalize"
    assert "with normalisation" in fix.what
    assert fix.hint.startswith("set normalize: {mean: [")


def test_a_doubled_normalisation(bench: Bench) -> None:
    images, labels = bench.images()
    parts = (bench.declared.mean, bench.declared.std)
    mean, std = (np.array(part, dtype=np.float32).reshape(1, 3, 1, 1) for part in parts)
    prepared = (images.transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / std
    again = {"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}  # ImageNet's, for 0 to 255
    found = findings(bench.diagnosis(prepared, labels, low=-3.0, high=6.0, **again))
    assert {"input-range", "normalisation"} & problems(found)
    fix = found.get("normalisation") or found["input-range"]
    assert "remove normalize" in fix.hint


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1.0, 1.0), (0.0, 1 / 255)])
def test_a_wrong_range(bench: Bench, low: float, high: float) -> None:
    found = findings(bench.diagnosis(low=low, high=high))
    assert "input-range" in problems(found)
    assert found["input-range"].hint == "set range: [0, 1]"


def test_float_images_outside_the_range(bench: Bench) -> None:
    images, labels = bench.images()
    found = findings(bench.diagnosis(images.transpose(0, 3, 1, 2).astype(np.float32), labels))
    assert "input-range" in problems(found)
    assert found["input-range"].hint == (
        "set range: [0, 255] and set normalize: {mean: [77.78, 114, 45.9], std: [95.88, 47.94, 40.29]}; "
        "about as good: set range: [0, 255] and set normalize: {mean: [78.13, 113.9, 45.19], "
        "std: [95.93, 48.02, 39.02]}; take what the network was trained with"
    )


def test_swapped_channels(bench: Bench) -> None:
    images, labels = bench.images()
    found = findings(bench.diagnosis(images[..., ::-1], labels))
    assert "channel-order" in problems(found)
    assert "images[..., ::-1]" in found["channel-order"].hint


# ---------------------------------------------------------------------------------------------- labels


def test_another_order_of_the_classes(bench: Bench) -> None:
    images, labels = bench.images()
    order = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
    found = findings(bench.diagnosis(images, order[labels]))
    assert problems(found) == {"class-order", "accuracy"}
    assert found["class-order"].hint == (
        "renumber the labels: 0 to 9, 1 to 0, 2 to 1, 3 to 2, 4 to 3, 5 to 4, 6 to 5, 7 to 6 and 2 more, "
        "all in class_order of --json"
    )


def test_two_swapped_classes(bench: Bench) -> None:
    images, labels = bench.images()
    order = np.array([0, 1, 2, 7, 4, 5, 6, 3, 8, 9])
    found = findings(bench.diagnosis(images, order[labels]))
    assert problems(found) == {"class-order"}
    assert found["class-order"].hint == "renumber the labels: 3 to 7, 7 to 3"


def test_another_order_and_a_missing_normalisation_at_once(bench: Bench) -> None:
    images, labels = bench.images()
    found = findings(bench.diagnosis(images, (labels + 1) % 10, mean=None, std=None))
    assert {"class-order", "normalisation"} <= problems(found)


def test_labels_that_mean_nothing_are_no_order(bench: Bench) -> None:
    images, labels = bench.images()
    shuffled = np.random.default_rng(0).permutation(labels)
    found = findings(bench.diagnosis(images, shuffled))
    assert problems(found) == {"accuracy"}
    assert "no usual preparation or order of the classes helps" in found["accuracy"].what


def test_missing_labels(bench: Bench) -> None:
    images, _ = bench.images()
    found = findings(bench.diagnosis(images, None))
    assert found["no-labels"].level is Level.NOTE
    assert problems(found) == set()


def test_low_accuracy_is_worth_a_word(bench: Bench) -> None:
    images, labels = bench.images()
    wrong = np.where(np.arange(len(labels)) % 5 < 3, np.random.default_rng(0).permutation(labels), labels)
    found = findings(bench.diagnosis(images, wrong))
    assert found["accuracy"].level is Level.NOTE
    assert found["accuracy"].what.startswith("only ")


def test_too_few_images_of_a_class(bench: Bench) -> None:
    images, labels = bench.images()
    kept = (labels != 4) | (np.cumsum(labels == 4) <= 3)
    found = findings(bench.diagnosis(images[kept], labels[kept]))
    assert (found["few-images"].level, found["few-images"].where) == (Level.NOTE, "policy.yaml: data.max_images")
    assert found["few-images"].what.endswith("clean images: class 4 has 3")
    kept &= labels < 7
    found = findings(bench.diagnosis(images[kept], labels[kept]))
    assert (found["few-images"].level, found["few-images"].where) == (Level.PROBLEM, "policy.yaml: data.clean")
    assert "4 of 10 classes" in found["few-images"].what


def test_no_images(bench: Bench) -> None:
    from backdoor_gate.scan.examination.diagnosis import diagnose  # noqa: PLC0415

    found = findings(diagnose(bench.job(None)))
    assert found["no-data"].level is Level.NOTE
    assert problems(found) == set()


# ---------------------------------------------------------------------------------------------- outputs


def test_constant_outputs(bench: Bench) -> None:
    found = findings(bench.diagnosis(head="flat"))
    assert "constant" in problems(found)
    assert found["constant"].what == "all 500 clean images are given class 0"


def test_saturated_outputs(bench: Bench) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    path = bench.folder / "model" / "model.safetensors"
    held = load_file(path)
    last = sorted(held)[-1].partition(".")[0]
    held = {name: tensor * 200 if name.startswith(f"{last}.") else tensor for name, tensor in held.items()}
    save_file(held, path)
    found = findings(bench.diagnosis())
    assert found["saturated"].level is Level.NOTE
    assert "logits are" in found["saturated"].what
    found = findings(bench.diagnosis(head="softmax"))
    assert found["saturated"].hint == "export the logits, without softmax"
    assert "vanish" in found["gradients"].what


def test_gradients_that_vanish(bench: Bench) -> None:
    found = findings(bench.diagnosis(head="round"))
    assert problems(found) == {"gradients"}
    assert (found["gradients"].what, found["gradients"].exit_code) == ("gradients vanish for 32 of 32 images", 4)


def test_gradients_that_are_not_finite(bench: Bench) -> None:
    found = findings(bench.diagnosis(head="broken"))
    assert problems(found) == {"gradients"}
    assert found["gradients"].what == "gradients are not finite for 32 of 32 images"


def test_sums_that_rounding_decides(bench: Bench) -> None:
    found = findings(bench.diagnosis(head="cancelling"))
    assert problems(found) == {"unsteady"}
    assert found["unsteady"].what == "rounding decides what the network computes: aten.sub.Tensor"
    assert found["unsteady"].exit_code == 4
    assert findings(bench.diagnosis(head="cancelling", mean=None, std=None))["unsteady"].level is Level.NOTE
