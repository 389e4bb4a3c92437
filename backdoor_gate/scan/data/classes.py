"""The classes to work with, where there are too many for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def at_most(most: int, classes: Tensor, seed: int) -> Tensor:
    """Return the classes (S,) int64, ascending; of more than `most`, so many drawn at random by the seed."""
    if len(classes) <= most:
        return classes
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    return classes[order[:most].to(classes.device)].sort().values
