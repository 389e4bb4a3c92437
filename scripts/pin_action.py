"""Pin the action in README, docs and examples: `python scripts/pin_action.py OWNER/NAME COMMIT VERSION`.

Until the first release they name `OWNER`, and zeros in place of a commit. A commit cannot name itself, so this runs
after a release, for the commit that its tag points to.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PIN = re.compile(r"([\w.-]+/backdoor-gate)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)")
USAGE = "usage: pin_action.py OWNER/NAME COMMIT VERSION, with the full commit and a version such as v1.2.3"


def pinned_files(root: Path) -> list[Path]:
    """Return the files that show how to use the action."""
    return [root / "README.md", *sorted(root.glob("docs/**/*.md")), *sorted(root.glob("examples/**/*.yml"))]


def current(root: Path) -> tuple[str, str, str]:
    """Return repository, commit and version as README pins them; the other files say the same."""
    found = PIN.search((root / "README.md").read_text(encoding="utf-8"))
    if not found:
        sys.exit("README.md does not pin the action")
    return found[1], found[2], found[3]


def pin(root: Path, repository: str, commit: str, version: str) -> None:
    """Rewrite every pin below `root`."""
    old_repository, old_commit, old_version = current(root)
    for path in pinned_files(root):
        text = path.read_text(encoding="utf-8")
        changed = text.replace(f"{old_commit} # {old_version}", f"{commit} # {version}")
        changed = changed.replace(old_repository, repository)
        if changed != text:
            path.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 4 or not PIN.fullmatch("{}@{} # {}".format(*sys.argv[1:])):
        sys.exit(USAGE)
    pin(Path(__file__).parent.parent, *sys.argv[1:])
