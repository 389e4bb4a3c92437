"""What the control sees as one."""

from __future__ import annotations

import pytest

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.data.grains import grain


@pytest.mark.parametrize(("side", "size"), [(8, 1), (32, 1), (63, 1), (64, 2), (224, 7)])
def test_what_is_finer_than_a_grain_it_cannot_tell(side: int, size: int) -> None:
    assert grain(InputSpec((3, side, side + 9))) == size
