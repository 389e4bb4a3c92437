"""A policy as the rest of the house sees it: frozen, complete, with absolute paths."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.errors import UsageError, together
from backdoor_gate.sources import is_artifact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

    from backdoor_gate.catalogue import DetectorPlan
    from backdoor_gate.errors import GateError
    from backdoor_gate.records import Declared, Limits, PolicyRef
    from backdoor_gate.verdict.judgement import Judgement

_KEY = re.compile(
    r"model\.(?:architecture(?:_path|_kwargs)?|num_classes|input(?:\.\w+)*|(?:unsafe_)?formats)"
    r"|data\.(?:clean|max_images)|(?:limits|signing|detectors)\.\w+",
    re.ASCII,
)
"""What names a key of a policy, as errors about one do; `model.pt2` is a file."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What the policy says of one model.

    Attributes:
        declared: of its input and output.
        architecture: `package.module:callable`; None where the artifact must hold the graph.
        architecture_path: absolute folder to import it from first.
        architecture_kwargs: its arguments, JSON values, sorted by name.
        formats: acceptable formats of the weights.
        data: clean images, an absolute path or an artifact URI; None for synthetic probes.
        max_images: how many of them are used at most; None: what `scan.data` takes by itself.
        unsafe_formats: acceptable formats besides, which can run the candidate's code.
    """

    declared: Declared
    architecture: str | None
    architecture_path: Path | None
    architecture_kwargs: tuple[tuple[str, object], ...]
    formats: tuple[str, ...]
    data: str | None
    max_images: int | None
    unsafe_formats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs verdicts, and whose signature counts.

    Attributes:
        key: private key that signs, an absolute path or `env:NAME`; None for the user's own.
        trusted: absolute paths of public keys, at least one.
    """

    key: str | None
    trusted: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy file, read and checked.

    Attributes:
        ref: which file it is.
        entries: glob on a model's name or path, and the plan for it; the first that matches counts.
        detectors: those that run, in catalogue order, with complete settings.
        limits: of one worker run.
        minimum_isolation: weakest acceptable tier, `A` (strongest), `B` or `C`.
        verdict_ttl: how long a verdict is valid.
        judgement: what `verdict` needs of it.
        signing: None where only the user's own key signs and counts.
        references: absolute path of the references' file; None where the shipped limits decide alone.
        lines: line of each key, dotted, such as `models[0].model.input.shape`.
    """

    ref: PolicyRef
    entries: tuple[tuple[str, ModelPlan], ...]
    detectors: tuple[DetectorPlan, ...]
    limits: Limits
    minimum_isolation: str
    verdict_ttl: timedelta
    judgement: Judgement
    signing: Signing | None = None
    references: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def plan_for(self, name: str) -> ModelPlan:
        """Return the plan for a registered model's name, or for a path as given.

        Raises:
            UsageError: no entry matches.
        """
        return self._entry_for(name)[1]

    def entry_digest(self, name: str) -> str:
        """Return `sha256:<hex>` of the entry for a registered model's name, or for a path as given.

        It covers what the entry says, but for the places of the code and of the clean data: their content has digests
        of its own, and on another machine they lie elsewhere.

        Raises:
            UsageError: no entry matches.
        """
        pattern, plan = self._entry_for(name)
        content = {"match": pattern, **asdict(replace(plan, architecture_path=None, data=None))}
        text = json.dumps(content, separators=(",", ":"), sort_keys=True)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def _entry_for(self, name: str) -> tuple[str, ModelPlan]:
        for pattern, plan in self.entries:
            if fnmatchcase(name, pattern):
                return pattern, plan
        raise UsageError(
            f"no entry of 'models' matches {name[:200]!a}",
            where=self.place("models"),
            hint="add an entry for it, or a last one with match: '*'",
        )

    def covers(self, name: str) -> bool:
        """Whether an entry matches a registered model's name."""
        return any(fnmatchcase(name, pattern) for pattern, _ in self.entries)

    def place(self, key: str, name: str | None = None) -> str:
        """Return file and line of a key, or of the nearest one above it that the file has; the file alone for none.

        Args:
            key: dotted, such as `model.input.shape`.
            name: of the model that it is about, where `models` has an entry for it.
        """
        entry = next((i for i, (pattern, _) in enumerate(self.entries) if name and fnmatchcase(name, pattern)), None)
        parts = key.split(".")
        above = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        known = (self.lines.get(place) for place in (*(f"models[{entry}].{each}" for each in above), *above))
        of_entry = self.lines.get(f"models[{entry}]") if parts[0] in {"model", "data"} else None
        line = next((line for line in (*known, of_entry) if line), None)
        return f"{self.ref.path}:{line}" if line else self.ref.path

    def locate(self, error: GateError, name: str | None) -> None:
        """Put file and line in front of the policy key that an error is about, if it is about one."""
        if _KEY.fullmatch(error.where):
            error.where = f"{self.place(error.where, name)}: {error.where}"

    def check_paths(self) -> None:
        """Check that the local folders and files it names exist.

        Raises:
            UsageError: some do not.
        """
        absent = tuple(self.absent_paths())
        if absent:
            raise together(absent)

    def absent_paths(self) -> Iterator[UsageError]:
        """Yield a complaint about each local folder or file that it names and that does not exist."""
        for name, plan in self.entries:
            if plan.architecture_path and not plan.architecture_path.is_dir():
                yield self._absent("model.architecture_path", "folder", str(plan.architecture_path), name)
            if plan.data and not is_artifact(plan.data) and not Path(plan.data).exists():
                yield self._absent("data.clean", "file or folder", plan.data, name)
        for path in self.signing.trusted if self.signing else ():
            if not path.is_file():
                yield self._absent("signing.trusted", "file", str(path))

    def _absent(self, key: str, kind: str, path: str, name: str | None = None) -> UsageError:
        hint = "correct the path; it is relative to the policy file"
        return UsageError(f"{key}: no such {kind}: {path}", where=self.place(key, name), hint=hint)
