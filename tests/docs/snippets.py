"""The fenced blocks of the documents, and what a shell block's lines are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        document: path of its file below the repository.
        line: of its fence.
        language: as the fence says; empty where it says none.
        body: without the indentation of the fence.
    """

    document: str
    line: int
    language: str
    body: str

    def __str__(self) -> str:
        """Say where it is."""
        return f"{self.document}:{self.line}"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a shell block, and the output that the block shows below it."""

    command: str
    output: tuple[str, ...] = ()


def blocks_of(path: Path) -> list[Block]:
    """Return the fenced blocks of a document."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    return [
        Block(
            name,
            text.count("\n", 0, match.start()) + 1,
            match["language"].strip(),
            re.sub(rf"^{match['indent']}", "", match["body"], flags=re.MULTILINE),
        )
        for match in _FENCE.finditer(text)
    ]


def fences(path: Path) -> int:
    """Return how many lines of a document open or close a block, whatever the blocks look like."""
    return len(re.findall(r"^\s*(?:```|~~~)", path.read_text(encoding="utf-8"), re.MULTILINE))


def steps_of(body: str) -> list[Step]:
    """Return the commands of a shell block: the lines after a prompt, or all lines where there is none."""
    lines = body.replace("\\\n", " ").splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return [Step(line) for line in lines if line.strip() and not line.startswith("#")]
    steps: list[Step] = []
    for line in lines:
        if line.startswith("$ "):
            steps.append(Step(line.removeprefix("$ ")))
        elif line.strip():
            steps[-1] = Step(steps[-1].command, (*steps[-1].output, line))
    return steps
