"""The line of every key of a TOML text."""

import json
import tomllib
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from node.config.lines import Location, Repeat, find_keys

WRITTEN = '''\
# a comment with [brackets] and key = 1
schema = 1
"quoted key" = "a # no comment"
dotted.deep.key = 'x = [1'

[node] # a table
roles = [
  "cloud", # first
  "edge",
]
text = """
name = "not a key"
[not.a.table]
"""
labels = { site = "hq", "b.c" = { d = 1 } }

[[allow]]
name = "a"
[allow.more]
x = 1
[[allow]]
name = "b"
[allow.more]
x = 2
[a.b.c]
when = 2026-11-21 10:00:00
[a]
later = true
'''


def test_every_kind_of_key_is_found_on_its_line() -> None:
    tomllib.loads(WRITTEN)
    lines = find_keys(WRITTEN).lines
    assert {path: lines[path] for path in EXPECTED} == EXPECTED
    assert not any("not" in path for path in lines)


EXPECTED: dict[Location, int] = {
    ("schema",): 2,
    ("quoted key",): 3,
    ("dotted", "deep", "key"): 4,
    ("node",): 6,
    ("node", "roles"): 7,
    ("node", "roles", 0): 8,
    ("node", "roles", 1): 9,
    ("node", "text"): 11,
    ("node", "labels", "site"): 15,
    ("node", "labels", "b.c", "d"): 15,
    ("allow", 0, "name"): 18,
    ("allow", 0, "more", "x"): 20,
    ("allow", 1): 21,
    ("allow", 1, "name"): 22,
    ("allow", 1, "more", "x"): 24,
    ("a", "b", "c", "when"): 26,
    ("a",): 27,
    ("a", "later"): 28,
}


def test_a_missing_key_is_placed_at_the_table_around_it() -> None:
    assert find_keys("[a]\nx = 1\n[b]\n").nearest(("b", "y", "z")) == 3


def test_what_no_table_holds_has_no_place() -> None:
    assert find_keys("[a]\n").nearest(("b",)) is None


def test_a_repeated_key_is_found_with_both_lines() -> None:
    assert find_keys("[a]\nx = 1\ny = 2\nx = 3").repeats == (Repeat(("a", "x"), 2, 4),)


def test_a_repeated_table_is_found_with_both_lines() -> None:
    assert find_keys("[a]\nx = 1\n[b]\n[a]").repeats == (Repeat(("a",), 1, 4),)


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(alphabet="ab=[]{}\"'\\\n#,. 1", max_size=60))
def test_a_text_that_is_no_toml_does_not_stop_the_scanner(text: str) -> None:
    find_keys(text)


KEYS = st.text(alphabet="abcdef_-1", min_size=1, max_size=4) | st.text(alphabet='a."é#=[ \\', min_size=0, max_size=4)
SCALARS = st.one_of(
    st.integers(min_value=-(2**60), max_value=2**60),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False).map(abs),
    st.text(alphabet="ab#=[]{}\"'\\,\n\té", max_size=8),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)
TABLES = st.dictionaries(KEYS, st.tuples(st.booleans(), st.dictionaries(KEYS, VALUES, max_size=3)), max_size=4)


@dataclass
class Writer:
    """Writes TOML in several spellings and notes on which line each key stands."""

    rows: list[str] = field(default_factory=list)
    lines: dict[Location, int] = field(default_factory=dict)

    def table(self, key: str, body: dict[str, object], many: bool) -> None:
        name = json.dumps(key)
        self.rows.append(f"[[{name}]] # [no]" if many else f" [ {name} ]")
        path: Location = (key, 0) if many else (key,)
        self.lines[path] = len(self.rows)
        for inner, value in body.items():
            self.rows.append("# comment = 1")
            self.rows.append(f"{json.dumps(inner)} = ")
            self.lines[(*path, inner)] = len(self.rows)
            self.value((*path, inner), value, inline=False)

    def value(self, path: Location, value: object, *, inline: bool) -> None:
        if isinstance(value, list):
            self.rows[-1] += "["
            for number, item in enumerate(value):
                if not inline:
                    self.rows += ["  # ] }", "  "]
                self.lines[(*path, number)] = len(self.rows)
                self.value((*path, number), item, inline=inline)
                self.rows[-1] += ", "
            self.rows[-1] += "]"
        elif isinstance(value, dict):
            self.rows[-1] += "{ "
            for number, (key, item) in enumerate(value.items()):
                self.rows[-1] += (", " if number else "") + f"{json.dumps(key)} = "
                self.lines[(*path, key)] = len(self.rows)
                self.value((*path, key), item, inline=True)
            self.rows[-1] += " }"
        elif isinstance(value, str) and "\n" in value and not inline:
            body = value.replace("\\", "\\\\").replace('"', '\\"')
            first, *others = f'"""\n{body}"""'.split("\n")  # the reader drops the newline at the start
            self.rows[-1] += first
            self.rows += others
        else:
            self.rows[-1] += json.dumps(value)


@settings(deadline=None)  # a busy machine is no fault
@given(TABLES)
def test_every_key_of_a_generated_text_is_found_on_its_line(tables: dict[str, tuple[bool, dict[str, object]]]) -> None:
    writer = Writer()
    for key, (many, body) in tables.items():
        writer.table(key, body, many)
    text = "\n".join(writer.rows)
    assert tomllib.loads(text) == {key: [body] if many else body for key, (many, body) in tables.items()}
    places = find_keys(text)
    assert {path: places.lines.get(path) for path in writer.lines} == writer.lines
    assert not places.repeats
