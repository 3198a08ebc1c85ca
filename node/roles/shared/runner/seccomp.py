"""Which system calls does a stranger's program not get?

A filter in classic BPF: what reaches into other processes, the kernel's own programs, mounts, keys, new namespaces, and,
without network, every socket but local ones. Refused calls fail with EPERM, as they would for anybody without privilege; clone3
fails with ENOSYS, because its flags lie behind a pointer that no filter can read and libraries then use clone.

Source: Linux, include/uapi/linux/seccomp.h, filter.h, audit.h; numbers of asm/unistd_64.h and asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping
from functools import cache
from typing import Final

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN: Final = {"x86_64": 0, "aarch64": 1}
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_SOCKET: Final = (41, 198)
_CLONE_NEW: Final = 0x7E020000  # cgroup, uts, ipc, user, pid, net and mount namespaces
_AF_UNIX: Final = 1
_X32_BIT: Final = 0x40000000

REFUSED: Final[Mapping[str, tuple[int, int]]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}

IDENTITY: Final[Mapping[str, tuple[int, int]]] = {
    "setfsuid": (122, 151),
    "setresuid": (117, 147),
    "setreuid": (113, 145),
    "setuid": (105, 146),
}

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENT_AT = 0, 4, 16  # in struct seccomp_data; low half of the first argument on little endian
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL: Final = 0x80000000

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2


def supported() -> bool:
    """Whether the filter is written for this architecture."""
    return platform.machine() in _AUDIT_ARCH


@cache
def program(*, network: bool) -> bytes:
    """The filter as an array of `struct sock_filter`, as the kernel and bubblewrap take it.

    Raises:
        KeyError: an architecture that it is not written for.
    """
    return _program({**REFUSED, **IDENTITY}, network=network, namespaces=False)


def identity_program() -> bytes:
    """A filter that refuses nothing but to become another user."""
    return _program(IDENTITY, network=True, namespaces=True)


def _program(refused: Mapping[str, tuple[int, int]], *, network: bool, namespaces: bool) -> bytes:
    machine = platform.machine()
    column = _COLUMN[machine]
    refuse = _line(_RETURN, _ERRNO | errno.EPERM)
    lines = [
        _line(_LOAD, _ARCH_AT),
        _line(_JUMP_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        _line(_RETURN, _KILL),  # another architecture's numbers mean other calls
        _line(_LOAD, _NUMBER_AT),
        _line(_JUMP_AT_LEAST, _X32_BIT, 0, 1),
        refuse,
    ]
    for numbers in refused.values():
        lines += [_line(_JUMP_EQUAL, numbers[column], 0, 1), refuse]
    if not namespaces:
        lines += _no_namespaces(column, refuse)
    if not network:
        lines += [
            _line(_JUMP_EQUAL, _SOCKET[column], 0, 3),
            _line(_LOAD, _ARGUMENT_AT),
            _line(_JUMP_EQUAL, _AF_UNIX, 1, 0),
            refuse,
        ]
    lines.append(_line(_RETURN, _ALLOW))
    return b"".join(lines)


def _no_namespaces(column: int, refuse: bytes) -> list[bytes]:
    return [
        _line(_JUMP_EQUAL, _CLONE3[column], 0, 1),
        _line(_RETURN, _ERRNO | errno.ENOSYS),
        _line(_JUMP_EQUAL, _CLONE[column], 0, 4),
        _line(_LOAD, _ARGUMENT_AT),
        _line(_AND, _CLONE_NEW),
        _line(_JUMP_EQUAL, 0, 1, 0),
        refuse,
        _line(_LOAD, _NUMBER_AT),
    ]


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def restrict(content: bytes) -> None:
    """Lays a filter upon this process and its descendants, for good.

    Raises:
        OSError: the kernel does not take it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    filters = ctypes.create_string_buffer(content, len(content))
    packed = struct.pack("@HP", len(content) // 8, ctypes.addressof(filters))
    head = ctypes.create_string_buffer(packed, len(packed))
    for option, value, pointer in ((_PR_SET_NO_NEW_PRIVS, 1, 0), (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(head))):
        if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(pointer), 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
