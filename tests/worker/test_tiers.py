"""Which tier follows from which facts, and that no single side's word is enough."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from worker_records import NONCE, OPENING

from backdoor_gate.errors import RefusedError, UnmeasuredError
from backdoor_gate.worker import launch, probe, tiers
from backdoor_gate.worker.schema import LockdownDocument
from backdoor_gate.worker.tiers import Isolation, KernelFacts

if TYPE_CHECKING:
    from conftest import Script

    from backdoor_gate.records import Job, Progress

LOCKED = KernelFacts(filtered=True, no_new_privileges=True)
MET = {name: "ENOENT" if name == "gate's environment" else "EPERM" for name in probe.ATTEMPTS}


def told(**changes: Any) -> LockdownDocument:
    return LockdownDocument(
        **({"nonce": NONCE, "threads": 1, "landlock": 7, "faults": {}, "attempts": MET} | changes),
    )


def reached(
    document: LockdownDocument | None = None,
    kernel: KernelFacts = LOCKED,
    *,
    intact: bool = True,
    own_user: bool = True,
    outside: str = "",
) -> Isolation:
    return tiers.assess(document or told(), kernel, intact=intact, own_user=own_user, outside=outside)


def test_all_is_well_is_a() -> None:
    isolation = reached()
    assert (isolation.tier, isolation.missing) == ("A", ())
    assert isolation.notes == ("Landlock 7", "seccomp", "own user", "namespaces")


def test_without_namespaces_is_b() -> None:
    isolation = reached(outside="no bubblewrap: not installed", own_user=False)
    assert (isolation.tier, isolation.missing) == ("B", ("no bubblewrap: not installed",))
    assert isolation.notes == ("Landlock 7", "seccomp", "no own user", "no bubblewrap: not installed")


def test_a_user_that_could_not_be_changed_is_noted_and_no_more() -> None:
    isolation = reached(told(faults={"user": "EINVAL"}))
    assert isolation.tier == "A"
    assert "no own user" in isolation.notes


@pytest.mark.parametrize(
    ("document", "kernel", "intact", "missing"),
    [
        (told(landlock=0, faults={"landlock": "EOPNOTSUPP"}), LOCKED, True, ("no Landlock (EOPNOTSUPP)",)),
        (told(faults={"seccomp": "EINVAL"}), LOCKED, True, ("no seccomp (EINVAL)",)),
        (told(faults={"privileges": "EPERM"}), LOCKED, True, ("no no_new_privs (EPERM)",)),
        (told(landlock=0), LOCKED, True, ("no Landlock",)),
        (told(threads=2), LOCKED, True, ("more than one thread before Landlock",)),
        (told(), replace(LOCKED, filtered=False), True, ("a thread without seccomp",)),
        (told(), replace(LOCKED, no_new_privileges=False), True, ("a thread without no_new_privs",)),
        (told(), LOCKED, False, ("not denied: writing",)),
        (told(attempts={}), LOCKED, True, tuple(f"not denied: {name}" for name in probe.ATTEMPTS)),
        (told(attempts=MET | {"TCP": "done"}), LOCKED, True, ("not denied: TCP",)),
        (told(attempts=MET | {"program": "ENOENT"}), LOCKED, True, ("not denied: program",)),
        (told(attempts=MET | {"reading": "ENOENT"}), LOCKED, True, ("not denied: reading",)),
        (told(attempts=MET | {"tracing": "ESRCH"}), LOCKED, True, ("not denied: tracing",)),
    ],
)
def test_anything_less_is_c(
    document: LockdownDocument, kernel: KernelFacts, intact: bool, missing: tuple[str, ...]
) -> None:
    isolation = reached(document, kernel, intact=intact)
    assert (isolation.tier, isolation.missing) == ("C", missing)


@pytest.mark.parametrize(("tier", "minimum"), [("A", "A"), ("A", "C"), ("B", "B"), ("C", "C")])
def test_a_tier_that_will_do(tier: str, minimum: str) -> None:
    Isolation(tier, ("x",), ()).require(minimum)


@pytest.mark.parametrize(("tier", "minimum"), [("B", "A"), ("C", "A"), ("C", "B")])
def test_a_tier_that_will_not_do(tier: str, minimum: str) -> None:
    with pytest.raises(UnmeasuredError) as caught:
        Isolation(tier, ("no Landlock (ENOSYS)", "no seccomp (EINVAL)"), ()).require(minimum)
    assert caught.value.exit_code == 4
    assert caught.value.what == (
        f"sandbox unavailable: no Landlock (ENOSYS); no seccomp (EINVAL); policy needs tier {minimum}"
    )
    assert caught.value.hint


def test_the_kernel_is_asked() -> None:
    own = tiers.kernel_facts(os.getpid())
    assert own.filtered == ("Seccomp:\t2" in open("/proc/self/status").read())  # noqa: PTH123, SIM115
    code = "import ctypes, os, time; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0); print(flush=True); time.sleep(20)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert tiers.kernel_facts(child.pid).no_new_privileges
        child.kill()
    assert tiers.kernel_facts(child.pid) == KernelFacts(filtered=False, no_new_privileges=False)


# ------------------------------------------------------------------------------------------------ with a real child

LIAR = """
    document = {{"nonce": nonce, "threads": 1, "landlock": 7, "faults": {{}}, "attempts": {attempts}}}
    frame(b"L", json.dumps(document).encode())
    progress(total=len(sys.stdin.buffer.read()) or 1)
    result()
"""


def test_a_child_that_only_says_so_never_gets_its_job(job: Job, script: Script) -> None:
    heard: list[Progress] = []
    command = script(LIAR.format(attempts=MET), prelude=OPENING)
    with pytest.raises(UnmeasuredError, match=r"sandbox unavailable: a thread without seccomp.*policy needs tier B"):
        launch.run(job, heard.append, minimum="B", command=command)
    assert heard == []


def test_the_same_child_gets_its_job_where_the_policy_asks_for_no_more(job: Job, script: Script) -> None:
    heard: list[Progress] = []
    with pytest.raises(RefusedError, match="seen"):
        launch.run(job, heard.append, minimum="C", command=script(LIAR.format(attempts=MET), prelude=OPENING))
    assert heard[0].total > 100
