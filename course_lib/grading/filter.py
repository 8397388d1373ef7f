"""The system calls that a sandbox is refused, as a seccomp program for bubblewrap.

What is refused is what the grader's books would not show: new processes (one whose parent ignores its end
leaves no CPU seconds behind), memory that belongs to no process (memfd, System V), a user namespace with file
systems of its own, sockets that a network namespace does not hold back, and other people's keys. Threads are
let through: their seconds and bytes are their process's.
"""

from __future__ import annotations

import errno
import platform
import socket
import struct

# machine: (the kernel's number of the architecture, {call: its number})
_COMMON = {  # alike on every architecture: calls of Linux 5 and later
    **{"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428},
    **{"move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "mount_setattr": 442},
    **{"memfd_secret": 447},
}
MACHINES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            **{"fork": 57, "vfork": 58, "clone": 56, "clone3": 435, "socket": 41},
            **{"memfd_create": 319, "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240},
            **{"unshare": 272, "setns": 308, "mount": 165, "bpf": 321, "perf_event_open": 298},
            **{"userfaultfd": 323, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311},
            **{"add_key": 248, "request_key": 249, "keyctl": 250},
            **_COMMON,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            **{"clone": 220, "clone3": 435, "socket": 198},
            **{"memfd_create": 279, "shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180},
            **{"unshare": 97, "setns": 268, "mount": 40, "bpf": 280, "perf_event_open": 241},
            **{"userfaultfd": 282, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271},
            **{"add_key": 217, "request_key": 218, "keyctl": 219},
            **_COMMON,
        },
    ),
}
JUDGED = ("clone", "clone3", "socket")  # by their arguments, or refused in a way of their own
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of classic BPF
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16  # places in struct seccomp_data
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
CLONE_THREAD = 0x00010000
X32 = 0x40000000  # the same calls of x86_64 by other numbers


def known() -> bool:
    """Whether there is a program for this machine."""
    return platform.machine() in MACHINES


def program() -> bytes:
    """The program for this machine, as bubblewrap's --seccomp reads it."""
    machine, calls = MACHINES[platform.machine()]
    code = [
        *[_step(LOAD, MACHINE), _step(EQUAL, machine, 1, 0), _step(RETURN, KILL)],
        *[_step(LOAD, NUMBER), _step(AT_LEAST, X32, 0, 1), _refuse(errno.ENOSYS)],
    ]
    for name, number in calls.items():
        if name not in JUDGED:
            code += [_step(EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    # Its flags lie where no filter can read them; without it the C library uses clone.
    code += [_step(EQUAL, calls["clone3"], 0, 1), _refuse(errno.ENOSYS)]
    code += [
        *[
            _step(EQUAL, calls["clone"], 0, 4),
            _step(LOAD, FIRST_ARGUMENT),
            _step(ANY_BIT, CLONE_THREAD, 1, 0),
        ],
        *[_refuse(errno.EPERM), _step(RETURN, ALLOW)],
    ]
    families = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
    code += [_step(EQUAL, calls["socket"], 0, 2 + len(families)), _step(LOAD, FIRST_ARGUMENT)]
    code += [_step(EQUAL, family, len(families) - i, 0) for i, family in enumerate(families)]
    code += [_refuse(errno.EAFNOSUPPORT), _step(RETURN, ALLOW)]
    return b"".join(code)


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction; `yes` and `no` are the steps to leap over."""
    return struct.pack("=HBBI", code, yes, no, value)


def _refuse(number: int) -> bytes:
    return _step(RETURN, ERROR | number)
