"""Which files may this process and its descendants still touch, without anybody's privilege?

Landlock: a ruleset that a process lays upon itself and can never take off. What is not named is not there. From ABI 4 on it
closes TCP too, from ABI 6 on signals to and abstract sockets of processes outside.

Source: Linux, Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Final

_CREATE_RULESET: Final = 444  # the numbers are the same on every architecture
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READING: Final = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_HANDLED_BY_ABI: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_ABI: Final = 4
_NET: Final = 0b11  # bind and connect of TCP
_SCOPE_ABI: Final = 6
_SCOPES: Final = 0b11  # abstract sockets and signals

_libc: Final = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version that this kernel has, 0 for none."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)))


def restrict(read: Iterable[str], write: Iterable[str], *, network: bool) -> None:
    """Leaves this process the paths below `read` to read and run, those below `write` to do anything, and no others.

    A path that does not exist is passed over.

    Raises:
        OSError: the kernel does not do it; then nothing is restricted.
    """
    version = abi()
    handled = _HANDLED_BY_ABI[min(version, max(_HANDLED_BY_ABI))] if version else 0
    net = _NET if version >= _NET_ABI and not network else 0
    scopes = _SCOPES if version >= _SCOPE_ABI else 0
    attributes = struct.pack("QQQ", handled, net, scopes)[: 8 if version < _NET_ABI else 16 if version < _SCOPE_ABI else 24]
    ruleset = _call(_CREATE_RULESET, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes), 0)
    try:
        for paths, access in ((read, _READING), (write, handled)):
            for path in paths:
                _allow(ruleset, path, access & handled)
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return  # what cannot be reached needs no rule
    try:
        allowed = access if os.path.isdir(path) else access & _OF_FILES  # noqa: PTH112 - no pathlib in a fork
        rule = struct.pack("=QI", allowed, descriptor)
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    return _check(int(_libc.syscall(number, *arguments)))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
