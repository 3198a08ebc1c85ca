"""Does the check of the two READMEs see what went out of step, and let translation pass?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import readme

TOOL = Path(readme.__file__)

ENGLISH = """# ecnode
English · [中文](README.zh.md)

A node, see [the tour](docs/tour.md).

## Run
Start it with `ecnode up`:
```
ecnode init --name a     # writes a file
# then, once more
ecnode up
```

| command | what it does |
|---|---|
| `ecnode id` | its key |

## More
Read [errors](docs/errors.md).
"""

CHINESE = """# ecnode
[English](README.md) · 中文

一个节点,见[导览](docs/tour.md)。

## 运行
用 `ecnode up` 启动:
```
ecnode init --name a   # 写出文件
# 再来一次
ecnode up
```

| 命令 | 作用 |
|---|---|
| `ecnode id` | 公钥 |

## 更多

参见[错误](docs/errors.md)。
"""


def differences(old: str, new: str) -> list[str]:
    assert old in CHINESE
    return list(readme.compare(ENGLISH, CHINESE.replace(old, new, 1)))


def test_a_faithful_translation_passes() -> None:
    assert list(readme.compare(ENGLISH, CHINESE)) == []


@pytest.mark.parametrize(
    ("old", "new", "kind", "shown"),
    [
        ("## 更多\n", "### 更多\n", "heading", "### 更多"),
        ("--name a ", "--name b ", "code", "ecnode init --name b   # 写出文件"),
        ("   # 写出文件", "", "code", "ecnode init --name a     # writes a file"),
        ("# 再来一次\n", "", "code", "# then, once more"),
        ("```\necnode init", "```sh\necnode init", "code", "```sh"),
        ("| `ecnode id` |", "| `ecnode ip` |", "row", "`ecnode ip`"),
        ("docs/errors.md", "docs/error.md", "link", "docs/error.md"),
        ("用 `ecnode up` 启动", "用 `ecnode go` 启动", "word", "`ecnode go`"),
    ],
)
def test_what_went_out_of_step_is_named_with_its_place(old: str, new: str, kind: str, shown: str) -> None:
    found = differences(old, new)
    assert any(f": {kind} not in " in line and line.endswith(f": {shown}") for line in found), found


def test_a_difference_carries_the_line_it_stands_in() -> None:
    assert differences("docs/errors.md", "docs/error.md") == [
        "README.md:19: link not in README.zh.md at this place: docs/errors.md",
        "README.zh.md:20: link not in README.md at this place: docs/error.md",
    ]


def test_sections_in_another_order_are_found() -> None:
    top, run, more = CHINESE.partition("## 运行")[0], *CHINESE.partition("## 运行")[2].split("## 更多")
    assert list(readme.compare(ENGLISH, f"{top}## 更多{more}## 运行{run}")) != []


def test_a_whole_section_that_is_missing_is_listed() -> None:
    found = list(readme.compare(ENGLISH, CHINESE[: CHINESE.index("## 更多")]))
    assert [line.partition(" not in ")[0] for line in found] == ["README.md:18: heading", "README.md:19: link"]


def test_a_page_without_the_switch_of_language_is_found() -> None:
    assert differences("[English](README.md) · 中文", "") == ["README.zh.md:1: no link to README.md above the first section"]


def test_a_hash_in_code_is_no_heading_and_a_hash_within_a_word_no_comment() -> None:
    found = readme.parts("```\n# said\nopen a#b\n```\n")
    assert {part.kind for part in found} == {"code"}
    assert [part.value for part in found] == ["```", " #", "open a#b", "```"]


def test_the_two_files_of_this_repository_are_in_step() -> None:
    done = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
