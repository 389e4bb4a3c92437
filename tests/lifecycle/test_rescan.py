"""`rescan` over a registry in a file: which versions are due, and why; what counts; what one failure stops."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.promotion import POLICY, Pipeline

from backdoor_gate.audit import Audited
from backdoor_gate.catalogue import PACK_VERSION
from backdoor_gate.errors import OutputError, RegistryReadError, UsageError
from backdoor_gate.fleet import Action, Due, RegisteredVersion
from backdoor_gate.lifecycle import registry as registry_module
from backdoor_gate.lifecycle.due import Reviewer
from backdoor_gate.lifecycle.registry import Registry
from backdoor_gate.lifecycle.rescan import rescan, survey
from backdoor_gate.lifecycle.trust import trusted_keys
from backdoor_gate.publishers.attestation import keys
from backdoor_gate.publishers.mlflow import MlflowPublisher
from backdoor_gate.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.candidate_facts import Reference
    from backdoor_gate.fleet import Reason, RescanReport

NOW = datetime.now(UTC)
DAY = 86400


class Watched(Pipeline):
    """A pipeline whose models all begin with one name, so that other tests' models are none of its business."""

    name: str
    scanned: list[str]

    def cover(self, *patterns: str) -> None:
        """Let the policy be for these models."""
        model = POLICY.partition("model:\n")[2].partition("data:")[0].replace("\n", "\n    ").rstrip()
        entries = "".join(f"  - match: '{pattern}'\n    model:\n    {model}\n" for pattern in patterns)
        text = POLICY.partition("model:\n")[0] + "models:\n" + entries + "data:" + POLICY.partition("data:")[2]
        (self.folder / "policy.yaml").write_text(text)

    def reviewer(self, **changes: Any) -> Reviewer:
        """Return what says which versions are due."""
        return Reviewer(self.policy, trusted_keys(self.policy), self.source, self.registry, **changes)

    def reviewed(self, reference: Reference, *, fetch: bool = True, **changes: Any) -> Due | Verdict:
        """Return why a version is due, or the verdict that stands."""
        found = self.reviewer(**changes).review(reference, fetch=fetch)
        return found.verdict if not hasattr(found, "due") else found.due

    def scan(self, version: RegisteredVersion, _reason: Reason) -> Audited:
        """Stand in for a scan: it passes, and publishes that."""
        self.scanned.append(version.uri)
        return Audited(self.publish(self.source.resolve(version.uri)))

    def run(self, scan: Callable[..., Audited] | None = None, **options: Any) -> RescanReport:
        """Re-scan what the policy covers."""
        return rescan(survey(self.registry, self.policy), self.reviewer(), scan or self.scan, **options)


@pytest.fixture
def watched(sqlite_registry: str, tmp_path: Path, name: str) -> Watched:
    """A pipeline with a policy for the models of this test."""
    made = Watched(sqlite_registry, tmp_path)
    made.name, made.scanned = name, []
    made.cover(f"{name}*")
    return made


def outcome(report: RescanReport) -> list[tuple[str, Action, int]]:
    return [(result.version.uri, result.action, result.exit_code) for result in report.results]


# ---------------------------------------------------------------------------------------------- what is listed


def test_every_page_of_a_large_registry_is_read(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "_PAGE", 3)
    names = [f"{watched.name}-{index}" for index in range(7)]
    for name in names:
        watched.client.create_registered_model(name)
    for _ in range(8):
        watched.client.create_model_version(names[0], "somewhere")
    found = watched.registry.names()
    assert [name for name in found if name.startswith(watched.name)] == names
    assert len(found) == len(set(found))
    assert sorted(int(version.version) for version in watched.registry.versions(names[0])) == list(range(1, 9))
    assert watched.registry.versions(names[1]) == ()


@pytest.mark.parametrize(
    "suffix", ["it's", 'say "hi"', "both'\"", "per%cent", "under_score", "' OR name LIKE '%", "Ä\\"]
)
def test_names_that_a_filter_could_misread(watched: Watched, suffix: str) -> None:
    name = f"{watched.name}{suffix}"
    for each in (name, f"{watched.name}underXscore", f"{watched.name}per-cent"):
        watched.client.create_registered_model(each)
        watched.client.create_model_version(each, "somewhere")
    assert watched.registry.versions(name) == (RegisteredVersion(name, "1"),)
    for each in (name, f"{watched.name}underXscore", f"{watched.name}per-cent"):
        watched.client.delete_registered_model(each)


def test_aliases_and_stages_are_use(watched: Watched) -> None:
    for _ in range(4):
        watched.register(watched.name)
    watched.client.set_registered_model_alias(watched.name, "champion", "2")
    watched.client.set_registered_model_alias(watched.name, "best", "2")
    for version, stage in {"3": "Production", "4": "Archived"}.items():
        with pytest.warns(FutureWarning):
            watched.client.transition_model_version_stage(watched.name, version, stage)
    found = {version.version: version.used_as for version in watched.registry.versions(watched.name)}
    assert found == {"1": (), "2": ("@best", "@champion"), "3": ("Production",), "4": ()}
    ordered = [version.version for version in survey(watched.registry, watched.policy).versions]
    assert ordered == ["3", "2", "4", "1"]


def test_a_version_that_only_an_alias_knows_of_is_no_hole(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.register(watched.name)
    watched.client.set_registered_model_alias(watched.name, "champion", "1")
    monkeypatch.setattr(registry_module, "_pages", lambda _: [])
    assert watched.registry.versions(watched.name) == (RegisteredVersion(watched.name, "1", ("champion",)),)


def test_only_what_the_policy_covers(watched: Watched) -> None:
    covered, other = watched.register(watched.name), watched.register(f"other-{watched.name}")
    report = watched.run()
    assert watched.scanned == [covered.uri]
    assert other.name in report.uncovered
    watched.cover("nothing-*")
    with pytest.raises(UsageError, match=r"none of \d+ registered models has a version that the policy covers"):
        watched.run()


# ---------------------------------------------------------------------------------------------- what is due


def test_a_verdict_that_stands(watched: Watched) -> None:
    reference = watched.register(watched.name)
    watched.publish(reference)
    assert watched.reviewed(reference) is Verdict.PASS
    report = watched.run()
    assert outcome(report) == [(reference.uri, Action.KEPT, 0)]
    assert (watched.scanned, report.exit_code) == ([], 0)


def test_what_was_never_scanned_or_not_to_the_end(watched: Watched) -> None:
    reference = watched.register(watched.name)
    assert watched.reviewed(reference) is Due.NO_VERDICT
    MlflowPublisher(watched.uri).begin(reference, "feedface")
    assert watched.reviewed(reference) is Due.UNFINISHED


def test_what_nobody_can_believe(watched: Watched, tmp_path: Path) -> None:
    claimed = watched.register(watched.name)
    watched.tag(claimed, "verdict", "PASS")
    assert watched.reviewed(claimed) is Due.UNPROVEN
    forged = watched.register(watched.name)
    watched.publish(forged, key=keys.create(tmp_path / "other.key"))
    assert watched.reviewed(forged) is Due.UNPROVEN
    copied = watched.register(watched.name)
    watched.wear(copied, watched.tags(forged))
    assert watched.reviewed(copied) is Due.UNPROVEN
    contradicted = watched.register(watched.name)
    watched.publish(contradicted, decision=replace(watched.passed(contradicted).decision, verdict=Verdict.BLOCK))
    assert watched.reviewed(contradicted) is Verdict.BLOCK
    watched.tag(contradicted, "verdict", "PASS")
    assert watched.reviewed(contradicted) is Due.UNPROVEN


def test_what_another_version_of_the_same_name_earned(watched: Watched) -> None:
    first = watched.register(watched.name)
    candidate = watched.publish(first).candidate
    tags = watched.tags(first)
    again = watched.register_anew(watched.name)
    watched.wear(again, tags)
    assert watched.reviewed(again) is Due.UNPROVEN
    assert candidate
    watched.publish(again, candidate=replace(candidate, registered=None))
    assert watched.reviewed(again) is Due.UNPROVEN, "an older gate's statement does not say which version it means"
    assert outcome(watched.run()) == [(again.uri, Action.SCANNED, 0)]
    assert watched.reviewed(again) is Verdict.PASS


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({"detector_pack": "2026.10"}, Due.DETECTOR_PACK),
        ({"detector_pack": "2026.9.9"}, Due.DETECTOR_PACK),
        ({"detector_pack": "2999.1"}, Verdict.PASS),
        ({"detector_pack": PACK_VERSION}, Verdict.PASS),
        ({"entry_digest": "sha256:" + "00" * 32}, Due.POLICY),
        ({"entry_digest": None}, Due.POLICY),
        ({"architecture_digest": "sha256:" + "00" * 32}, Due.ARCHITECTURE),
        ({"data_digest": None}, Due.DATA),
        ({"expires_at": NOW - timedelta(seconds=1)}, Due.EXPIRED),
        ({"scanned_at": NOW + timedelta(days=1)}, Due.EXPIRED),
        ({"scanned_at": NOW - timedelta(days=30)}, Due.STALE),
        ({"scanned_at": NOW - timedelta(days=29)}, Verdict.PASS),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_what_is_out_of_date(watched: Watched, changes: dict[str, Any], due: Due | Verdict) -> None:
    reference = watched.register(watched.name)
    watched.publish(reference, **changes)
    assert watched.reviewed(reference, stale_after=30 * DAY) is due


def test_without_an_age_only_expiry_counts(watched: Watched) -> None:
    reference = watched.register(watched.name)
    watched.publish(reference, scanned_at=NOW - timedelta(days=80))
    assert watched.reviewed(reference) is Verdict.PASS


@pytest.mark.parametrize(
    ("verdict", "due"),
    [(Verdict.BLOCK, Verdict.BLOCK), (Verdict.REFUSED, Verdict.REFUSED), (Verdict.INCONCLUSIVE, Due.INCONCLUSIVE)],
)
def test_other_verdicts(watched: Watched, verdict: Verdict, due: Due | Verdict) -> None:
    reference = watched.register(watched.name)
    watched.publish(reference, decision=replace(watched.passed(reference).decision, verdict=verdict))
    assert watched.reviewed(reference) is due


def test_another_policy(watched: Watched) -> None:
    reference = watched.register(watched.name)
    watched.publish(reference)
    with (watched.folder / "policy.yaml").open("a") as file:
        file.write("# a comment makes it another file\n")
    assert watched.reviewed(reference) is Due.POLICY


def test_other_references(watched: Watched) -> None:
    reference = watched.register(watched.name)
    watched.calibrate(0.01)
    watched.publish(reference)
    assert watched.reviewed(reference) is Verdict.PASS
    watched.calibrate(0.02)
    assert watched.reviewed(reference) is Due.REFERENCES


def test_changed_bytes(watched: Watched) -> None:
    reference = watched.register(watched.name)
    watched.publish(reference)
    watched.overwrite(reference.uri, b"other weights")
    assert watched.reviewed(reference, fetch=False) is Verdict.PASS
    assert watched.reviewed(reference) is Due.BYTES
    watched.overwrite(reference.uri, b"flavors: {", "MLmodel")
    assert watched.reviewed(reference) is Due.BYTES


def test_whose_bytes_are_fetched(watched: Watched) -> None:
    old, newest = watched.register(watched.name), watched.register(watched.name)
    for reference in (old, newest):
        watched.publish(reference)
        watched.overwrite(reference.uri, b"other weights")
    assert outcome(watched.run(fetch_all=False)) == [
        (newest.uri, Action.SCANNED, 0),
        (old.uri, Action.KEPT, 0),
    ]
    assert outcome(watched.run())[1] == (old.uri, Action.SCANNED, 0)


# ---------------------------------------------------------------------------------------------- the run


def test_a_dry_run_changes_nothing(watched: Watched) -> None:
    due, kept = watched.register(watched.name), watched.register(watched.name)
    watched.publish(kept)
    before = watched.tags(due), watched.tags(kept)
    report = rescan(survey(watched.registry, watched.policy), watched.reviewer(), None)
    assert outcome(report) == [(kept.uri, Action.KEPT, 0), (due.uri, Action.LISTED, 0)]
    assert (watched.tags(due), watched.tags(kept)) == before
    assert (report.dry_run, report.exit_code) == (True, 0)


def blocking(watched: Watched, *uris: str) -> Callable[..., Audited]:
    """Return a scan that blocks these versions."""

    def scan(version: RegisteredVersion, reason: Reason) -> Audited:
        done = watched.scan(version, reason)
        verdict = Verdict.BLOCK if version.uri in uris else Verdict.PASS
        decision = replace(done.report.decision, verdict=verdict)
        return Audited(watched.publish(watched.source.resolve(version.uri), decision=decision))

    return scan


def test_the_versions_in_use_decide(watched: Watched) -> None:
    first, second = watched.register(watched.name), watched.register(watched.name)
    watched.registry.point(first, "champion", "1")
    report = watched.run(blocking(watched, second.uri))
    assert outcome(report) == [(first.uri, Action.SCANNED, 0), (second.uri, Action.SCANNED, 1)]
    assert report.exit_code == 0
    watched.registry.point(second, "challenger", "2")
    report = watched.run()
    assert outcome(report) == [(second.uri, Action.KEPT, 1), (first.uri, Action.KEPT, 0)]
    assert report.exit_code == 1, "a BLOCK that stands stays red for as long as the version is in use"


def test_without_aliases_the_newest_version_decides(watched: Watched) -> None:
    first, second = watched.register(watched.name), watched.register(watched.name)
    assert watched.run(blocking(watched, first.uri)).exit_code == 0
    with (watched.folder / "policy.yaml").open("a") as file:
        file.write("# anew\n")
    assert watched.run(blocking(watched, second.uri)).exit_code == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ZeroDivisionError("x"), 70, "internal error: ZeroDivisionError: x"),
        (UsageError("no such file or folder", where="clean.npz"), 2, "clean.npz: no such file or folder"),
        (RegistryReadError("gone"), 4, "gone"),
        (OSError(28, "No space left on device"), 4, "the candidate could not be copied: No space left on device"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_failure_never_stops_the_rest(watched: Watched, error: Exception, code: int, words: str) -> None:
    used, other = watched.register(watched.name), watched.register(watched.name)
    watched.registry.point(used, "champion", "1")

    def scan(version: RegisteredVersion, reason: Reason) -> Audited:
        if version.uri == used.uri:
            raise error
        return watched.scan(version, reason)

    report = watched.run(scan)
    assert outcome(report) == [(used.uri, Action.FAILED, code), (other.uri, Action.SCANNED, 0)]
    assert report.exit_code == code
    assert report.results[0].reason
    assert words in report.results[0].faults[0]


def test_an_unreadable_version_keeps_its_verdict_and_fails_the_run(watched: Watched) -> None:
    reference, other = watched.register(watched.name), watched.register(watched.name)
    watched.registry.point(reference, "champion", "1")
    watched.publish(reference)
    Path(str(reference.source).removeprefix("file://")).rename(watched.folder / "elsewhere")
    for scan in (watched.scan, None):
        report = rescan(survey(watched.registry, watched.policy), watched.reviewer(), scan)
        assert outcome(report)[0] == (reference.uri, Action.FAILED, 4)
        assert report.exit_code == 4
    assert watched.scanned == [other.uri]
    assert watched.tags(reference)["backdoor_gate.verdict"] == "PASS"


def test_missing_clean_data_stop_no_other_model(watched: Watched) -> None:
    """The policy's entry for one model names data that are not there."""
    reference = watched.register(watched.name)
    watched.publish(reference)
    (watched.folder / "clean.npz").unlink()
    report = watched.run()
    assert outcome(report) == [(reference.uri, Action.FAILED, 2)]
    assert "no such file or folder" in report.results[0].faults[0]


def test_tags_that_could_not_be_written_are_five(watched: Watched) -> None:
    reference = watched.register(watched.name)

    def scan(_version: RegisteredVersion, _reason: Reason) -> Audited:
        return Audited(watched.passed(reference), (OutputError("access denied by the registry"),))

    report = watched.run(scan)
    assert (outcome(report), report.exit_code) == ([(reference.uri, Action.SCANNED, 5)], 5)
    assert report.results[0].faults == ("access denied by the registry",)


def test_an_interruption_ends_the_run(watched: Watched) -> None:
    watched.register(watched.name)

    def scan(_version: RegisteredVersion, _reason: Reason) -> Audited:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched.run(scan)


def test_an_unreachable_registry(watched: Watched) -> None:
    with pytest.raises(RegistryReadError):
        survey(Registry("sqlite:///none.db"), watched.policy)
