"""What the server enforces: read from its environment, decided from a version's own tags."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.enforcement import policies
from backdoor_gate.errors import NotVerifiedError, UsageError
from backdoor_gate.lifecycle import standing
from backdoor_gate.mlflow_client import GATE_SAYS
from backdoor_gate.publishers.attestation import checks
from backdoor_gate.publishers.attestation.keys import load_public
from backdoor_gate.publishers.mlflow import STATEMENT, VERDICT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backdoor_gate.candidate_facts import Registration
    from backdoor_gate.enforcement.policies import NamedPolicy
    from backdoor_gate.publishers.attestation.keys import PublicKey
    from backdoor_gate.publishers.attestation.statement import Statement

TRUSTED = "BACKDOOR_GATE_TRUSTED"
"""Environment variable: public key files, separated as in PATH."""
ALIASES = "BACKDOOR_GATE_ENFORCED_ALIASES"
"""Environment variable: aliases that need a statement, separated by commas; `*` is every alias."""
STAGES = "BACKDOOR_GATE_ENFORCED_STAGES"
"""Environment variable: stages that need a statement, separated by commas."""
DEFAULT_ALIASES = "champion,production,prod"
DEFAULT_STAGES = "Production"
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_LEGAL_STAGES = {"none", "staging", "production", "archived"}


@dataclass(frozen=True, slots=True)
class Rules:
    """Which names need a signed PASS, and whose signature counts.

    Attributes:
        trusted: at least one key.
        aliases: as `folded` leaves them.
        stages: in lower case.
        policies: of which one must have judged; without any, whichever did.
    """

    trusted: tuple[PublicKey, ...]
    aliases: frozenset[str]
    stages: frozenset[str]
    policies: tuple[NamedPolicy, ...] = ()

    def covers_alias(self, alias: str) -> bool:
        """Whether an alias needs a statement: one that a database may take for an enforced one does, too."""
        if not _PLAIN.fullmatch(alias):  # what the database's collation makes of other characters is not known here
            return True
        return "*" in self.aliases or folded(alias) in self.aliases

    def covers_stage(self, stage: str) -> bool:
        """Whether a stage needs a statement."""
        return stage.lower() in self.stages

    def check(self, name: str, version: str, registered: Registration | None, tags: Mapping[str, str]) -> None:
        """Check that a version carries a signed, current PASS about itself. Bytes are not looked at.

        Args:
            name: of the model.
            version: its number.
            registered: which entry of the registry it is; None where that does not say.
            tags: all that it carries.

        Raises:
            NotVerifiedError: it does not.
        """
        checks.check_verdict_tag(tags.get(VERDICT))
        statement, _ = checks.opened(tags.get(STATEMENT), self.trusted)
        checks.check_origin(statement, f"models:/{name}/{version}")
        checks.check_registration(statement, registered)
        policies.check_judged(statement, name, self.policies)
        standing.check_pack(statement)
        checks.check_current(statement, tags.get(VERDICT), datetime.now(UTC))

    def check_replacement(self, registered: Registration | None, held: str | None, given: str | None) -> None:
        """Check that a version's statement makes way for a newer one about the same version, and for nothing else.

        Else an older PASS could be put in place of a BLOCK, at once or by way of an empty tag. Names do not count here:
        a model can be renamed in between.

        Args:
            registered: which entry of the registry the version is; None where that does not say.
            held: the tag as it is; None where there is none.
            given: what it is to be; None to remove it.

        Raises:
            NotVerifiedError: a signed statement about this version would be lost, or one of the future would come.
        """
        before, after = self._about(registered, held), self._about(registered, given)
        if after:
            checks.check_not_ahead(after, datetime.now(UTC))
        if before and not after:
            what = f"that of {before.scanned_at.isoformat()} stands until a newer one of this version by a trusted key"
            raise NotVerifiedError(f"{what} takes its place", hint="scan it again")
        if before and after and after.scanned_at <= before.scanned_at:
            times = f"{after.scanned_at.isoformat()}, and the one that stands of {before.scanned_at.isoformat()}"
            hint = "scan it again, and if it was scanned just now, set the clock of that machine"
            raise NotVerifiedError(f"it is of {times}", hint=hint)

    def _about(self, registered: Registration | None, envelope: str | None) -> Statement | None:
        """Return what a trusted key has signed about this entry of the registry; None where that is nothing."""
        try:
            statement, _ = checks.opened(envelope, self.trusted)
            checks.check_origin(statement, None)
            checks.check_registration(statement, registered)
        except NotVerifiedError:
            return None
        return statement


def from_environment() -> Rules:
    """Return what this server's environment asks for.

    Raises:
        UsageError: no trusted key is named, a key or a policy cannot be read, or a stage is none.
    """
    paths = [path for path in os.environ.get(TRUSTED, "").split(os.pathsep) if path]
    if not paths:
        hint = "set it to the .pub files whose signature counts"
        raise UsageError("a gated registry store needs at least one trusted key", where=TRUSTED, hint=hint)
    stages = _listed(STAGES, DEFAULT_STAGES)
    if unknown := sorted(stages - _LEGAL_STAGES):
        raise UsageError(f"no such stage: {unknown[0]!a:.40}", where=STAGES, hint="write Production or Staging")
    trusted = tuple(load_public(Path(path)) for path in paths)
    aliases = frozenset(map(folded, _listed(ALIASES, DEFAULT_ALIASES)))
    return Rules(trusted, aliases, stages, policies.from_environment())


def folded(alias: str) -> str:
    """Return an alias without cases, accents and compatibility forms, which a database may not tell apart."""
    parts = unicodedata.normalize("NFKD", alias.casefold())
    return "".join(char for char in parts if not unicodedata.combining(char)).casefold()


def denial(error: NotVerifiedError, what: str) -> str:
    """Return the message for the client whose request was refused."""
    advice = f"; {error.hint}" if error.hint else ""
    return f"{GATE_SAYS}{what} refused: {error.what}{advice}"


def _listed(variable: str, default: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in os.environ.get(variable, default).split(",") if name.strip())
