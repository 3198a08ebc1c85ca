"""Scripts that want out, and the things around them that they must not reach."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from node.model.process import Facts, Limit

MIB = 2**20


@dataclass(frozen=True)
class Attack:
    """A script; it says ESCAPED where it got through, and ends as `by` says: a limit, or by itself."""

    name: str
    text: str
    limits: Mapping[str, float] = field(default_factory=dict)
    by: Limit | None = None

    def ended(self, facts: Facts) -> bool:
        return facts.limit is self.by and not facts.lost and not facts.error


def attempt(*lines: str) -> str:
    """Every line is tried by itself: whatever it raises is a refusal, and whatever does not is an escape."""
    tries = "".join(
        f"try:\n  {line}\n  print('ESCAPED', {line!r})\nexcept (OSError, PermissionError, ValueError): pass\n" for line in lines
    )
    return "import os, sys, signal, socket, ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n" + CHECK + tries


CHECK = (
    "def call(*a):\n  if libc.syscall(*a) < 0: raise OSError(ctypes.get_errno(), 'refused')\n"
    "def gone(p):\n  if not os.path.exists(p): raise OSError('not there')\n"
)
NEIGHBOUR = "../../neighbour"
NODE = str(os.getpid())

ATTACKS: tuple[Attack, ...] = (
    Attack("reads a neighbour's file", attempt(f"open('{NEIGHBOUR}/secret').read()", f"os.listdir('{NEIGHBOUR}')")),
    Attack("reads the node's key", attempt("open('../../identity.key').read()", "open('../identity').read()")),
    Attack("reads the shadow file", attempt("open('/etc/shadow').read()")),
    Attack(
        "reads environments",
        attempt(
            f"open('/proc/{NODE}/environ').read()", "open('/proc/1/environ').read()", f"open('/proc/{os.getpid()}/mem').read(1)"
        ),
    ),
    Attack(
        "writes outside",
        attempt(
            "open('../escaped', 'w')", "open('/tmp/escaped-from-a-task', 'w')", "os.mkdir('../dir')", "open('../output', 'w')"
        ),
    ),
    Attack(
        "writes over the database",
        attempt(
            "open('../../node.db', 'r+')",
            "os.unlink('../../node.db')",
            "os.rename('../../node.db', 'mine')",
            "os.truncate('../../node.db', 0)",
        ),
    ),
    Attack("writes into the blobs", attempt("open('../../objects/blob', 'w')", "os.replace('out', '../../objects/blob')")),
    Attack(
        "goes through a symlink",
        attempt(
            "(os.symlink('../../identity.key', 'l'), open('l').read())",
            "(os.symlink('/etc', 'e'), open('e/shadow').read())",
            "(os.symlink('../../node.db', 'w'), open('w', 'r+'))",
        ),
    ),
    Attack("goes through a hard link", attempt("os.link('../../identity.key', 'hard')", "os.link('/etc/passwd', 'p')")),
    Attack(
        "connects to loopback",
        attempt("socket.create_connection(('127.0.0.1', 7480), 1)", "socket.socket().bind(('127.0.0.1', 0))"),
    ),
    Attack(
        "connects to the network",
        attempt(
            "socket.create_connection(('192.0.2.1', 80), 1)",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            "socket.socket(socket.AF_INET6)",
            "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        ),
    ),
    Attack("connects to an abstract socket", attempt("s = socket.socket(socket.AF_UNIX); s.connect('\\0ecnode-hostile-test')")),
    Attack(
        "signals the node",
        attempt(
            f"os.kill({NODE}, 0)",
            f"os.kill({NODE}, signal.SIGSTOP)",
            "os.kill(os.getppid(), signal.SIGSTOP)",
            "os.kill(os.getppid(), signal.SIGKILL)",
            f"signal.pidfd_send_signal(os.pidfd_open({NODE}), 0)",
        ),
    ),
    Attack(
        "traces the node",
        attempt(
            f"call(101 if os.uname().machine == 'x86_64' else 117, 16, {NODE}, 0, 0)",
            f"call(310 if os.uname().machine == 'x86_64' else 270, {NODE}, 0, 0, 0, 0, 0)",
        ),
    ),
    Attack(
        "makes a user namespace",
        attempt(
            "call(272 if os.uname().machine == 'x86_64' else 97, 0x10000000)",
            "call(56 if os.uname().machine == 'x86_64' else 220, 0x10000011, 0, 0, 0, 0)",
            "call(435, 0, 0)",
        ),
    ),
    Attack(
        "mounts",
        attempt("call(165 if os.uname().machine == 'x86_64' else 40, b'none', b'.', b'tmpfs', 0, 0)", "os.chroot('.')"),
    ),
    Attack(
        "becomes another user",
        attempt(
            "(os.getuid() == 1234) or os.setuid(1234)",
            "os.chown('.', 1234, 1234)",
            "os.mknod('dev', 0o20600, os.makedev(1, 1))",
        ),
    ),
    Attack(
        "renames its own log",
        attempt(
            "os.rename('../output', '../gone')",
            "os.truncate('../output', 0)",
            "os.unlink('../output')",
            "open(os.readlink('/proc/self/fd/1'), 'w')",
        ),
    ),
    Attack(
        "forks for ever",
        # Bounded by itself too: no more than 200 children, whoever fails to stop it.
        "import os, time\nfor n in range(200):\n  try:\n    if os.fork() == 0: time.sleep(20); os._exit(0)\n"
        "  except OSError: pass\ntime.sleep(20)\n",
        {"processes": 40},
        Limit.PROCESSES,
    ),
    Attack(
        "leaves a daemon",
        "import os,time\nif os.fork() == 0:\n  os.setsid()\n"
        "  if os.fork() == 0:\n    time.sleep(100)\n  os._exit(0)\nos.wait()\n",
    ),
    Attack(
        "does not hear TERM and closes everything",
        "import os,signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.closerange(0, 64)\nwhile True: pass\n",
        {"wall_s": 0.3},
        Limit.WALL,
    ),
    Attack(
        "takes two gigabytes",
        "x = bytearray(2 << 30)\nfor n in range(0, 2 << 30, 4096): x[n] = 1\n",
        {"memory_bytes": 256 * MIB},
        Limit.MEMORY,
    ),
    Attack(
        "fills the disk",
        "import os\nwhile True: open(str(os.urandom(4).hex()), 'wb').write(os.urandom(1 << 20))\n",
        {"disk_bytes": 4 * MIB},
        Limit.DISK,
    ),
    Attack("uses every inode", "n = 0\nwhile True:\n  open(str(n), 'w'); n += 1\n", {"disk_files": 500}, Limit.DISK),
    Attack("floods its log", "while True: print('x' * 65536)\n", {"output_bytes": 16 * MIB, "kept_bytes": MIB}, Limit.OUTPUT),
    Attack(
        "opens ten thousand files",
        "held = []\ntry:\n  while len(held) < 10000: held.append(open('/dev/null'))\n"
        "  print('ESCAPED')\nexcept OSError: pass\n",
        {"files": 64},
    ),
    Attack("names files with line ends", "open('a\\r\\nb: c', 'w')\ntry: open('a\\0b', 'w')\nexcept ValueError: pass\n"),
    Attack("ends while a child runs on", "import subprocess\nsubprocess.Popen(['sleep', '100'])\n"),
    Attack("sleeps for ever", "import time\nwhile True: time.sleep(1000)\n", {"wall_s": 0.3}, Limit.WALL),
)


@dataclass(frozen=True)
class Place:
    """What stands around a task's folder."""

    root: Path

    def is_whole(self) -> None:
        assert (self.root / "identity.key").read_text() == "key"
        assert (self.root / "node.db").read_text() == "rows"
        assert (self.root / "objects" / "blob").read_text() == "content"
        assert (self.root / "neighbour" / "secret").read_text() == "secret"
        assert not Path("/tmp/escaped-from-a-task").exists()


@contextmanager
def scene(root: Path) -> Iterator[Place]:
    """A node's folder as a script would like to find it, and somebody who listens."""
    for name, content in (
        ("identity.key", "key"),
        ("node.db", "rows"),
        ("objects/blob", "content"),
        ("neighbour/secret", "secret"),
    ):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0ecnode-hostile-test")
        listener.listen()
        yield Place(root)
