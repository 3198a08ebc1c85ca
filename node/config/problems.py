"""How is a fault in a config told, so that the reader knows the place, the fault and the next step?

`edge.toml line 6: transport.lisen: unknown setting, did you mean 'listen'?`
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Final, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from node.config.lines import Location
from node.errors import Problem

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s\"']*@")
_LONGEST_TEXT: Final = 100
_MOVED: Final = {"edge.services": "services stand at the top, for any role: [services.NAME]"}


@dataclass(frozen=True, slots=True)
class Origin:
    """A place that a setting comes from: a file with line and text, a variable, or an option."""

    file: str
    line: int | None = None
    text: str = ""

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file} line {self.line}"


@dataclass(frozen=True, slots=True)
class ConfigProblem(Problem):
    """One fault with its place; `text` is the offending line where showing it helps."""

    origin: Origin | None = None
    text: str = ""

    def __str__(self) -> str:
        start = f"{self.origin}: " if self.origin else ""
        return start + self.sentence

    @property
    def sentence(self) -> str:
        """The fault without its place."""
        path = f"{self.path}: " if self.path else ""
        text = f"      {self.text}" if self.text else ""
        return f"{path}{self.message}{text}"


def dotted(path: Location) -> str:
    """The path as it would be written in TOML; list positions are numbers."""
    return ".".join(str(part) if isinstance(part, int) or _BARE.fullmatch(part) else json.dumps(part) for part in path)


def without_credentials(text: str) -> str:
    """The text with the user and password of every url hidden."""
    return _CREDENTIALS.sub("***@", text)


def report(problems: Sequence[Problem]) -> str:
    """The problems as a person reads them: grouped by file, lines in a column."""
    files: dict[str, list[Problem]] = {}
    for problem in problems:
        files.setdefault(_origin(problem).file, []).append(problem)
    return "\n".join(row for file, found in files.items() for row in _of_one_file(file, found))


def in_order(problems: Iterable[ConfigProblem]) -> list[ConfigProblem]:
    """The problems by file, as the files were first met, and by line."""
    found = list(problems)
    files = list(dict.fromkeys(_origin(problem).file for problem in found))
    return sorted(found, key=lambda problem: (files.index(_origin(problem).file), _origin(problem).line or 0))


def from_pydantic(
    model: type[BaseModel],
    errors: Iterable[ErrorDetails],
    origin: Callable[[Location], Origin | None],
    references: Mapping[Location, str],
) -> Iterator[ConfigProblem]:
    """One problem for each error of a validation of `model`."""
    found = list(errors)
    for error in found:
        if error["type"] == "too_short" and any(_is_below(other["loc"], error["loc"]) for other in found):
            continue  # a faulty item is told as such; that it leaves the list empty is noise
        path = tuple(part for part in error["loc"] if part != "[key]")
        message = _message(model, path, error)
        if path in references and error["input"]:  # what a reference stands for may be a secret
            message = message.replace(str(error["input"]), references[path])
        place = origin(path)
        shown = place.text if place and error["type"] not in ("extra_forbidden", "missing") else ""
        yield ConfigProblem(dotted(path), without_credentials(message), place, without_credentials(shown[:_LONGEST_TEXT]))


def _is_below(path: Location, parent: Location) -> bool:
    return len(path) > len(parent) and path[: len(parent)] == parent


def _message(model: type[BaseModel], path: Location, error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_setting(model, path)
    if kind == "missing":
        return "is required"
    message = error["msg"].removeprefix("Value error, ")
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        return message + _did_you_mean(str(error["input"]), words)
    if kind == "string_type" and isinstance(error["input"], (bool, int, float)):
        return f'{message}: write "{json.dumps(error["input"])}"'
    return message


def _unknown_setting(model: type[BaseModel], path: Location) -> str:
    if moved := _MOVED.get(dotted(path)):
        return f"unknown setting; {moved}"
    name = str(path[-1])
    known = _names(_model_at(model, path[:-1]))
    if advice := _did_you_mean(name, known):
        return f"unknown setting{advice}"
    homes = [table for table in _names(model) if name in _names(_model_at(model, (table,)))]
    if homes:
        return f"unknown setting here; it belongs to {' or '.join(f'[{home}]' for home in homes)}"
    return f"unknown setting; known here: {', '.join(known)}"


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The advice at the end of a sentence about an unknown name; empty where nothing is near."""
    return _did_you_mean(name, sorted(known))


def _names(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model_at(model: type[BaseModel], path: Location) -> type[BaseModel] | None:
    """The table that stands at the path, if it is one with fixed keys."""
    here: object = model
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = _bare_type(field.annotation) if field else None
        elif get_origin(here) in (dict, tuple):
            here = _bare_type(get_args(here)[-1 if get_origin(here) is dict else 0])
        else:
            return None
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _bare_type(annotation: object) -> object:
    """The type without its annotations and without None."""
    while hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    choices = [choice for choice in get_args(annotation) if choice is not NoneType]
    return choices[0] if NoneType in get_args(annotation) else annotation


def _origin(problem: Problem) -> Origin:
    origin = problem.origin if isinstance(problem, ConfigProblem) else None
    return origin or Origin("config")


def _of_one_file(file: str, problems: Sequence[Problem]) -> Iterator[str]:
    yield f"{file}: {len(problems)} problem{'s' if len(problems) > 1 else ''}"
    for problem in problems:
        line = _origin(problem).line
        place = f"line {line:>3}" if line is not None else " " * 8
        sentence = problem.sentence if isinstance(problem, ConfigProblem) else f"{problem.path}: {problem.message}"
        yield f"  {place}  {sentence}"
