"""Programs that documents call and tests do not run: each holds its arguments against this repository instead."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]


def make(arguments: list[str]) -> int:
    """Let make say what it would do."""
    return subprocess.run(
        ["/usr/bin/make", "-n", "-C", str(ROOT), *arguments], stdout=subprocess.DEVNULL, check=False
    ).returncode


def pip(arguments: list[str]) -> int:
    """Look for the constraints and the extras that are named."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for option, value in pairwise(arguments):
        if option in {"-c", "--constraint"} and not (ROOT / value).is_file():
            return _complain(f"pip: no {value}")
    for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(arguments)):
        if missing := set(extra.split(",")) - set(extras):
            return _complain(f"pip: no extra {missing}")
    return 0


def docker(arguments: list[str]) -> int:
    """Run what the image would run, or look for the build's arguments in the Dockerfile."""
    if arguments[0] == "build":
        declared = re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        used = [value.partition("=")[0] for option, value in pairwise(arguments) if "-arg" in option]
        return _complain(f"docker: no ARG {used}") if not set(used) <= set(declared) else 0
    image = next(index for index, word in enumerate(arguments) if word.startswith("backdoor-gate"))
    return _become("backdoor-gate", ["backdoor-gate", *arguments[image + 1 :]])


def python(arguments: list[str]) -> int:
    """Look for a benchmark's module; run everything else."""
    if arguments[0] == "-m" and arguments[1].startswith("benchmarks."):
        sys.path.insert(0, str(ROOT))
        return 0 if importlib.util.find_spec(arguments[1]) else _complain(f"python: no {arguments[1]}")
    if arguments[:3] == ["-m", "pip", "install"]:
        return pip(arguments[2:])
    return _become(sys.executable, [sys.executable, *arguments])


def _become(program: str, words: list[str]) -> NoReturn:
    os.execvp(program, words)


def _complain(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return 1


PROGRAMS = {function.__name__: function for function in (make, pip, docker, python)}


def install(folder: Path) -> None:
    """Write one script for each program."""
    for name in PROGRAMS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        script.chmod(0o755)


if __name__ == "__main__":
    sys.exit(PROGRAMS[sys.argv[1]](sys.argv[2:]))
