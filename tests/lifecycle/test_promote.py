"""`promote`: an alias moves only onto verified bytes, and whatever goes wrong takes it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from backdoor_gate.errors import GateError, NotVerifiedError, OutputError, UsageError
from backdoor_gate.lifecycle.promote import promote
from backdoor_gate.lifecycle.registry import Registry, check_alias
from backdoor_gate.publishers.mlflow import MlflowPublisher
from backdoor_gate.sources.directory import DirectorySource

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.promotion import Pipeline

    from backdoor_gate.candidate_facts import Reference


def promoted(pipeline: Pipeline, reference: Reference, registry: Registry | None = None) -> None:
    promote(reference, "champion", pipeline.claim, pipeline.source, registry or pipeline.registry)


@dataclass(slots=True)
class Watched(Registry):
    """Does something right after the alias was set for the first time."""

    then: Callable[[], object] = lambda: None
    done: bool = False

    def point(self, reference: Reference, alias: str, version: str | None) -> None:
        """Set it, then do that."""
        Registry.point(self, reference, alias, version)
        if not self.done:
            self.done = True
            self.then()


def refused(pipeline: Pipeline, reference: Reference, then: Callable[[], object]) -> str:
    with pytest.raises(NotVerifiedError) as caught:
        promoted(pipeline, reference, Watched(pipeline.uri, then=then))
    assert caught.value.exit_code == 6
    return caught.value.what


def test_a_verified_version_gets_the_alias(pipeline: Pipeline, name: str) -> None:
    first, second = pipeline.register(name), pipeline.register(name, b"more weights")
    for reference in (first, second):
        pipeline.publish(reference)
        promoted(pipeline, reference)
        assert pipeline.alias(reference, "champion") == reference.version
    promoted(pipeline, second)
    assert pipeline.alias(first, "champion") == "2"


def test_an_unverified_version_gets_nothing(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    registry = Watched(pipeline.uri)
    with pytest.raises(NotVerifiedError, match="no verdict"):
        promoted(pipeline, reference, registry)
    assert not registry.done  # not even for a moment
    assert pipeline.alias(reference, "champion") is None


def test_swapped_bytes_get_nothing(pipeline: Pipeline, name: str) -> None:
    good, bad = pipeline.register(name), pipeline.register(name)
    pipeline.publish(good)
    promoted(pipeline, good)
    pipeline.publish(bad)
    pipeline.overwrite(bad.uri, b"swapped")
    with pytest.raises(NotVerifiedError, match="digest mismatch"):
        promoted(pipeline, bad)
    assert pipeline.alias(bad, "champion") == "1"


def test_bytes_swapped_while_the_alias_moves(pipeline: Pipeline, name: str) -> None:
    good, bad = pipeline.register(name), pipeline.register(name)
    pipeline.publish(good)
    promoted(pipeline, good)
    pipeline.publish(bad)
    told = refused(pipeline, bad, lambda: pipeline.overwrite(bad.uri, b"swapped"))
    assert told.startswith("digest mismatch")
    assert told.endswith("; alias 'champion' is back at version 1")
    assert pipeline.alias(bad, "champion") == "1"


def test_the_first_alias_is_removed_again(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    told = refused(pipeline, reference, lambda: pipeline.overwrite(reference.uri, b"", "more.txt"))
    assert told.endswith("; alias 'champion' was removed")
    assert pipeline.alias(reference, "champion") is None


def test_a_version_that_is_replaced_before_the_alias_moves(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    tags = pipeline.tags(reference)

    @dataclass(slots=True)
    class Late(Registry):
        def point(self, reference: Reference, alias: str, version: str | None) -> None:
            """Let somebody put other bytes in its place under the same number, with its tags."""
            if version is not None:
                pipeline.wear(pipeline.register_anew(name, b"other weights"), tags)
            Registry.point(self, reference, alias, version)

    with pytest.raises(NotVerifiedError, match=r"registered at .*; alias 'champion' was removed"):
        promoted(pipeline, reference, Late(pipeline.uri))
    assert pipeline.alias(reference, "champion") is None


def test_a_new_scan_while_the_alias_moves(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    told = refused(pipeline, reference, lambda: MlflowPublisher(pipeline.uri).begin(reference, "feed"))
    assert told == "pending: scan feed has not finished; alias 'champion' was removed"


def test_somebody_else_moves_the_alias(pipeline: Pipeline, name: str) -> None:
    reference, other = pipeline.register(name), pipeline.register(name)
    pipeline.publish(reference)
    told = refused(pipeline, reference, lambda: Registry(pipeline.uri).point(other, "champion", "2"))
    assert told.startswith("alias 'champion' was moved to version 2 by someone else meanwhile; ")
    assert told.endswith("alias 'champion' was left as it is")
    assert pipeline.alias(reference, "champion") == "2"


def test_somebody_else_removes_the_alias(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    pipeline.publish(reference)
    told = refused(pipeline, reference, lambda: Registry(pipeline.uri).point(reference, "champion", None))
    assert told.startswith("alias 'champion' was moved to nothing by someone else meanwhile")


def test_the_alias_that_named_the_version_moves(pipeline: Pipeline, name: str) -> None:
    first, second = pipeline.register(name), pipeline.register(name)
    pipeline.publish(first)
    pipeline.registry.point(first, "challenger", "1")
    reference = pipeline.source.resolve(f"models:/{name}@challenger")
    pipeline.registry.point(second, "challenger", "2")
    with pytest.raises(NotVerifiedError, match="alias 'challenger' moved from version 1 to 2 while it was verified"):
        promoted(pipeline, reference)
    assert pipeline.alias(first, "champion") is None
    pipeline.registry.point(first, "challenger", None)
    with pytest.raises(NotVerifiedError, match="moved from version 1 to nothing"):
        promoted(pipeline, reference)
    pipeline.registry.point(first, "challenger", "1")
    promoted(pipeline, reference)
    assert pipeline.alias(first, "champion") == "1"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), RuntimeError(), OutputError("no")])
def test_whatever_stops_it_takes_the_alias_back(pipeline: Pipeline, name: str, stop: BaseException) -> None:
    good, other = pipeline.register(name), pipeline.register(name)
    for reference in (good, other):
        pipeline.publish(reference)
    promoted(pipeline, good)

    def then() -> None:
        raise stop

    with pytest.raises(type(stop)):
        promoted(pipeline, other, Watched(pipeline.uri, then=then))
    assert pipeline.alias(other, "champion") == "1"


def test_an_alias_that_cannot_be_taken_back_is_told(pipeline: Pipeline, name: str) -> None:
    @dataclass(slots=True)
    class OnceOnly(Watched):
        def point(self, reference: Reference, alias: str, version: str | None) -> None:
            if self.done:
                raise OutputError("access denied by the registry")
            Watched.point(self, reference, alias, version)

    reference = pipeline.register(name)
    pipeline.publish(reference)
    with pytest.raises(NotVerifiedError) as caught:
        promoted(
            pipeline, reference, OnceOnly(pipeline.uri, then=lambda: pipeline.overwrite(reference.uri, b"swapped"))
        )
    expected = "alias 'champion' may point to version 1, and could not be taken back (access denied by the registry)"
    assert caught.value.what == expected
    assert caught.value.hint == "take it back by hand"


@pytest.mark.parametrize("alias", ["", "latest", "Latest", "v3", "V12", "a b", "a/b", "ü", "x" * 256, "a\n"])
def test_what_is_no_alias(alias: str) -> None:
    with pytest.raises(UsageError, match="not an alias"):
        check_alias(alias)


@pytest.mark.parametrize("alias", ["champion", "v", "v3a", "latest-1", "A_b-9"])
def test_what_is_an_alias(alias: str) -> None:
    check_alias(alias)


def test_only_versions_are_promoted(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match="only registry versions can be promoted"):
        promoted(pipeline, DirectorySource().resolve(str(pipeline.folder)))


def test_an_unreachable_registry_is_a_read_error(pipeline: Pipeline, name: str) -> None:
    reference = pipeline.register(name)
    with pytest.raises(GateError) as caught:
        promoted(pipeline, reference, Registry("http://127.0.0.1:9"))
    assert caught.value.exit_code == 4
