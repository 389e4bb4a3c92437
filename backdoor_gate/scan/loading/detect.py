"""Finds the one weights file of a candidate by what its files contain; names only ever contradict, never convince."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading.archive import Archive, open_archive
from backdoor_gate.scan.loading.deployed import check_deployed, check_others, is_plain
from backdoor_gate.scan.loading.pickles import check_globals

if TYPE_CHECKING:
    from collections.abc import Collection

_HEAD, _TAIL = 4096, 1 << 16
_SCANNED = 64 << 20
"""Bytes of a bare pickle that are searched for globals."""

_TORCH_KINDS = frozenset({"state_dict", "torchscript", "pickle"})
_KINDS_BY_SUFFIX: dict[str, frozenset[str]] = {
    ".safetensors": frozenset({"safetensors"}),
    ".pt2": frozenset({"pt2"}),
    ".onnx": frozenset({"onnx"}),
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib"), _TORCH_KINDS),
}
"""What a file with one of these endings claims to be; it is a weights file, whatever it contains."""

_TORCH_MEMBERS = re.compile(rb"/data\.pkl|/constants\.pkl|/archive_format|/data/weights/|serialized_exported_program")
_SCRIPT_MEMBERS = re.compile(rb"/constants\.pkl|/code/__torch__")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\x5d\x00\x00")
_TITLES = {
    "safetensors": "safetensors",
    "state_dict": "a PyTorch archive",
    "torchscript": "TorchScript",
    "pt2": "an exported program",
    "pickle": "a pickle",
    "onnx": "ONNX",
}
"""The kinds that can be told by content alone."""
_LFS = b"version https://git-lfs.github.com/spec/"
_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x3a\x42]", re.DOTALL)
_HTML = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml|error)", re.IGNORECASE)
_PICKLE = re.compile(rb"\x80[\x00-\x05](?!\x00{6}\{)")
"""With its protocol; the length of a safetensors header may begin alike, but no opcode is zero."""
_SAFETENSORS = re.compile(rb'.{8}\{\s*["}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """The candidate's weights.

    Attributes:
        path: the file.
        name: its path below the candidate's root, for messages.
        kind: `safetensors`, `state_dict` or `pt2`; `torchscript` or `pickle` where the caller accepts them.
        archive: its checked members, for a `state_dict`, a `pt2`, and a `pickle` in an archive.
    """

    path: Path
    name: str
    kind: str
    archive: Archive | None


def find_weights(root: Path, unsafe: Collection[str] = (), folder: str | None = None) -> WeightsFile:
    """Return the only weights file below `root`.

    Args:
        root: the candidate's private copy; `MLmodel`, requirements, examples and other plain files are passed over.
        unsafe: kinds among `torchscript` and `pickle` that are acceptable too.
        folder: where MLflow loads from, as a POSIX path below `root`; None without an MLmodel file.

    Raises:
        RefusedError: there is none, or more than one; or the file is of a kind that is never loaded, is damaged,
            contradicts its ending, or is not what MLflow loads; or a file of an unknown kind lies beside it.
    """
    files = _regular_files(root)
    found = [(path, kind) for path in files if (kind := _kind(path))]
    names = sorted(path.relative_to(root).as_posix() for path, _ in found)
    if not names:
        hint = "a candidate holds one safetensors, state_dict or pt2 file"
        raise RefusedError("no model found", where=root.name, hint=hint)
    (path, kind), name = found[0], names[0]
    if len(names) > 1:
        listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        raise RefusedError(f"ambiguous weights: {listed}", where=root.name, hint="leave one weights file")
    archive = open_archive(path, name) if kind == "archive" else None
    if archive:
        kind = _archive_kind(archive, name)
    _check_name(path, name, kind)
    if kind == "state_dict" and "pickle" in unsafe and archive and _holds_more(archive, name):
        kind = "pickle"
    if kind not in unsafe:
        _refuse_unloadable(path, name, kind)
    check_deployed(name, kind, folder)
    check_others(root, [other for other in files if other != path], name, folder)
    return WeightsFile(path, name, kind, archive)


def _check_name(path: Path, name: str, kind: str) -> None:
    """Refuse a weights file in another kind's clothes: somebody wants one reader to see what another does not."""
    suffix = path.suffix.lower()
    expected = _KINDS_BY_SUFFIX.get(suffix, frozenset({kind}))
    if is_plain(name) or (kind in _TITLES and kind not in expected):
        hint = f"it holds {_TITLES.get(kind, 'a compressed file')}"
        raise RefusedError("content does not match its type", where=name, hint=hint)


def _regular_files(root: Path) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for path in (Path(folder, name) for name in (*sorted(files), *folders)):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise RefusedError("not a regular file", where=path.relative_to(root).as_posix())
        found += [Path(folder, name) for name in sorted(files)]
    return found


def _kind(path: Path) -> str | None:
    """Return what a file is, None where it can hold no weights. Its name decides only where its bytes do not."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, path.stat().st_size - _TAIL))
        tail = file.read(_TAIL)
    suffix = path.suffix.lower()
    claims = suffix in _KINDS_BY_SUFFIX
    zipped = head.startswith(b"PK\x03\x04") or b"PK\x05\x06" in tail
    fits_header = int.from_bytes(head[:8], "little") < 1 << 40
    signs = (
        ("torchscript", zipped and _SCRIPT_MEMBERS.search(tail)),
        ("archive", zipped and (claims or _TORCH_MEMBERS.search(head) or _TORCH_MEMBERS.search(tail))),
        ("pickle", _PICKLE.match(head)),
        ("safetensors", fits_header and _SAFETENSORS.match(head)),
        ("compressed", head.startswith(_COMPRESSED)),
        ("onnx", suffix == ".onnx" or (_ONNX.match(head) and not is_plain(path.name))),
        ("pointer", claims and head.startswith(_LFS)),
        ("page", claims and _HTML.match(head)),
        ("safetensors", suffix == ".safetensors"),
        ("damaged", claims),
    )
    return next((kind for kind, sign in signs if sign), None)


def _archive_kind(archive: Archive, where: str) -> str:
    names = archive.names
    root = names[0].partition("/")[0] if names else ""
    below = {name.removeprefix(f"{root}/") for name in names if name.startswith(f"{root}/")}
    if "constants.pkl" in below or any(name.startswith("code/") for name in below):
        return "torchscript"
    if "archive_format" in below and len(below) == len(names):
        return "pt2"
    if any(name.startswith("serialized_exported_program") for name in names):
        hint = "export it again with torch 2.10 or newer"
        raise RefusedError("pt2: layout of an older torch", where=where, hint=hint)
    if "data.pkl" in below and len(below) == len(names):
        return "state_dict"
    raise RefusedError("truncated or not a PyTorch file", where=where, hint="upload the file again")


def _holds_more(archive: Archive, where: str) -> bool:
    """Whether an archive's pickle names anything that a state_dict does not need."""
    (pickled,) = (name for name in archive.names if name.count("/") == 1 and name.endswith("/data.pkl"))
    try:
        check_globals(archive.read(pickled), where)
    except RefusedError:
        return True
    return False


def _refuse_unloadable(path: Path, name: str, kind: str) -> None:
    """Refuse the kinds that are not acceptable, each in its own words."""
    again = "upload the file again"
    if kind in ("pickle", "damaged"):
        with path.open("rb") as file:
            check_globals(file.read(_SCANNED), name)
    refusals = {
        "pickle": ("bare pickle; not allowed", "save model.state_dict() with torch.save, or use safetensors"),
        "damaged": ("truncated or not a PyTorch file", again),
        "page": ("not a PyTorch file, but a web page", again),
        "pointer": ("git-lfs pointer, not weights", "run `git lfs pull` before logging the model"),
        "compressed": ("compressed pickle or other compressed file", "upload it uncompressed"),
        "torchscript": ("TorchScript is executable; not allowed", "save the state_dict, or use torch.export"),
        "onnx": ("ONNX is not supported", "convert it to PyTorch, and upload that as pt2 or safetensors"),
    }
    if kind in refusals:
        what, hint = refusals[kind]
        raise RefusedError(what, where=name, hint=hint)
