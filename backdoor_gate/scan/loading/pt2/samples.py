"""The example inputs that lie in an exported program: PyTorch unpickles them when it loads one, whatever they are."""

from __future__ import annotations

import io
from typing import Any

import torch

from backdoor_gate import prerequisites
from backdoor_gate.scan.loading import pickles
from backdoor_gate.scan.loading.archive import SAVED, Archive
from backdoor_gate.scan.loading.naming import shown
from backdoor_gate.scan.loading.pt2.members import refused

MAX_BYTES = 1 << 30
MAX_PICKLE_BYTES = 1 << 20
_PLAIN = (int, float, bool, str, type(None))


def check_samples(data: bytes, where: str) -> None:
    """Accept tensors and plain values in tuples, lists and dicts, which the safe reader takes.

    Where it does not, PyTorch's loader falls back to the one that runs what a pickle says.

    Args:
        data: the member's bytes; none at all is no example.
        where: the file, for messages.

    Raises:
        UsageError: this torch or its environment does not keep to `weights_only`.
        RefusedError: they are anything else.
    """
    if not data:
        return
    prerequisites.check()
    if len(data) > MAX_BYTES:
        raise refused(f"example inputs larger than {MAX_BYTES >> 20} MiB", where)
    archive = Archive(memoryview(data), where)
    root = archive.names[0].partition("/")[0] if archive.names else ""
    for name in archive.names:
        if not SAVED.fullmatch(name.removeprefix(f"{root}/")):
            raise refused(f"example inputs: archive member not allowed: {shown(name)}", where)
    if f"{root}/data.pkl" not in archive.names or archive.size(f"{root}/data.pkl") > MAX_PICKLE_BYTES:
        raise refused("example inputs are no small pickle", where)
    pickles.check_globals(archive.read(f"{root}/data.pkl"), where)
    try:
        value = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise refused("example inputs are not what the safe reader takes", where) from error
    if not isinstance(value, (tuple, dict)) or not _is_plain(value):
        raise refused("example inputs are more than tensors and plain values", where)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_plain, value.values()))
    if type(value) in (tuple, list):
        return all(map(_is_plain, value))
    return type(value) in (torch.Tensor, *_PLAIN)
