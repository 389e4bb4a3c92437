"""What a candidate's code would meet if it ever ran: each attack against each layer, measured on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from locked import HERE, Target, run, why_not

from backdoor_gate.errors import WorkerError
from backdoor_gate.worker import identity, landlock

if TYPE_CHECKING:
    from backdoor_gate.records import Progress

pytestmark = pytest.mark.skipif(bool(why_not("B")), reason=why_not("B") or "-")


@dataclass(frozen=True)
class Attack:
    """What stops it, apart from both layers together: `L` Landlock (from a version on), `S` seccomp."""

    stopped_by: str
    from_version: int = 1
    succeeds_unhindered: bool = True


SECCOMP = Attack("S")
ATTACKS = {
    "tcp": Attack("LS", 4),
    "udp": SECCOMP,
    "unix": SECCOMP,
    "socket_pair": SECCOMP,
    "read_credential": Attack("L"),
    "list_outside": Attack("L"),
    "write_outside": Attack("L"),
    "append_outside": Attack("L"),
    "write_granted": Attack("L"),
    "truncate_granted": Attack("LS", 3),
    "change_mode_outside": SECCOMP,
    "change_owner_outside": SECCOMP,
    "link_outside": Attack("LS"),
    "read_through_a_link": Attack("LS"),
    "gate_command_line": Attack("L"),
    "gate_environment": Attack("L", succeeds_unhindered=False),
    "gate_memory": Attack("L", succeeds_unhindered=False),
    "signal_gate": Attack("LS", 6),
    "signal_by_descriptor": SECCOMP,
    "trace_gate": Attack("LS", succeeds_unhindered=False),
    "limit_gate": SECCOMP,
    "execute": Attack("LS"),
    "run_a_shell": Attack("LS"),
    "be_traceable_again": SECCOMP,
    "outlive_the_gate": SECCOMP,
}
"""Attacks that do no harm where they succeed."""
CALLS = [
    "process_vm_readv",
    "pidfd_open",
    "io_uring_setup",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "mount",
    "setns",
    "chroot",
    "open_by_handle_at",
    "name_to_handle_at",
    "init_module",
    "kexec_load",
    "reboot",
    "personality",
    "shmget",
    "mq_open",
    "inotify_init1",
    "fanotify_init",
    "setsid",
    "vmsplice",
    "clone3",
    "openat2",
    "new_namespace",
    "become_root",
]
HARMFUL = ["execute_in_place", "execute_from_memory", "leave_a_daemon", "remove_outside"]
"""Attacks that are only tried behind both layers."""

DENIED = {"EPERM", "EACCES", "ENOSYS", "EXDEV"}
HIDDEN = {"ENOENT", "ESRCH", "EROFS"}
"""What namespaces answer: there is no such thing, or it cannot be written to."""


def met(target: Target, layer: str, attacks: list[str]) -> dict[str, Any]:
    """Return what the attacks met behind a layer; one child per layer and list, however many tests ask."""
    key = f"{layer} {' '.join(attacks)}"
    if key not in target.known:
        target.known[key] = target.attack(layer, attacks)
    return target.known[key]


@pytest.mark.parametrize("layer", ["limits", "Landlock", "seccomp"])
@pytest.mark.parametrize("name", ATTACKS)
def test_each_layer_does_its_part(target: Target, layer: str, name: str) -> None:
    attack, reached = ATTACKS[name], met(target, layer, list(ATTACKS))[name]
    stops = layer[0].upper() in attack.stopped_by and layer != "limits"
    if layer == "Landlock" and landlock.version() < attack.from_version:
        stops = False
    if stops:
        assert reached in DENIED
    elif attack.succeeds_unhindered:
        assert reached == "done"


@pytest.mark.parametrize("tier", ["B", "A"])
@pytest.mark.parametrize("name", [*ATTACKS, *CALLS, *HARMFUL])
def test_both_layers_together_stop_it(target: Target, tier: str, name: str) -> None:
    if fault := why_not(tier):
        pytest.skip(fault)
    reached = met(target, tier, [*ATTACKS, *CALLS, *HARMFUL])[name]
    assert reached in DENIED or (tier == "A" and reached in HIDDEN)


@pytest.mark.parametrize("tier", ["B", "A"])
def test_nothing_was_changed_and_no_process_is_left(target: Target, tier: str) -> None:
    if fault := why_not(tier):
        pytest.skip(fault)
    before = {path: path.read_text() for path in (target.folder / "outside").iterdir() if path.is_file()}
    met(target, tier, [*HARMFUL, *ATTACKS])
    after = {path: path.read_text() for path in (target.folder / "outside").iterdir() if path.is_file()}
    assert after == before
    assert not (target.folder / "outside" / "executed").exists()
    assert not (target.folder / "outside" / "daemon").exists()


@pytest.mark.parametrize(("layer", "most"), [("seccomp", 0), ("B", 0), ("A", 0)])
def test_a_fork_bomb_does_not_go_off(target: Target, layer: str, most: int) -> None:
    if fault := why_not("A" if layer == "A" else "B"):
        pytest.skip(fault)
    assert met(target, layer, ["fork_bomb"])["fork_bomb"] <= most


@pytest.mark.skipif(identity.choose() is None, reason="the child gets no user of its own here, whose processes count")
def test_a_fork_bomb_is_small_where_only_the_user_is_another(target: Target) -> None:
    assert 0 < met(target, "user", ["fork_bomb"])["fork_bomb"] < 300


def test_a_daemon_survives_limits_alone(target: Target) -> None:
    assert target.attack("limits", ["leave_a_daemon"]) == {"leave_a_daemon": "done"}
    note = target.folder / "outside" / "daemon"
    pid = int(note.read_text())
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    note.unlink()


@pytest.mark.parametrize("layer", ["limits", "B"])
def test_limits_hold_and_cannot_be_raised(target: Target, layer: str) -> None:
    found = met(target, layer, ["raise_limits", "fill_the_disk", "allocate"])
    assert found == {"raise_limits": "EPERM", "fill_the_disk": "EFBIG", "allocate": "ENOMEM"}


@pytest.mark.parametrize("tier", ["B", "A"])
def test_the_child_is_nobody_with_nothing(target: Target, tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault := why_not(tier):
        pytest.skip(fault)
    for name in ("MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "token")
    found = target.attack(tier, ["status", "environment"])
    status = found["status"]
    assert not {"MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"} & set(found["environment"].split())
    assert (status["NoNewPrivs"], status["Seccomp"], status["CapAmb"]) == (["1"], ["2"], ["0" * 16])
    assert (status["AS"], status["CORE"]) == ([4 << 30] * 2, [0, 0])
    if identity.choose() is not None:
        assert len(set(status["Uid"])) == 1
        assert 61_184 <= int(status["Uid"][0]) < 65_520
        assert status["Groups"] == []
        assert 0 < status["NPROC"][0] < 1024
        # The one capability that is kept: to read past file modes, or, in some containers, past all of them.
        assert int(status["CapPrm"][0], 16) in {1 << 2, 1 << 1}
    else:
        assert int(status["CapPrm"][0], 16) == 0
        assert set(status["Uid"]) == {str(os.getuid())}


# -------------------------------------------------------------------------------------------------- time and death


def is_alive(pid: int) -> bool:
    """Whether a process still runs after a moment's grace; a zombie does not."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


def children_of(pid: int) -> list[int]:
    """Return the numbers of all processes below this one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if int(facts["PPid"]) == pid:
            found += [int(facts["Pid"]), *children_of(int(facts["Pid"]))]
    return found


@pytest.mark.parametrize("tier", ["B", "A"])
def test_a_child_that_sleeps_for_ever_is_gone_at_the_deadline(target: Target, tier: str) -> None:
    if fault := why_not(tier):
        pytest.skip(fault)
    heard: list[Progress] = []
    before = children_of(os.getpid())  # servers of other tests
    with pytest.raises(WorkerError, match="timed out after 3 s"):
        run(target.job(["sleep_for_ever"], seconds=3), tier, minimum=tier, heard=heard)
    assert len(heard) == 1
    assert set(children_of(os.getpid())) <= set(before)


@pytest.mark.parametrize("tier", ["B", "A"])
def test_a_child_that_crashes_is_told_as_such(target: Target, tier: str) -> None:
    if fault := why_not(tier):
        pytest.skip(fault)
    with pytest.raises(WorkerError, match=r"scanner process died \(signal 11\)"):
        target.attack(tier, ["crash"], minimum=tier)


@pytest.mark.parametrize("tier", ["B", "A"])
def test_the_child_dies_with_the_gate(target: Target, tier: str, tmp_path: Path) -> None:
    if fault := why_not(tier):
        pytest.skip(fault)
    code = f"""
        import sys
        sys.path.insert(0, {str(HERE)!r})
        from locked import Target, run
        from pathlib import Path
        target = Target(Path({str(target.folder)!r}), {{}})
        class Heard(list):
            def append(self, progress):
                print("measuring", flush=True)
        run(target.job(["sleep_for_ever"], 60), {tier!r}, minimum={tier!r}, heard=Heard([0]))
    """
    # A gate that is killed leaves its temporary folders; pytest removes these.
    command, environment = [sys.executable, "-c", textwrap.dedent(code)], os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as gate:
        assert gate.stdout is not None
        assert gate.stdout.readline() == b"measuring\n"
        family = children_of(gate.pid)
        assert len(family) == {"B": 1, "A": 3}[tier]
        gate.send_signal(signal.SIGKILL)
    assert not any(is_alive(pid) for pid in family)


def test_what_a_child_leaves_behind_does_not_reach_the_next(target: Target) -> None:
    for _ in range(2):
        found = target.attack("B", ["plant_a_module"])
        # Its files could be made, its link could not; the folder is a fresh one each time.
        assert found["plant_a_module"] in DENIED
    assert not Path("/tmp/planted").exists()
