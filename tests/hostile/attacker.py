"""A worker whose measuring function attacks. Run by the tests as `python -I attacker.py LAYERS FD`.

Everything before the job is the real child: only layers that are not in LAYERS are taken away, so that each can be seen
to do its part. The attacks then run as a candidate's code would, and tell what they reached as a detector's reason.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

from backdoor_gate.records import DataFacts, Inconclusive, InputSpec, Progress, Runtime, Scan
from backdoor_gate.worker import landlock, main, seccomp

LIBC = ctypes.CDLL(None, use_errno=True)
ARM = os.uname().machine == "aarch64"
OUTSIDE = Path()
"""Folder of the test, open to everyone, that was not granted."""
GRANTED = Path()
"""File that was granted for reading."""
PORTS = {}
GATE = 0


def tcp():
    socket.create_connection(("127.0.0.1", PORTS["tcp"]), timeout=2).close()


def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", PORTS["udp"]))


def unix():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(OUTSIDE / "socket"))


def socket_pair():
    socket.socketpair()


def read_credential():
    (OUTSIDE / "credential").read_bytes()


def list_outside():
    list(OUTSIDE.iterdir())


def write_outside():
    (OUTSIDE / "new").write_text("x")


def append_outside():
    with (OUTSIDE / "log").open("a") as log:
        log.write("x")


def remove_outside():
    (OUTSIDE / "removable").unlink()


def change_mode_outside():
    (OUTSIDE / "log").chmod(0o777)


def change_owner_outside():
    os.chown(OUTSIDE / "log", os.getuid(), -1)


def link_outside():
    os.link(OUTSIDE / "credential", "credential")


def read_through_a_link():
    Path("link").symlink_to(OUTSIDE / "credential")
    Path("link").read_bytes()


def truncate_granted():
    os.close(os.open(GRANTED, os.O_RDONLY | os.O_TRUNC))


def write_granted():
    with GRANTED.open("a"):
        pass


def gate_environment():
    Path(f"/proc/{GATE}/environ").read_bytes()


def gate_command_line():
    Path(f"/proc/{GATE}/cmdline").read_bytes()


def gate_memory():
    os.open(f"/proc/{GATE}/mem", os.O_RDONLY)


def signal_gate():
    os.kill(GATE, 0)


def signal_by_descriptor():
    read, _ = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETOWN, GATE)


def trace_gate():
    call("ptrace", 101, 117, 0x4206, GATE, 0, 0)


def execute():
    os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {})


def execute_in_place():
    os.execv("/bin/sh", ["sh", "-c", f"touch {OUTSIDE}/executed"])


def execute_from_memory():
    descriptor = os.memfd_create("program")
    os.write(descriptor, Path("/bin/true").read_bytes())
    os.execve(descriptor, ["true"], {})


def run_a_shell():
    subprocess.run(["/bin/sh", "-c", "exit 0"], check=True)


def fork_bomb():
    """Fork until it fails, at most 300 times; every child ends at once when told."""
    go, stay = os.pipe()
    made = 0
    try:
        for _ in range(300):
            if os.fork() == 0:
                os.close(stay)
                os.read(go, 1)
                os._exit(0)
            made += 1
    except OSError:
        pass
    os.close(stay)
    for _ in range(made):
        os.wait()
    return made


def leave_a_daemon():
    """Leave a process outside of the group; it ends by itself after 20 seconds."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        child = os.fork()
        if child == 0:
            time.sleep(20)
        else:
            (OUTSIDE / "daemon").write_text(str(child))
        os._exit(0)
    os.waitpid(pid, 0)


def raise_limits():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))


def limit_gate():
    resource.prlimit(GATE, resource.RLIMIT_NOFILE)


def fill_the_disk():
    """Write a file of 64 MiB into the scratch folder."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Path("big").open("wb") as big:
        for _ in range(64):
            big.write(bytes(1 << 20))


def be_traceable_again():
    prctl(4, 1)


def outlive_the_gate():
    prctl(1, 0)


def become_root():
    os.setresuid(0, 0, 0)


def new_namespace():
    call("unshare", 272, 97, 0x10000000)


CALLS = {
    # name: numbers on x86-64 and 64-bit Arm, harmless arguments
    "process_vm_readv": (310, 270, os.getppid(), 0, 0, 0, 0, 0),
    "pidfd_open": (434, 434, os.getppid(), 0),
    "io_uring_setup": (425, 425, 1, 0),
    "bpf": (321, 280, 0, 0, 0),
    "perf_event_open": (298, 241, 0, 0, -1, -1, 0),
    "userfaultfd": (323, 282, 1),
    "keyctl": (250, 219, 0, -3, 0),
    "add_key": (248, 217, 0, 0, 0, 0, 0),
    "mount": (165, 40, 0, 0, 0, 0, 0),
    "setns": (308, 268, -1, 0),
    "chroot": (161, 51, 0),
    "open_by_handle_at": (304, 265, -1, 0, 0),
    "name_to_handle_at": (303, 264, -1, 0, 0, 0, 0),
    "init_module": (175, 105, 0, 0, 0),
    "kexec_load": (246, 104, 0, 0, 0, 0),
    "reboot": (169, 142, 0, 0, 0, 0),
    "personality": (135, 92, 0xFFFFFFFF),
    "shmget": (29, 194, 0, 4096, 0o1600),
    "mq_open": (240, 180, 0, 0, 0, 0),
    "inotify_init1": (294, 26, 0),
    "fanotify_init": (300, 262, 0, 0),
    "setsid": (112, 157),
    "vmsplice": (278, 75, -1, 0, 0, 0),
    "clone3": (435, 435, 0, 0),
    "openat2": (437, 437, -1, 0, 0, 0),
}


def call(name, x86, arm, *arguments):
    """Make a system call by its number."""
    wide = [ctypes.c_long(value) for value in arguments]
    if LIBC.syscall(ctypes.c_long(arm if ARM else x86), *wide) == -1:
        code = ctypes.get_errno()
        raise OSError(code, name)


def prctl(*arguments):
    if LIBC.prctl(*(ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0))) == -1:
        raise OSError(ctypes.get_errno(), "prctl")


def allocate():
    bytearray(40 << 30)


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(600)


def sleep_for_ever():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def compute():
    """Train a little on several threads; return how many threads there were, torch's and the process's."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(2)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Flatten())
    network(torch.rand(64, 3, 32, 32, requires_grad=True)).sum().backward()
    torch.linalg.svd(torch.rand(200, 200))
    return [torch.get_num_threads(), len(list(Path("/proc/self/task").iterdir()))]


def plant_a_module():
    """Leave files that an interpreter started here would run."""
    for name in ("sitecustomize.py", "usercustomize.py", "json.py", "evil.pth"):
        if Path(name).exists():
            return "there already"
        Path(name).write_text("open('/tmp/planted', 'w')")
    Path("result.json").symlink_to("/etc/passwd")
    return None


def environment():
    return " ".join(sorted(os.environ))


def status():
    """Return what the kernel says of this process."""
    facts = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    names = ("Uid", "Groups", "CapEff", "CapPrm", "CapAmb", "NoNewPrivs", "Seccomp")
    limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("AS", "CORE", "NPROC")}
    return {name: facts[name].split() for name in names} | limits


def outcome(attack):
    """Return what an attack met: an error's name, or what it reached."""
    try:
        reached = attack()
    except OSError as error:
        return errno.errorcode[error.errno]
    except ValueError:  # what setting a limit makes of it
        return "EPERM"
    except MemoryError:
        return "ENOMEM"
    return "done" if reached is None else reached


def take_away(layers):
    def none(*_, **__):
        raise OSError(errno.ENOSYS, "taken away by the test")

    if "landlock" not in layers:
        landlock.restrict = none
    if "seccomp" not in layers:
        seccomp.restrict = none


def measure(job, report):
    global OUTSIDE, GRANTED, PORTS, GATE
    settings = job.detectors[0].settings
    OUTSIDE, GRANTED, PORTS, GATE = Path(settings["outside"]), job.data, settings["ports"], settings["gate"]
    attacks = globals() | {name: lambda name=name: call(name, *CALLS[name]) for name in CALLS}
    report(Progress(0, 1, 1, (0, 0)))
    found = tuple(Inconclusive(plan.name, json.dumps(outcome(attacks[plan.name]))) for plan in job.detectors)
    runtime = Runtime("none", "cpu", "", 0)
    return Scan(2, InputSpec((1, 2, 2)), "safetensors", DataFacts("clean", 1, None), found, runtime)


if __name__ == "__main__":
    take_away(sys.argv[1].split(","))
    scan = types.ModuleType("backdoor_gate.scan")
    scan.session = types.ModuleType("backdoor_gate.scan.session")
    scan.session.measure, scan.session.get_ready = measure, lambda: None
    sys.modules |= {"backdoor_gate.scan": scan, "backdoor_gate.scan.session": scan.session}
    main.main(int(sys.argv[-1]))
    os._exit(0)
