"""The `MLmodel` file of an MLflow model, read as data: what it declares, and every reason to refuse it unopened.

The weights of an accepted MLflow model lie in its data folder, from which MLflow loads `model.pt2`: every flavor must
name the same one, and the worker measures no file that lies elsewhere. MLflow's other PyTorch format (`model.pth` with
`pickle_module_info.txt`) is a pickled module or TorchScript: whether that will do is the policy's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from backdoor_gate import strict_json, strict_yaml
from backdoor_gate.candidate_facts import Signature, TensorSignature
from backdoor_gate.errors import RefusedError
from backdoor_gate.sources.manifest import open_regular, regular_files, shown

if TYPE_CHECKING:
    from pathlib import Path


MAX_DIMENSIONS = 8
"""Of a declared tensor; an image batch has four."""

_NAME = "MLmodel"
_PICKLE_INFO = "pickle_module_info.txt"
_PICKLE_MODULE = "mlflow.pytorch.pickle_module"
_LOADED = {"model.pth", "model.pt2", _PICKLE_INFO}
"""What MLflow looks for in the data folder, by whether anything has the name."""
_LOADER = "mlflow.pytorch"
_FLAVORS = {"pytorch", "python_function"}
"""What `mlflow.pytorch` writes. Another flavor may name files of its own, which nobody would measure."""
_RELOG = 'log it again with serialization_format="pt2", or as safetensors plus an architecture in the policy'
_DTYPE = re.compile(r"[a-z]{1,12}[0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class MLmodel:
    """What an acceptable MLmodel file declares.

    Attributes:
        data: POSIX path of the existing folder from which MLflow loads, relative to the model's root; the same for all
            flavors.
        serialization: `pt2`, `pickle` (TorchScript too), or None where the data folder holds weights of another format.
        signature: the declared input and output; a part that is not exactly one tensor is None.
    """

    data: str
    serialization: str | None
    signature: Signature | None


def read_mlmodel(root: Path) -> MLmodel | None:
    """Read the MLmodel file at the root of a private copy.

    Returns:
        What it declares; None where there is no such file, as in a folder of weights logged as plain artifacts.

    Raises:
        RefusedError: malformed, larger than 1 MiB, code of its own, another flavor, a path that leaves the folder, no
            folder of weights or more than one; or there is such a file elsewhere, in a sub-folder or in other letters.
        OSError: it could not be read.
    """
    if _NAME not in {path.name for path in root.iterdir()}:  # is_file() takes other letters too on some file systems
        _refuse_elsewhere(root)
        return None
    data = _read_capped(root / _NAME, _NAME, strict_yaml.MAX_BYTES, "1 MiB")
    try:
        document = strict_yaml.read(data).value
    except strict_yaml.StrictYamlError as error:
        raise RefusedError(shown(error.rule), where=_NAME) from error
    if not isinstance(document, dict) or not document:
        raise RefusedError("empty or not a mapping", where=_NAME)
    flavors = _mapping(document, "flavors")
    _refuse_code(document, flavors)
    _refuse_other_flavors(flavors)
    folder = _data_folder(root, flavors)
    return MLmodel(folder, _serialization(root, folder), _signature(document))


def pickled_error() -> RefusedError:
    """Return the refusal of a model whose MLmodel file says that it is a pickled module or TorchScript."""
    return RefusedError("pickled module or TorchScript: executable; not allowed", where="model.pth", hint=_RELOG)


def _read_capped(path: Path, name: str, limit: int, limit_text: str) -> bytes:
    with open_regular(path, name) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise RefusedError(f"{name} larger than {limit_text}")
    return data


def _refuse_elsewhere(root: Path) -> None:
    """Refuse a folder that MLflow takes for a model, here or on another system, without this side having read why."""
    for file in regular_files(root):
        if _elsewhere(file.path.name) == _NAME.casefold():
            what = "not an MLmodel file at the root of the candidate"
            hint = "name the folder with the MLmodel file as the candidate, and leave that file's name as it is"
            raise RefusedError(what, where=shown(file.relative), hint=hint)


def _elsewhere(name: str) -> str:
    """Return a name as systems take it that tell no cases apart, and drop dots and spaces at the end, as Windows."""
    return name.casefold().rstrip(" .")


def _mapping(parent: dict[str, object], key: str) -> dict[str, object]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(f"'{key}' is not a mapping", where=_NAME)
    return value


def _refuse_code(document: dict[str, object], flavors: dict[str, object]) -> None:
    sections = [document, *(_mapping(flavors, name) for name in flavors)]
    if any(section.get("model_code_path") for section in sections):
        raise RefusedError(
            "candidate is Python source", where=_NAME, hint="log the network, not a script that builds it"
        )
    if any(section.get("code") for section in sections):
        raise RefusedError(
            "candidate ships code (code_paths); not allowed by policy", where=_NAME, hint="log it without code_paths"
        )


def _refuse_other_flavors(flavors: dict[str, object]) -> None:
    pyfunc = _mapping(flavors, "python_function")
    others = flavors.keys() - _FLAVORS
    if others or "pytorch" not in flavors or pyfunc.get("loader_module") not in {None, _LOADER}:
        names = ", ".join(shown(name) for name in sorted(others or flavors)[:5]) or "none"
        raise RefusedError(f"flavor not supported ({names})", where=_NAME, hint="log it with mlflow.pytorch.log_model")
    if pyfunc.get("pickle_module_name") not in {None, _PICKLE_MODULE}:
        raise RefusedError("custom pickle module", where=_NAME, hint=_RELOG)


def _data_folder(root: Path, flavors: dict[str, object]) -> str:
    """Return the one folder that all flavors name. MLflow unpickles a file in its place, whatever that is called."""
    folder = _confined(_mapping(flavors, "pytorch").get("model_data", "data"), "model_data")
    if "python_function" in flavors:
        # Without 'data' MLflow loads from the model's root.
        other = _confined(_mapping(flavors, "python_function").get("data", "."), "data")
        if other != folder:
            what = f"'data' is {shown(other)} and 'model_data' is {shown(folder)}: not one folder of weights"
            raise RefusedError(what, where=_NAME, hint=_RELOG)
    if not (root / folder).is_dir():
        raise RefusedError(f"'model_data' is {shown(folder)}, which is no folder", where=_NAME, hint=_RELOG)
    return folder


def _confined(path: object, key: str) -> str:
    if not isinstance(path, str) or not path:
        raise RefusedError(f"'{key}' is not a path", where=_NAME, hint=_RELOG)
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or any(character in path for character in "\\:\0"):
        raise RefusedError("path leaves the model directory", where=_NAME)
    return str(pure)


def _serialization(root: Path, data: str) -> str | None:
    folder = root / data
    for path in folder.iterdir():
        if _elsewhere(path.name) in _LOADED and not path.is_file():
            what = "a folder where MLflow looks for a file"
            raise RefusedError(what, where=shown(f"{data}/{path.name}"), hint="remove or rename it")
    info = folder / _PICKLE_INFO
    if info.is_file() and _read_capped(info, _PICKLE_INFO, 1024, "1 KiB").strip() != _PICKLE_MODULE.encode():
        raise RefusedError("custom pickle module", where=f"{data}/{_PICKLE_INFO}", hint=_RELOG)
    pickled, exported = (folder / "model.pth").is_file(), (folder / "model.pt2").is_file()
    if pickled and exported:
        raise RefusedError("ambiguous weights: model.pth and model.pt2", where=data, hint="log the model once more")
    if pickled or info.is_file():
        return "pickle"
    return "pt2" if exported else None


def _signature(document: dict[str, object]) -> Signature | None:
    declared = _mapping(document, "signature")
    if not declared:
        return None
    return Signature(_tensor(declared.get("inputs")), _tensor(declared.get("outputs")))


def _tensor(text: object) -> TensorSignature | None:
    if text is None:
        return None
    try:
        specs = strict_json.parse(str(text))
    except strict_json.JsonError as error:
        raise RefusedError("signature is not valid JSON", where=_NAME) from error
    if (
        not isinstance(specs, list)
        or len(specs) != 1
        or not isinstance(specs[0], dict)
        or "tensor-spec" not in specs[0]
    ):
        return None
    spec = specs[0]["tensor-spec"]
    if not isinstance(spec, dict):
        raise RefusedError("signature is not valid: 'tensor-spec' is not a mapping", where=_NAME)
    return TensorSignature(_shape(spec.get("shape")), _dtype(spec.get("dtype")))


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS:
        raise RefusedError(
            f"signature is not valid: 'shape' is not a list of up to {MAX_DIMENSIONS} sizes", where=_NAME
        )
    if any(type(size) is not int or not -1 <= size < 2**31 for size in value):
        raise RefusedError("signature is not valid: a size is not a whole number from -1 on", where=_NAME)
    return tuple(value)


def _dtype(value: object) -> str:
    if not isinstance(value, str) or not _DTYPE.fullmatch(value):
        raise RefusedError("signature is not valid: 'dtype' is not a type name", where=_NAME)
    return value
