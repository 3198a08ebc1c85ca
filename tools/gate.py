"""Which words may never stand in this repository?

Code that could run what somebody else sent (eval, pickle, a shell string, an unverified TLS context) is found in the syntax
tree, under whatever name it was imported. Machine paths, hosts of package registries and to-do notes without an issue are
found in the text of every file that git knows or would take. `python tools/gate.py` ends with 1 where it found something.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CODE_FREE_OF_RULES: Final = ("tests/",)  # tests feed hostile input to what they test

MODULES: Final = frozenset({"pickle", "marshal", "shelve", "dill", "cloudpickle"})
BUILTINS: Final = frozenset({"eval", "exec"})
SHELLS: Final = frozenset(
    {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"}
)
LOADERS: Final = frozenset({"yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"})
UNVERIFIED: Final = "ssl._create_unverified"
FORBIDDEN_FLAGS: Final = {"shell": "shell-string", "allow_pickle": "unpickling"}

TEXT_RULES: Final = {
    "machine-path": re.compile(r"(?<![\w.~-])/(?:work|root|home)/"),
    "registry-host": re.compile(
        r"\b(?:pypi\.(?:org|python\.org)|(?:files\.)?pythonhosted\.org|npmjs\.(?:org|com)|(?:deb|security|ftp)\.debian\.org"
        r"|archive\.ubuntu\.com|crates\.io|proxy\.golang\.org)\b"
    ),
    "note-without-issue": re.compile(r"(?:#|//|/\*|<!--|;)\s*(?:TODO|FIXME|XXX)\b(?!\s*\(?#\d)"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One word that may not stand where it stands; `line` counts from 1."""

    file: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.text}"


def check_text(file: str, text: str) -> Iterator[Finding]:
    """What the rules for every file find."""
    for number, line in enumerate(text.splitlines(), 1):
        for rule, pattern in TEXT_RULES.items():
            if pattern.search(line):
                yield Finding(file, number, rule, line.strip()[:120])


def check_code(file: str, text: str) -> Iterator[Finding]:
    """What the rules for Python find.

    Raises:
        SyntaxError: the text is not Python.
    """
    tree = ast.parse(text, file)
    names = dict(_imported(tree))
    for node in ast.walk(tree):
        for rule, found in _judge(node, names):
            yield Finding(file, getattr(node, "lineno", 1), rule, found)


def check_files(root: Path, files: Iterable[str]) -> Iterator[Finding]:
    """What all rules find in the files below `root`; files that are no text are passed over."""
    for file in files:
        try:
            text = (root / file).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):  # a picture, or deleted but not yet committed
            continue
        yield from check_text(file, text)
        if file.endswith(".py") and not file.startswith(CODE_FREE_OF_RULES):
            yield from check_code(file, text)


def known_files(root: Path) -> list[str]:
    """What git knows below `root`, and what it would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=60)
    return sorted(set(filter(None, listed.stdout.decode().split("\0"))))


def main() -> int:
    """Prints every finding; 1 where there is one."""
    files = known_files(ROOT)
    findings = list(check_files(ROOT, files))
    for finding in findings:
        print(finding)
    print(f"gate: {len(findings)} findings in {len(files)} files")
    return 1 if findings else 0


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Local names with what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _judge(node: ast.AST, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        yield from (("unpickling", f"import {module}") for module in modules if module.split(".")[0] in MODULES)
    elif isinstance(node, ast.Name | ast.Attribute):
        yield from _judge_name(_dotted(node, names))
    elif isinstance(node, ast.keyword) and node.arg in FORBIDDEN_FLAGS and not _is_false(node.value):
        yield FORBIDDEN_FLAGS[node.arg], f"{node.arg}={ast.unparse(node.value)}"


def _judge_name(name: str) -> Iterator[tuple[str, str]]:
    if name.removeprefix("builtins.") in BUILTINS:
        yield "evaluation", name
    elif name in SHELLS:
        yield "shell-string", name
    elif name in LOADERS:
        yield "unpickling", name
    elif name.startswith(UNVERIFIED):
        yield "unverified-tls", name


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`a.b.c` with its imported names resolved; empty for what is no plain name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value, names)):
        return f"{owner}.{node.attr}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
