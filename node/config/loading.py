"""How do layers become one checked config?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from node.config import checks
from node.config.checks import Fault, Known
from node.config.layers import Merged, read_environment, read_file, read_sets, resolve_references
from node.config.lines import Location
from node.config.problems import ConfigProblem, dotted, from_pydantic, in_order, without_credentials
from node.config.schema import (
    CloudConfig,
    EdgeConfig,
    HttpConfig,
    NodeConfig,
    NodeSection,
    TalentConfig,
    TransportConfig,
)
from node.errors import ConfigInvalid

M = TypeVar("M", bound=BaseModel)

ANY_BUILD: Final = Known()
_SYSTEM_FILE: Final = Path("/etc/ecnode/node.toml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config that can be run. `references` are the settings that stand elsewhere: dotted path → `@file:…` or `@env:…`."""

    config: NodeConfig
    origins: Mapping[str, str]
    references: Mapping[str, str]
    warnings: tuple[ConfigProblem, ...]

    def shown(self) -> dict[str, object]:
        """The config as it may be printed: references instead of what they stand for, urls without passwords."""
        shown: dict[str, object] = {}
        for key, value in self.config.plain().items():
            shown[key] = _shown(value, (key,), self.references)
        return shown

    def settings(self) -> Iterator[tuple[Location, object]]:
        """Each setting of `shown` with its path; a list of plain values is one setting."""
        return _leaves(self.shown(), ())


def load(files: Sequence[Path], environment: Mapping[str, str], sets: Sequence[str], known: Known = ANY_BUILD) -> Loaded:
    """The config from all layers.

    Raises:
        ConfigInvalid: with every problem at once, each with its place.
    """
    merged = Merged()
    for file in files:
        read_file(merged, file)
    read_environment(merged, environment)
    read_sets(merged, sets)
    if not files and not merged.values and not merged.problems:
        raise _nothing()
    if merged.problems:  # a layer is missing: what the rest lacks would be noise
        raise _invalid(merged.problems)
    resolve_references(merged, environment)
    config, errors = _validated(merged)
    problems = merged.problems + list(from_pydantic(NodeConfig, errors, merged.origin, merged.references))
    told = {problem.path for problem in merged.problems}
    faults = _faults(merged.values, {str(error["loc"][0]) for error in errors if error["loc"]}, known)
    problems = [problem for problem in problems if problem in merged.problems or problem.path not in told]
    problems += [_placed(merged, fault) for fault in faults]
    if config is None or problems:
        raise _invalid(problems)
    return Loaded(
        config=config,
        origins=_origins(config, merged),
        references={dotted(path): reference for path, reference in merged.references.items()},
        warnings=tuple(_placed(merged, fault) for fault in checks.warnings(config)),
    )


def config_files(explicit: Sequence[Path], environment: Mapping[str, str], folder: Path = Path()) -> tuple[Path, ...]:
    """The files to load: those named, or else the first that exists of the places where a config is looked for."""
    if explicit:
        return tuple(explicit)
    if named := environment.get("ECNODE_CONFIG"):
        return (Path(named).expanduser(),)
    home = Path(environment.get("HOME") or Path.home())
    places = (folder / "ecnode.toml", home / ".config/ecnode/node.toml", _SYSTEM_FILE)
    return tuple(place for place in places if place.is_file())[:1]


def _validated(merged: Merged) -> tuple[NodeConfig | None, list[ErrorDetails]]:
    """Validates; where a text is wanted and JSON was read from a variable or an option, its own text is taken."""
    try:
        return NodeConfig.model_validate(merged.values), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
    texts = [
        path
        for each in errors
        if each["type"] in ("string_type", "literal_error") and (path := tuple(each["loc"])) in merged.raw
    ]
    if not texts:
        return None, errors
    for path in texts:
        _put(merged.values, path, merged.raw.pop(path))
    return _validated(merged)


def _put(table: dict[str, object], path: Location, value: str) -> None:
    here: object = table
    for key in path[:-1]:
        here = here[str(key)] if isinstance(here, dict) else here
    if isinstance(here, dict):
        here[str(path[-1])] = value


def _faults(values: Mapping[str, object], broken: set[str], known: Known) -> Iterator[Fault]:
    """What is wrong with combinations, of every table that is readable by itself."""

    def section(name: str, model: type[M]) -> M | None:
        return None if name in broken else model.model_validate(values.get(name, {}))

    transport = section("transport", TransportConfig)
    if transport is not None:
        yield from checks.transport_faults(transport)
    if (node := section("node", NodeSection)) is not None:
        yield from checks.node_faults(node, transport)
    if (http := section("http", HttpConfig)) is not None:
        yield from checks.http_faults(http, known)
    if (edge := section("edge", EdgeConfig)) is not None:
        yield from checks.edge_faults(edge)
    if (talent := section("talent", TalentConfig)) is not None:
        yield from checks.talent_faults(talent)
    if (cloud := section("cloud", CloudConfig)) is not None:
        yield from checks.cloud_faults(cloud, known)
    services = values.get("services")
    if isinstance(services, dict):
        yield from checks.service_faults(services, known)


def _placed(merged: Merged, fault: Fault) -> ConfigProblem:
    origin = merged.origin(fault.path)
    return ConfigProblem(dotted(fault.path), without_credentials(fault.message), origin)


def _invalid(problems: Sequence[ConfigProblem]) -> ConfigInvalid:
    ordered = in_order(problems)
    places = list(dict.fromkeys(problem.origin.file for problem in ordered if problem.origin))
    message = f"{', '.join(places) or 'config'}: {len(ordered)} problem{'s' if len(ordered) > 1 else ''}"
    return ConfigInvalid(message, hint="mend it, then `ecnode check` looks again", problems=ordered)


def _nothing() -> ConfigInvalid:
    message = f"there is no ./ecnode.toml, ~/.config/ecnode/node.toml or {_SYSTEM_FILE}: `ecnode init` writes one, -c names one"
    return ConfigInvalid(message, problems=[ConfigProblem("", message)])


def _origins(config: NodeConfig, merged: Merged) -> dict[str, str]:
    origins: dict[str, str] = {}
    for path, _ in _leaves(config.plain(), ()):
        origin = merged.origin(path) if _is_given(merged.values, path) else None
        origins[dotted(path)] = str(origin) if origin else "default"
    return origins


def _is_given(values: object, path: Location) -> bool:
    """Whether a layer says anything about the setting; a text that stands for a list of one counts for its item."""
    for part in path:
        if not isinstance(values, (dict, list)):
            return True
        if isinstance(values, dict):
            if part not in values:
                return False
            values = values[part]
        else:
            values = values[int(part)]
    return True


def _leaves(value: object, path: Location) -> Iterator[tuple[Location, object]]:
    """Every setting: lists of plain values count as one, tables in lists do not."""
    if isinstance(value, dict) and (value or not path):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, number))
    else:
        yield path, value


def _shown(value: object, path: Location, references: Mapping[str, str]) -> object:
    if (reference := references.get(dotted(path))) is not None:
        return reference
    if isinstance(value, dict):
        return {key: _shown(item, (*path, key), references) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item, (*path, number), references) for number, item in enumerate(value)]
    return without_credentials(value) if isinstance(value, str) else value
