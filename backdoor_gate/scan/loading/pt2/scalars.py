"""Which kinds of numbers an exported program may hold and compute in, by the numbers that it is written with."""

from __future__ import annotations

import torch

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.loading.tensors import FLOATS

SCALAR_TYPES = {
    1: torch.uint8,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Numbers of the serialised scalar types that a network here may use."""
STRIDED = 7


def check_float32(kind: torch.dtype, what: str, where: str) -> None:
    """Accept whole numbers, booleans and float32.

    In another precision the program would round otherwise in production than it does here, and a step of rounding can
    be a switch.

    Raises:
        UnmeasuredError: it is another floating type.
    """
    if kind in FLOATS and kind != torch.float32:
        raise UnmeasuredError(
            f"the program {what} in {str(kind).removeprefix('torch.')}, and is measured in float32",
            where=where,
            hint="export the model in float32: model.float(), without autocast; or upload safetensors",
        )
