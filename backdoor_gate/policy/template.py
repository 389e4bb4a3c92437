"""The shipped policy: a commented file that works as it stands, and the template that `policy init` fills in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIPPED = Path(__file__).parent.parent / "policies" / "default.yaml"
"""Path of the shipped policy."""


def filled(values: Mapping[str, object]) -> str:
    """Return the shipped policy with examples and defaults replaced by values.

    Args:
        values: JSON values by key; the template's first line with the key is replaced, whether commented out or not.
    """
    text = SHIPPED.read_text(encoding="utf-8")
    for key, value in values.items():
        # JSON is YAML, but for the surrogate pairs that escaping would write.
        line = f"{key}: {json.dumps(value, ensure_ascii=False)}".replace("\\", r"\\")
        text = re.sub(rf"^( *)(?:# )?{key}: .*$", rf"\g<1>{line}", text, count=1, flags=re.MULTILINE)
    return text
