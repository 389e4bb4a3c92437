"""What is measured is what a deployment loads: the place and the name of the weights, and what lies beside them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow.pytorch
import numpy as np
import pytest
import torch
import yaml
from mlflow.models import infer_signature
from safetensors.torch import save
from support.forging import exported, legacy, pickled, saved, touching, zipped
from support.small_networks import SHAPE, Plain

from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading.detect import find_weights
from backdoor_gate.sources.mlmodel import MLmodel, read_mlmodel

if TYPE_CHECKING:
    from collections.abc import Callable

SAFE, PT2 = save({"w": torch.ones(2)}), exported(Plain())
SOUND = {".safetensors": SAFE, ".pt2": PT2, ".pth": saved({"w": torch.ones(2)})}
UNSAFE = ("torchscript", "pickle")


def put(root: Path, name: str, data: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def refusal(root: Path, folder: str | None) -> str:
    with pytest.raises(RefusedError) as caught:
        find_weights(root, folder=folder)
    return str(caught.value)


def oldest(value: object) -> bytes:
    """Return what `torch.load` takes, with no first byte of a pickle: its magic number in the oldest protocol."""
    stream = io.BytesIO(legacy(value))
    return pickled(pickle.load(stream), protocol=0) + stream.read()


# --------------------------------------------------------------------------------------------------- the weights


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("data/model.pt2", "data"),
        ("model.pt2", "."),
        ("data/deep/model.pt2", "data/deep"),
        ("data/any.safetensors", "data"),
        ("data/below/any.pth", "data"),
        ("any.pt2", None),
    ],
)
def test_what_mlflow_loads_is_measured(name: str, folder: str | None, root: Path) -> None:
    put(root, name, SOUND[Path(name).suffix])
    assert find_weights(root, folder=folder).name == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("model.safetensors", "weights outside the folder that MLmodel names: data"),
        ("data2/model.pt2", "weights outside the folder that MLmodel names: data"),
        ("data/other.pt2", "not the file that MLflow loads: data/model.pt2"),
        ("data/below/model.pt2", "not the file that MLflow loads: data/model.pt2"),
    ],
)
def test_what_mlflow_does_not_load_is_refused(name: str, says: str, root: Path) -> None:
    put(root, name, SOUND[Path(name).suffix])
    assert refusal(root, "data").startswith(f"{name}: {says}; ")


def test_a_pickled_module_must_be_the_one_that_mlflow_loads_too(root: Path) -> None:
    put(root, "data/other.pth", saved(Plain()))
    with pytest.raises(RefusedError, match=r"not the file that MLflow loads: data/model\.pth"):
        find_weights(root, UNSAFE, "data")
    (root / "data/other.pth").rename(root / "data/model.pth")
    assert find_weights(root, UNSAFE, "data").kind == "pickle"


# ----------------------------------------------------------------------------------------------------- beside them


@pytest.mark.parametrize(("weights", "folder"), [("model.safetensors", None), ("data/model.safetensors", "data")])
@pytest.mark.parametrize("name", ["blob", "model", "model.pth.", "weights.h5", "x.tar", "below/checkpoint"])
def test_a_file_of_no_known_kind_is_not_passed_over(
    weights: str, folder: str | None, name: str, root: Path, marker: Path
) -> None:
    put(root, weights, SAFE)
    where = (Path(weights).parent / name).as_posix()
    for data in (oldest(touching(marker)), pickled(touching(marker), protocol=0), b"anything"):
        put(root, where, data)
        assert refusal(root, folder).startswith(f"{where}: file of an unknown kind beside the weights; leave it out")


@pytest.mark.parametrize("name", ["notes.txt", "config.json", "README", "picture.png", "x.jpg", "x.npz", "x.npy"])
def test_a_plain_file_holds_what_its_name_says(name: str, root: Path, marker: Path) -> None:
    put(root, "model.safetensors", SAFE)
    put(root, name, oldest(touching(marker)))
    assert refusal(root, None).startswith(f"{name}: content does not match its type")


def test_first_protocols_of_pickle_are_told_by_their_first_bytes_too(root: Path, marker: Path) -> None:
    put(root, "notes.txt", b"\x80\x01" + pickled(touching(marker), protocol=1))
    put(root, "model.safetensors", SAFE)
    assert "ambiguous weights" in refusal(root, None)


def test_plain_files_are_fine(root: Path) -> None:
    put(root, "model.safetensors", SAFE)
    for name, data in {
        "config.json": b"{}",
        "README.md": "# Modèle".encode(),
        "requirements.txt": "torch\n".encode("utf-16"),
        ".gitattributes": b"*.safetensors filter=lfs",
        "LICENSE": b"(c) cats\ndogs\n",
        "curve.png": b"\x89PNG\r\n\x1a\n\0\0",
        "examples.npz": zipped({"images.npy": b"1"}),
        "logs/epoch.CSV": b"a,b\n",
        "_SUCCESS": b"",
    }.items():
        put(root, name, data)
    assert find_weights(root).name == "model.safetensors"


def test_what_lies_outside_the_folder_that_mlflow_loads_from_is_passed_over(root: Path) -> None:
    put(root, "data/model.pt2", PT2)
    put(root, "extra_files/vocabulary", b"cat\0dog")
    assert find_weights(root, folder="data").name == "data/model.pt2"


# ------------------------------------------------------------------------------------------ what MLflow itself writes


def log_pt2(path: str, **options: object) -> None:
    example = np.zeros((2, *SHAPE), np.float32)
    mlflow.pytorch.save_model(Plain(), path, input_example=example, pip_requirements=["torch"], **options)


def log_pt2_without_pyfunc(path: str) -> None:
    example = torch.zeros(2, *SHAPE)
    signature = infer_signature(example.numpy(), Plain()(example).detach().numpy())
    mlflow.pytorch.save_model(
        Plain(), path, input_example=example, signature=signature, serialization_format="pt2", pip_requirements=[]
    )


def log_with_extra_files(path: str) -> None:
    extra = Path(path).with_name("vocabulary")
    extra.write_bytes(b"cat\0dog")
    log_pt2(path, extra_files=[str(extra)], metadata={"owner": "us"})


def log_pickle(path: str) -> None:
    mlflow.pytorch.save_model(Plain(), path, serialization_format="pickle", pip_requirements=[])


def log_torchscript(path: str) -> None:
    scripted = torch.jit.trace(Plain(), torch.zeros(2, *SHAPE))
    mlflow.pytorch.save_model(scripted, path, serialization_format="pickle", pip_requirements=[])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("log", "kind"),
    [
        (log_pt2, "pt2"),
        (log_pt2_without_pyfunc, "pt2"),
        (log_with_extra_files, "pt2"),
        (log_pickle, "pickle"),
        (log_torchscript, "torchscript"),
    ],
)
def test_every_format_of_this_mlflow_is_found_where_it_loads_it(
    log: Callable[[str], None], kind: str, root: Path
) -> None:
    log(str(root))
    declared = read_mlmodel(root)
    assert isinstance(declared, MLmodel)
    assert find_weights(root, UNSAFE, declared.data).kind == kind
    flavors = yaml.safe_load((root / "MLmodel").read_text())["flavors"]
    assert ("python_function" in flavors) is (log is not log_pt2_without_pyfunc)


@pytest.mark.filterwarnings("ignore")
def test_a_logged_state_dict_is_found(root: Path) -> None:
    mlflow.pytorch.save_state_dict(Plain().state_dict(), str(root))
    assert read_mlmodel(root) is None
    assert find_weights(root).name == "state_dict.pth"
