"""Which scheduler does a config name?"""

from __future__ import annotations

import importlib
from inspect import isfunction
from typing import Final

from node.errors import ConfigInvalid, Problem
from node.pipeline.video.planner.base import Scheduler
from node.pipeline.video.planner.original import Original

_BUILT_IN: Final = {
    "robust": "node.pipeline.video.planner.robust:Robust",
    "ewma": "node.pipeline.video.planner.ewma:Ewma",
    "cold_start": "node.pipeline.video.planner.cold_start:ColdStart",
    "pid": "node.pipeline.video.planner.pid:Pid",
    "fixed": "node.pipeline.video.planner.fixed:Fixed",
}


def load_scheduler(name: str) -> Scheduler:
    """The built-in scheduler of that name, or the class, or the original's kind of function, at `package.module:name`.

    Raises:
        ConfigInvalid: neither exists.
    """
    module, _, attribute = _BUILT_IN.get(name, name).partition(":")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
        if isfunction(found):
            return Original(found)
        made: object = found() if isinstance(found, type) else found
        if not isinstance(made, Scheduler):
            raise ValueError("it lacks one of plan, observe, failed, forget")
    except (ImportError, AttributeError, ValueError) as error:
        problem = Problem("cloud.scheduler", f"no scheduler '{name}': {error}")
        hint = f"one of {', '.join(_BUILT_IN)}, or package.module:Class, or package.module:function"
        raise ConfigInvalid(f"cloud.scheduler: no scheduler '{name}'", problems=[problem], hint=hint) from error
    return made
