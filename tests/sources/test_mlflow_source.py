"""Reading an MLflow registry: a name becomes a version once, and a version becomes a private copy with a digest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.candidate_facts import TensorSignature
from backdoor_gate.errors import RefusedError, RegistryReadError, UsageError
from backdoor_gate.sources.manifest import path_digest
from backdoor_gate.sources.mlflow import MlflowSource

if TYPE_CHECKING:
    from conftest import Store


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    return folder


def test_a_logged_network_is_copied_with_its_signature(store: Store, target: Path) -> None:
    source = MlflowSource(store.uri)
    reference = source.resolve("models:/digits/1")
    candidate = source.fetch(reference, target)
    paths = [entry.path for entry in candidate.files]
    assert (candidate.uri, candidate.name, candidate.version) == ("models:/digits/1", "digits", "1")
    assert {"MLmodel", "data/model.pt2"} <= set(paths)
    assert paths == sorted(paths)
    assert "registered_model_meta" not in paths
    assert candidate.signature is not None
    assert candidate.signature.input == TensorSignature((-1, 1, 4, 4), "float32")
    assert candidate.signature.output == TensorSignature((-1, 3), "float32")


def test_the_copy_is_not_the_store(local_store: Store, target: Path) -> None:
    candidate = MlflowSource(local_store.uri).fetch(MlflowSource(local_store.uri).resolve("models:/digits/1"), target)
    assert candidate.path == target
    stored = Path(MlflowSource(local_store.uri).resolve("models:/digits/1").source)
    for entry in candidate.files:
        assert not (target / entry.path).samefile(stored / entry.path)


def test_every_form_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    forms = ["models:/digits/1", "models:///digits/001", f"models:/{store.model_id}", f"runs:/{store.run_id}/net"]
    digests = set()
    for number, form in enumerate(forms):
        folder = tmp_path / str(number)
        folder.mkdir()
        source = MlflowSource(store.uri)
        digests.add(source.fetch(source.resolve(form), folder).digest)
    assert len(digests) == 1


def test_weights_without_an_mlmodel_file(store: Store, target: Path) -> None:
    source = MlflowSource(store.uri)
    candidate = source.fetch(source.resolve("models:/weights/1"), target)
    assert [entry.path for entry in candidate.files] == ["model.safetensors"]
    assert candidate.signature is None


@pytest.mark.parametrize("path", ["weights", "weights/model.safetensors"])
def test_a_run_artifact_folder_or_file(store: Store, path: str, target: Path) -> None:
    source = MlflowSource(store.uri)
    reference = source.resolve(f"runs:/{store.run_id}/{path}")
    candidate = source.fetch(reference, target)
    assert [entry.path for entry in candidate.files] == ["model.safetensors"]
    assert (candidate.name, candidate.version) == (f"runs:/{store.run_id}/{path}", None)


def test_a_moved_alias_changes_nothing_after_resolve(store: Store, target: Path, tmp_path: Path) -> None:
    name = "moving"
    store.client.create_registered_model(name)
    for content in (b"first", b"second"):
        (tmp_path / "weights.bin").write_bytes(content)
        store.client.log_artifact(store.run_id, str(tmp_path / "weights.bin"), content.decode())
        location = store.client.get_run(store.run_id).info.artifact_uri + "/" + content.decode()
        store.client.create_model_version(name, source=location, run_id=store.run_id)
    store.client.set_registered_model_alias(name, "challenger", "1")
    source = MlflowSource(store.uri)
    reference = source.resolve(f"models:/{name}@challenger")
    store.client.set_registered_model_alias(name, "challenger", "2")
    candidate = source.fetch(reference, target)
    assert (candidate.requested, candidate.uri) == (f"models:/{name}@challenger", f"models:/{name}/1")
    assert (target / "weights.bin").read_bytes() == b"first"
    assert source.resolve(f"models:/{name}@challenger").version == "2"


@pytest.mark.parametrize("name", ["zwei Wörter", "100%25", "a@b", "q?x=1#y;z", "\x1b[31mred", "<&'\">]]>"])
def test_odd_names(store: Store, name: str) -> None:
    store.client.create_registered_model(name)
    location = store.client.get_run(store.run_id).info.artifact_uri + "/weights"
    store.client.create_model_version(name, source=location, run_id=store.run_id)
    reference = MlflowSource(store.uri).resolve(f"models:/{name}/1")
    assert (reference.name, reference.version) == (name, "1")


def test_a_quoted_name(store: Store) -> None:
    name = "quoted name"
    store.client.create_registered_model(name)
    location = store.client.get_run(store.run_id).info.artifact_uri + "/weights"
    store.client.create_model_version(name, source=location, run_id=store.run_id)
    assert MlflowSource(store.uri).resolve("models:/quoted%20name/1").name == name


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("models:/absent/1", "no version 1 of model 'absent'"),
        ("models:/digits/99", "no version 99 of model 'digits'"),
        ("models:/digits@nobody", "no alias 'nobody' of model 'digits'"),
        ("models:/absent@nobody", "no alias 'nobody' of model 'absent'"),
        ("models:/m-0123456789abcdef0123456789abcdef", "not in the registry"),
        ("runs:/0123456789abcdef0123456789abcdef/net", "not in the registry"),
    ],
)
def test_what_is_not_there(store: Store, reference: str, says: str) -> None:
    with pytest.raises(RegistryReadError) as caught:
        MlflowSource(store.uri).resolve(reference)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("models:/digit/1", "did you mean digits? check the name"),
        ("models:/digits/99", "write one of its versions: 1"),
        ("models:/weights@champion", "it has no aliases: name a version"),
        ("models:/digits@champoin", "write one of its aliases: champion"),
    ],
)
def test_what_there_is_instead(store: Store, reference: str, hint: str) -> None:
    store.client.set_registered_model_alias("digits", "champion", "1")
    with pytest.raises(RegistryReadError) as caught:
        MlflowSource(store.uri).resolve(reference)
    assert caught.value.hint == hint


@pytest.mark.parametrize("name", ["digits", "weights"])
def test_a_model_beyond_those_that_are_looked_through(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backdoor_gate.sources.nearby._SEARCHED", 1)
    with pytest.raises(RegistryReadError) as caught:
        MlflowSource(store.uri).resolve(f"models:/{name}/99")
    assert caught.value.hint == "write one of its versions: 1"


def test_names_that_others_registered_are_safe_to_show(store: Store) -> None:
    store.client.create_registered_model("evil\x1b[31m")
    with pytest.raises(RegistryReadError) as caught:
        MlflowSource(store.uri).resolve("models:/evil/1")
    assert "evil" in caught.value.hint
    assert str(caught.value).isprintable()


def test_an_artifact_that_is_not_there(store: Store, target: Path) -> None:
    source = MlflowSource(store.uri)
    reference = source.resolve(f"runs:/{store.run_id}/nothing")
    with pytest.raises(RegistryReadError, match="no artifact there"):
        source.fetch(reference, target)


def test_a_name_that_stands_for_two_things_is_refused(store: Store, tmp_path: Path) -> None:
    from mlflow.entities import LoggedModelOutput  # noqa: PLC0415

    run = store.client.create_run("0").info.run_id
    model = store.client.create_logged_model("0", name="net", source_run_id=run)
    store.client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])
    assert MlflowSource(store.uri).resolve(f"runs:/{run}/net").source == model.artifact_location
    (tmp_path / "model.pth").write_bytes(b"x")
    store.client.log_artifact(run, str(tmp_path / "model.pth"), "net/data")
    with pytest.raises(RefusedError, match="more than one thing"):
        MlflowSource(store.uri).resolve(f"runs:/{run}/net")


def test_a_changed_byte_changes_the_digest(store: Store, tmp_path: Path) -> None:
    digests = []
    for number, content in enumerate([b"one", b"two"]):
        (tmp_path / "weights.bin").write_bytes(content)
        store.client.log_artifact(store.run_id, str(tmp_path / "weights.bin"), "mutable")
        folder = tmp_path / str(number)
        folder.mkdir()
        source = MlflowSource(store.uri)
        digests.append(source.fetch(source.resolve(f"runs:/{store.run_id}/mutable"), folder).digest)
    assert digests[0] != digests[1]


def test_data_from_a_run(store: Store, tmp_path: Path) -> None:
    (tmp_path / "clean.npz").write_bytes(b"pixels")
    store.client.log_artifact(store.run_id, str(tmp_path / "clean.npz"), "data")
    fetched = MlflowSource(store.uri).fetch_data(f"runs:/{store.run_id}/data/clean.npz", tmp_path / "one")
    assert (fetched.name, fetched.read_bytes()) == ("clean.npz", b"pixels")
    folder = MlflowSource(store.uri).fetch_data(f"runs:/{store.run_id}/data", tmp_path / "two")
    assert (folder / "clean.npz").read_bytes() == b"pixels"
    assert path_digest(folder).startswith("sha256:")


def test_data_by_its_place_in_the_store(server_store: Store, tmp_path: Path) -> None:
    location = server_store.client.get_run(server_store.run_id).info.artifact_uri
    assert location.startswith("mlflow-artifacts:/")
    fetched = MlflowSource(server_store.uri).fetch_data(f"{location}/weights", tmp_path)
    assert [path.name for path in fetched.iterdir()] == ["model.safetensors"]


def test_absent_data_is_a_usage_error(store: Store, tmp_path: Path) -> None:
    for number, uri in enumerate([f"runs:/{store.run_id}/no/such.npz", "runs:/0123456789abcdef/x"]):
        with pytest.raises(UsageError):
            MlflowSource(store.uri).fetch_data(uri, tmp_path / str(number))


def test_a_link_in_a_local_artifact_folder_is_refused(local_store: Store, target: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    folder = Path(local_store.client.get_run(local_store.run_id).info.artifact_uri) / "linked"
    folder.mkdir()
    (folder / "weights.bin").symlink_to(tmp_path / "secret")
    source = MlflowSource(local_store.uri)
    with pytest.raises(RefusedError, match=r"not a regular file: weights\.bin"):
        source.fetch(source.resolve(f"runs:/{local_store.run_id}/linked"), target)


def test_reading_leaves_no_trace_in_the_working_folder_and_loads_no_tensor_library(
    local_store: Store, tmp_path: Path
) -> None:
    code = """
import sys, os
import backdoor_gate.sources, backdoor_gate.publishers, backdoor_gate.publishers.mlflow, backdoor_gate.sources.mlflow
assert not {"torch", "mlflow"} & set(sys.modules), "imported too early"
from pathlib import Path
before = dict(os.environ)
for reference in sys.argv[2:]:
    source = backdoor_gate.sources.source_for(reference, sys.argv[1])
    os.mkdir("copy")
    source.fetch(source.resolve(reference), Path("copy"))
    assert os.listdir(".") == ["copy"], os.listdir(".")
    os.rename("copy", f"../{reference.replace('/', '_')}")
assert "torch" not in sys.modules, "torch"
assert dict(os.environ) == before, "environment"
"""
    work = tmp_path / "work"
    work.mkdir()
    forms = ["models:/digits/1", f"models:/{local_store.model_id}", f"runs:/{local_store.run_id}/net"]
    command = [sys.executable, "-c", code, local_store.uri, *forms]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
