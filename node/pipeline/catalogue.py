"""Which services come from outside this program?

From two places, read once when a node or one of its workers starts: entry points of the group `ecnode.services`, each a
`ServiceSpec`, and the tables `[services.NAME]` of the config that name an `implementation`. What a table says of a built-in
service besides changes that alone. Nothing of the implementation is imported here; a worker process does that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Final, cast

from pydantic import JsonValue

from node.errors import ConfigInvalid, Invalid, Problem
from node.model.video import Resolution
from node.pipeline.stage import SERVICES, ServiceSpec, declare

GROUP: Final = "ecnode.services"
MAX_PLUGINS: Final = 64


def install(tables: Mapping[str, Mapping[str, JsonValue]]) -> None:
    """Declares what entry points and config tables bring; repeating it is harmless.

    Raises:
        ConfigInvalid: an entry point that is no service, or a table that does not say what a service needs and gives.
    """
    for point in sorted(entry_points(group=GROUP), key=lambda one: one.name)[:MAX_PLUGINS]:
        try:
            spec: object = point.load()
        except (ImportError, AttributeError) as error:
            raise _invalid(point.name, f"entry point {point.value} cannot be loaded: {error}") from error
        if not isinstance(spec, ServiceSpec) or spec.name != point.name:
            raise _invalid(point.name, f"entry point {point.value} is no ServiceSpec of that name")
        _declare(spec)
    for name, table in tables.items():
        _declare(_spec(name, table))


def _declare(spec: ServiceSpec) -> None:
    try:
        declare(spec)
    except Invalid as error:
        raise _invalid(spec.name, f"{error.message}: {error.hint}") from error


def _spec(name: str, table: Mapping[str, JsonValue]) -> ServiceSpec:
    known = SERVICES.get(name)
    escalate = cast(float, table.get("escalate_below", 0.0))
    implementation = cast(str, table.get("implementation", ""))
    if not implementation:
        if known is None:
            raise _invalid(name, "is no built-in service: name its implementation as module:function")
        return replace(known, escalate_below=escalate)  # how good it is was measured, and is not asked
    needs, gives = (frozenset(cast(Sequence[str], table.get(field, ()))) for field in ("needs", "gives"))
    if known is not None:
        needs, gives = needs or known.needs, gives or known.gives
    if not needs or not gives:
        raise _invalid(name, "says nothing of what it needs and gives, such as needs = ['image'], gives = ['bbox']")
    models = cast(int, table.get("models", 1))
    gives |= {"model_id"} if escalate else set()
    return ServiceSpec(
        name=name,
        needs=needs,
        gives=gives,
        implementation=implementation,
        models=models,
        fixed_share=cast(float, table.get("fixed_share", 1.0)),
        accuracy=dict.fromkeys((each.value for each in Resolution), cast(float, table.get("accuracy", 1.0))),
        ladder=tuple(range(models)),
        escalate_below=escalate,
        cpu=cast(float, table.get("cpu", 1.0)),
        memory_mib=cast(int, table.get("memory", 0)) / 2**20,
        user=True,
        folder=cast(str, table.get("folder") or ""),
    )


def _invalid(name: str, fault: str) -> ConfigInvalid:
    path = f"services.{name}"
    return ConfigInvalid(f"{path}: {fault}", problems=[Problem(path, fault)])
