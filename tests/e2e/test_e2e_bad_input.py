"""Bad input at every place it can come from: one clear line and the contract's exit code, and never a pass."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import numpy as np
import pytest
from e2e_parts import BUILT, CLEAN, MODEL, QUICK, WEIGHTS, clean_images, weights_of
from support import digits

if TYPE_CHECKING:
    from pathlib import Path

    from e2e_parts import Gate, Registry, Weights, WritePolicy


# ---------------------------------------------------------------------------------------------- the registry


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (f"models:/{CLEAN}/99", f"the registry has no version 99 of model '{CLEAN}'"),
        ("models:/nobody/1", "the registry has no version 1 of model 'nobody'"),
        (f"models:/{CLEAN}@nobody", f"the registry has no alias 'nobody' of model '{CLEAN}'"),
    ],
)
def test_nothing_of_that_name(policy: WritePolicy, gate: Gate, reference: str, words: str) -> None:
    code, out, err = gate(reference, "--policy", policy())
    assert (code, err) == (4, "")
    assert out.startswith(f"INCONCLUSIVE {reference}: ")
    assert words in out


def test_an_unreachable_registry(policy: WritePolicy, gate: Gate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, out, err = gate(f"models:/{CLEAN}/1", "--policy", policy(), uri=f"http://127.0.0.1:{port}")
    assert (code, err) == (4, "")
    assert f"http://127.0.0.1:{port}: registry unreachable" in out


# ---------------------------------------------------------------------------------------------- the weights


def with_nan() -> Weights:
    weights = {name: array.copy() for name, array in weights_of(digits.trained()).items()}
    weights["3.weight"][0, 0, 0, 0] = np.nan
    return weights


def of_another_network() -> Weights:
    return {"0.weight": np.ones((10, 256), np.float32)}


def all_zero() -> Weights:
    return {name: np.zeros_like(array) for name, array in weights_of(digits.trained()).items()}


BAD_WEIGHTS = {
    "e2e-nan": (with_nan, 4, "INCONCLUSIVE", "non-finite weights in 3.weight"),
    "e2e-misfit": (of_another_network, 3, "REFUSED", "weights do not fit digits_net:build"),
    "e2e-zero": (all_zero, 4, "INCONCLUSIVE", "model output carries no information"),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_weights(registry: Registry, policy: WritePolicy, gate: Gate, name: str) -> None:
    weights, code, verdict, words = BAD_WEIGHTS[name]
    reference = registry.add_weights(name, weights())
    found, out, err = gate(reference, "--policy", policy(MODEL | BUILT, detectors=QUICK))
    assert (found, err) == (code, "")
    assert out.startswith(f"{verdict} {reference}: ")
    assert words in out
    assert registry.tags(name)["verdict"] == verdict


# ---------------------------------------------------------------------------------------------- the number of classes


def test_fewer_classes_than_the_data_has(policy: WritePolicy, gate: Gate) -> None:
    model = MODEL | BUILT | {"num_classes": 5}
    code, out, err = gate(f"models:/{WEIGHTS}/1", "--policy", policy(model, detectors=QUICK))
    assert (code, out) == (2, "")
    assert "label 9 is out of range; the policy says 5 classes" in err


def test_more_classes_than_the_output_has(policy: WritePolicy, gate: Gate) -> None:
    model = MODEL | BUILT | {"num_classes": 12}
    code, out, _ = gate(f"models:/{WEIGHTS}/1", "--policy", policy(model, detectors=QUICK))
    assert code == 4
    assert "model output invalid: 10 classes, the policy or the data says 12" in out


def test_other_classes_than_the_signature_says(policy: WritePolicy, gate: Gate) -> None:
    code, out, _ = gate(f"models:/{CLEAN}/1", "--policy", policy(MODEL | {"num_classes": 12}, detectors=QUICK))
    assert code == 3
    assert "the signature's output has 10 classes, the policy says 12" in out


# ---------------------------------------------------------------------------------------------- the clean images


def test_images_of_another_shape(folder: Path, policy: WritePolicy, gate: Gate) -> None:
    images, labels = clean_images()
    np.savez(folder / "clean.npz", images=images[:, ::2, ::2], labels=labels)
    code, out, err = gate(f"models:/{CLEAN}/1", "--policy", policy(detectors=QUICK))
    assert (code, out) == (2, "")
    assert "images of shape (1, 8, 8), the policy says (1, 16, 16)" in err


def test_no_images(folder: Path, policy: WritePolicy, gate: Gate) -> None:
    images, labels = clean_images()
    np.savez(folder / "clean.npz", images=images[:0], labels=labels[:0])
    code, out, err = gate(f"models:/{CLEAN}/1", "--policy", policy(detectors=QUICK))
    assert (code, out) == (2, "")
    assert "no images" in err


def test_images_that_the_store_does_not_hold(registry: Registry, policy: WritePolicy, gate: Gate) -> None:
    data = f"runs:/{registry.run_id}/nowhere/clean.npz"
    code, out, err = gate(f"models:/{CLEAN}/1", "--policy", policy(data=data, detectors=QUICK))
    assert (code, out) == (2, "")
    assert "nowhere/clean.npz" in err
