"""The system calls that a scan on a CPU makes, with their numbers on x86-64 and on 64-bit Arm.

Taken from traces of scans of every format and every detector, and completed by what the C library, OpenMP and the
interpreter use in other versions for the same purposes (`ppoll` for `poll`). What names another process, makes one,
opens a socket, mounts, traces, or reaches a kernel facility that no scan needs, is not among them.
"""

from __future__ import annotations

X86_64, AARCH64 = 0, 1
ABSENT = -1
"""Number of a call that the architecture does not have."""
LAST_KNOWN = 450
"""Highest number, on both, when this list was written."""

FREE = {
    # files: which ones is Landlock's business
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "lseek": (8, 62),
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "stat": (4, ABSENT),
    "lstat": (6, ABSENT),
    "statx": (332, 291),
    "access": (21, ABSENT),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, ABSENT),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "dup": (32, 23),
    "dup2": (33, ABSENT),
    "dup3": (292, 24),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "flock": (73, 32),
    "fadvise64": (221, 223),
    "unlink": (87, ABSENT),
    "unlinkat": (263, 35),
    "mkdir": (83, ABSENT),
    "mkdirat": (258, 34),
    "rmdir": (84, ABSENT),
    "rename": (82, ABSENT),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "umask": (95, 166),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    # waiting
    "pipe": (22, ABSENT),
    "pipe2": (293, 59),
    "poll": (7, ABSENT),
    "ppoll": (271, 73),
    "select": (23, ABSENT),
    "pselect6": (270, 72),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, ABSENT),
    "epoll_pwait": (281, 22),
    "eventfd2": (290, 19),
    # memory
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "mincore": (27, 232),
    "msync": (26, 227),
    "brk": (12, 214),
    "mbind": (237, 235),
    "get_mempolicy": (239, 236),
    "set_mempolicy": (238, 237),
    "membarrier": (324, 283),
    # threads
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "rseq": (334, 293),
    "set_tid_address": (218, 96),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "gettid": (186, 178),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
    "getcpu": (309, 168),
    # signals to itself
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    # clocks
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, ABSENT),
    "times": (100, 153),
    # facts about itself and the machine
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "getrusage": (98, 165),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getgroups": (115, 158),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getrandom": (318, 278),
}
"""Allowed whatever their arguments are."""

JUDGED = {
    "open": (2, ABSENT),
    "openat": (257, 56),
    "clone": (56, 220),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "sched_setaffinity": (203, 122),
}
"""Allowed where one argument is as the filter says."""

WITH_GPU = {"ioctl": (16, 29), "mlock": (149, 228), "munlock": (150, 229), "memfd_create": (319, 279)}
"""Allowed besides, whatever their arguments are, where a GPU is in use: its driver is spoken to by `ioctl`."""

CLONE3 = (435, 435)
"""Its flags lie in memory, where a filter cannot see them: the C library is told that there is no such call."""
SECCOMP = (317, 277)
