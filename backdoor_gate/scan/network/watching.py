"""The operators that a pass comes down to, on any network, module or graph."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Iterator


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator that a pass within it comes down to, before and after it runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __init_subclass__(cls) -> None:
        """Say to the type checker what torch does not."""
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler, two seconds of CPU, only to say that there is nothing to compile."""
        return False

    def saw(self, operator: Any, args: tuple[Any, ...]) -> None:
        """Take note of an operator about to run.

        Args:
            operator: an overload of `torch.ops`.
            args: by position, as it gets them.
        """

    def made(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Take note of what an operator has returned.

        Args:
            operator: as for `saw`.
            args: likewise.
            kwargs: those by name.
            result: a tensor or several, which may be written into.
        """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator."""
        self.saw(func, args)
        result = func(*args, **(kwargs or {}))
        self.made(func, args, kwargs or {}, result)
        return result


def tensors_in(args: tuple[Any, ...] | list[Any]) -> Iterator[Tensor]:
    """Yield the tensors among an operator's arguments, those in lists too."""
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg
        elif isinstance(arg, tuple | list):
            yield from tensors_in(arg)


@contextmanager
def without_shortcuts() -> Iterator[None]:
    """Let attention run as it was exported, and not by the one operator that torch has for it in evaluation."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
