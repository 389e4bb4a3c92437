"""Stop the build of an image whose torch is not the one that its variant promises.

`python check_variant.py cpu|cuda`, in the environment that the image is made of.
"""

from __future__ import annotations

import sys

import torch


def complaint(variant: str, cuda: str | None) -> str | None:
    """Return what is wrong, or None.

    Args:
        variant: `cpu` or `cuda`.
        cuda: the CUDA version that torch was built with; None for a CPU build.
    """
    if variant not in {"cpu", "cuda"}:
        return f"VARIANT is cpu or cuda, not {variant!r}"
    if (cuda is not None) != (variant == "cuda"):
        found = f"built with CUDA {cuda}" if cuda else "built without CUDA"
        return f"VARIANT={variant}, but torch is {found}: name an index with the other build as TORCH_INDEX"
    return None


if __name__ == "__main__":
    sys.exit(complaint(*sys.argv[1:], torch.version.cuda))
