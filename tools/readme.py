"""Do README.md and README.zh.md still say the same?

Words cannot be compared, bones can: headings by level, code blocks line by line (what follows a `#` is translated), the first
column of tables and the targets of links, all in one order; and the words in backticks, wherever the sentence has put them.
Each file links to the other above its first section. `python tools/readme.py` ends with 1 where the two differ.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAIR: Final = ("README.md", "README.zh.md")

FENCE: Final = re.compile(r"\s*(```+|~~~+)\s*(\S*)")
HEADING: Final = re.compile(r"(#{1,6})\s+(.*)")
COMMENT: Final = re.compile(r"(?:^|\s+)#.*$")
ROW: Final = re.compile(r"\|((?:[^|\\]|\\.)*)\|")
RULER: Final = re.compile(r"\|(?:\s*:?-+:?\s*\|)+\s*$")
SPAN: Final = re.compile(r"`([^`]+)`")
LINK: Final = re.compile(r"\]\(([^)\s]+)[^)]*\)")


@dataclass(frozen=True, slots=True)
class Part:
    """One bone of a page; `line` counts from 1, `shown` is what a reader finds there."""

    kind: str
    value: str
    line: int = field(compare=False)
    shown: str = field(compare=False)


def parts(text: str) -> list[Part]:
    """Headings, code, rows of tables, links and words in backticks, from top to bottom."""
    found: list[Part] = []
    fence = ""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        mark = FENCE.match(line)
        if mark and (not fence or (mark[1].startswith(fence) and not mark[2])):
            fence = "" if fence else mark[1]
            found.append(Part("code", line.strip(), number, line.strip()))
        elif fence:
            found.append(Part("code", COMMENT.sub(" #", line).rstrip(), number, line.strip()))
        else:
            follower = lines[number] if number < len(lines) else ""
            found.extend(Part(kind, value, number, shown) for kind, value, shown in _prose(line, follower))
    return found


def compare(first: str, second: str, names: tuple[str, str] = PAIR) -> Iterator[str]:
    """What one page has and the other lacks, one line each."""
    pages = (parts(first), parts(second))
    for page, name, other in zip(pages, names, reversed(names), strict=True):
        if not any(part.kind == "link" and part.value == other for part in _head(page)):
            yield f"{name}:1: no link to {other} above the first section"
    left, right = ([part for part in page if part.kind != "word" and part.value not in names] for page in pages)
    for same, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if same != "equal":
            yield from (_only(part, names[0], names[1]) for part in left[a:b])
            yield from (_only(part, names[1], names[0]) for part in right[c:d])
    words = [{part: part for part in page if part.kind == "word"} for page in pages]
    yield from (_only(part, names[0], names[1]) for part in words[0] if part not in words[1])
    yield from (_only(part, names[1], names[0]) for part in words[1] if part not in words[0])


def main() -> int:
    """Prints every difference; 1 where there is one."""
    first, second = ((ROOT / name).read_text(encoding="utf-8") for name in PAIR)
    differences = list(compare(first, second))
    for difference in differences:
        print(difference)
    print(f"readme: {len(differences)} differences between {PAIR[0]} and {PAIR[1]}")
    return 1 if differences else 0


def _prose(line: str, follower: str) -> Iterator[tuple[str, str, str]]:
    """Kind, value and what is shown, of what one line outside of code holds."""
    if heading := HEADING.match(line):
        yield "heading", heading[1], line
    elif (row := ROW.match(line)) and not any(map(RULER.match, (line, follower))):  # a table's own heading is translated
        yield "row", row[1].strip(), row[1].strip()
    for word in SPAN.findall(line):
        yield "word", word, f"`{word}`"
    for target in LINK.findall(SPAN.sub("", line)):
        yield "link", target, target


def _head(page: list[Part]) -> Iterator[Part]:
    """What stands above the first section."""
    for part in page:
        if part.kind == "heading" and part.value != "#":
            return
        yield part


def _only(part: Part, here: str, there: str) -> str:
    return f"{here}:{part.line}: {part.kind} not in {there} at this place: {part.shown}"


if __name__ == "__main__":
    sys.exit(main())
