"""The MLmodel file as data: MLflow's own files are read, every trick is refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backdoor_gate.candidate_facts import Signature, TensorSignature
from backdoor_gate.errors import RefusedError
from backdoor_gate.sources.mlmodel import MLmodel, pickled_error, read_mlmodel

if TYPE_CHECKING:
    from conftest import Store

GOOD = """\
artifact_path: /somewhere
flavors:
  python_function:
    data: data
    loader_module: mlflow.pytorch
    pickle_module_name: mlflow.pytorch.pickle_module
    python_version: 3.11.7
  pytorch:
    code: null
    model_data: data
    pytorch_version: 2.13.0
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1,
    4, 4]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]'
  params: null
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "model.pt2").write_bytes(b"PK")
    return tmp_path


def read(root: Path, text: str | bytes) -> MLmodel | None:
    (root / "MLmodel").write_bytes(text.encode() if isinstance(text, str) else text)
    return read_mlmodel(root)


def refusal(root: Path, text: str | bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        read(root, text)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_what_mlflow_writes(root: Path) -> None:
    signature = Signature(TensorSignature((-1, 1, 4, 4), "float32"), TensorSignature((-1, 3), "float32"))
    assert read(root, GOOD) == MLmodel("data", "pt2", signature)


def test_what_this_mlflow_writes(local_store: Store) -> None:
    location = local_store.client.get_logged_model(local_store.model_id).artifact_location
    found = read_mlmodel(Path(location))
    assert found is not None
    assert (found.data, found.serialization) == ("data", "pt2")


def test_a_folder_without_the_file(tmp_path: Path) -> None:
    assert read_mlmodel(tmp_path) is None


@pytest.mark.parametrize("data", ["data", "data/sub", ".", "data/"])
def test_paths_inside_are_fine(root: Path, data: str) -> None:
    (root / "data" / "sub").mkdir()
    found = read(root, GOOD.replace("data: data", f"data: {data}"))
    assert found is not None
    assert found.data == str(Path(data))


@pytest.mark.parametrize("name", ["model/MLmodel", "mlmodel", "MLmodel.", "data/MLMODEL"])
def test_a_file_that_is_read_only_elsewhere_is_refused(root: Path, name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(GOOD)
    with pytest.raises(RefusedError, match="not an MLmodel file at the root of the candidate") as caught:
        read_mlmodel(root)
    assert caught.value.where == name
    assert read(root, GOOD) if name != "mlmodel" else True


def test_a_model_of_one_flavor(root: Path) -> None:
    assert read(root, "flavors:\n  pytorch: {model_data: data}\n") == MLmodel("data", "pt2", None)


REFUSED = {
    "nothing": ("", "MLmodel: empty or not a mapping"),
    "comment": ("# nothing\n", "MLmodel: empty or not a mapping"),
    "list": ("- a\n", "MLmodel: empty or not a mapping"),
    "text": ("just words", "MLmodel: empty or not a mapping"),
    "nul": (b"flavors:\x00", "MLmodel: not UTF-8 YAML"),
    "binary": (b"\xff\xfe\x00\x01", "MLmodel: not UTF-8 YAML"),
    "not YAML": ("a: [", "MLmodel: not valid YAML"),
    "tag": (GOOD + "x: !!python/object/apply:os.getcwd []\n", "MLmodel: YAML tag refused"),
    "alias": ("a: &a [x]\nb: *a\n", "MLmodel: YAML aliases not allowed"),
    "large": (GOOD + "#" * 2**20, "MLmodel larger than 1 MiB"),
    "key twice": (GOOD + "flavors: {}\n", "MLmodel: duplicate key"),
    "deep": ("a: " + "[" * 100 + "]" * 100, "MLmodel: nested"),
    "very deep": ("[" * 500_000, "MLmodel: nested"),
    "path out": (GOOD.replace("model_data: data", "model_data: ../../../../tmp"), "path leaves the model directory"),
    "path out of a folder": (
        GOOD.replace("model_data: data", "model_data: data/../../x"),
        "path leaves the model directory",
    ),
    "absolute": (GOOD.replace("model_data: data", "model_data: /etc"), "path leaves the model directory"),
    "other data": (GOOD.replace("    data: data", "    data: ../x"), "path leaves the model directory"),
    "data and no model_data": (
        GOOD.replace("    data: data", "    data: other"),
        "MLmodel: 'data' is other and 'model_data' is data: not one folder of weights",
    ),
    "model_data and no data": (
        GOOD.replace("    data: data\n", ""),
        "MLmodel: 'data' is . and 'model_data' is data: not one folder of weights",
    ),
    "file": (
        GOOD.replace("data: data", "data: data/model.pt2"),
        "MLmodel: 'model_data' is data/model.pt2, which is no folder",
    ),
    "nothing there": (GOOD.replace("data: data", "data: other"), "MLmodel: 'model_data' is other, which is no folder"),
    "no path": (GOOD.replace("model_data: data", "model_data: null"), "MLmodel: 'model_data' is not a path"),
    "list for a path": (GOOD.replace("    data: data", "    data: [data]"), "MLmodel: 'data' is not a path"),
    "windows": (GOOD.replace("model_data: data", "model_data: C:\\x"), "path leaves the model directory"),
    "code": (GOOD.replace("code: null", "code: code"), "candidate ships code (code_paths); not allowed by policy"),
    "pyfunc code": (GOOD.replace("    data: data", "    data: data\n    code: code"), "candidate ships code"),
    "loader": (GOOD.replace("loader_module: mlflow.pytorch", "loader_module: evil"), "flavor not supported"),
    "flavor": ("flavors:\n  sklearn:\n    pickled_model: model.pkl\n", "flavor not supported (sklearn)"),
    "one flavor more": (
        GOOD.replace("  pytorch:", "  sklearn: {pickled_model: model.pkl}\n  pytorch:"),
        "flavor not supported (sklearn)",
    ),
    "no flavor": ("flavors: {}\n", "flavor not supported (none)"),
    "flavors is text": ("flavors: pytorch\n", "'flavors' is not a mapping"),
    "flavor is text": ("flavors: {pytorch: x}\n", "'pytorch' is not a mapping"),
    "source": (
        GOOD.replace("    data: data", "    data: data\n    model_code_path: m.py"),
        "candidate is Python source",
    ),
    "pickle module": (GOOD.replace("mlflow.pytorch.pickle_module", "evil"), "custom pickle module"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(root: Path, case: str) -> None:
    text, says = REFUSED[case]
    assert says in refusal(root, text)


def test_a_pickled_model_is_told_and_its_refusal_says_how_to_log_it_again(root: Path) -> None:
    (root / "data" / "model.pt2").rename(root / "data" / "model.pth")
    (root / "data" / "pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module")
    found = read(root, GOOD)
    assert found is not None
    assert found.serialization == "pickle"
    assert 'serialization_format="pt2"' in str(pickled_error())
    (root / "data" / "model.pth").unlink()
    found = read(root, GOOD)
    assert found is not None
    assert found.serialization == "pickle"


def test_a_custom_pickle_module(root: Path) -> None:
    (root / "data" / "pickle_module_info.txt").write_text("cloudpickle")
    assert "custom pickle module" in refusal(root, GOOD)


def test_two_formats_at_once(root: Path) -> None:
    (root / "data" / "model.pth").write_bytes(b"PK")
    assert "ambiguous weights" in refusal(root, GOOD)


@pytest.mark.parametrize("name", ["model.pth", "model.pt2", "pickle_module_info.txt", "Model.PTH", "model.pth."])
@pytest.mark.parametrize("empty", [False, True])
def test_a_folder_where_mlflow_looks_for_a_file(root: Path, name: str, empty: bool) -> None:
    (root / "data" / "model.pt2").rename(root / "data" / "other.pt2")
    (root / "data" / name).mkdir()
    if not empty:
        (root / "data" / name / "note.txt").write_text("nothing")
    assert refusal(root, GOOD) == f"data/{name}: a folder where MLflow looks for a file; remove or rename it"


def inputs(value: object) -> str:
    return re.sub(r"inputs: '.*?\]'", lambda _: f"inputs: '{value}'", GOOD, flags=re.DOTALL)


@pytest.mark.parametrize(
    "text",
    ["[", "[1", '[{"type": "tensor", "type": "x"}]', "NaN", "[" * 100_000, '[{"tensor-spec": 1}]']
    + [
        json.dumps([{"tensor-spec": {"dtype": "float32", "shape": shape}}])
        for shape in ("x", [1.5], [True], [-2], [1] * 9, [2**31])
    ]
    + [json.dumps([{"tensor-spec": {"dtype": dtype, "shape": [1]}}]) for dtype in (1, None, "os.system", "f" * 50)],
)
def test_bad_signatures(root: Path, text: str) -> None:
    assert "signature is not valid" in refusal(root, inputs(text))


@pytest.mark.parametrize("text", ["[]", '[{"type": "double", "name": "age"}]', "{}", '[{"tensor-spec": {}}, {}]'])
def test_other_signatures_declare_no_tensor(root: Path, text: str) -> None:
    found = read(root, inputs(text))
    assert found is not None
    assert found.signature is not None
    assert found.signature.input is None


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 20), st.binary(max_size=12))
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, gone: int, new: bytes
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    good = GOOD.encode()
    message, found = "", None
    try:
        found = read(folder, good[:at] + new + good[at + gone :])
    except RefusedError as error:
        message = str(error)
    assert message.isprintable()
    assert message or (found is not None and (folder / found.data).resolve().is_relative_to(folder))
