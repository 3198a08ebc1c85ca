"""Which compute services are there, where do they run, and what does one say of a picture?"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.api.answer import document, page
from node.api.inputs import ServiceInput, read_inputs, write_outputs
from node.api.reading import MAX_LARGE_BODY, parse, read_large_body, read_params, read_ref
from node.api.route import API, DOOR, Route, Scope
from node.errors import AssetMissing, Busy, ChildLost, DeadlineExceeded, NotFound
from node.model.cluster import NodeReport, NodeState
from node.model.service import InvokeParams, ServiceAnswer, ServiceBench, ServiceItem, ServiceNode
from node.model.video import Resolution
from node.model.wire.compute import StageCall
from node.pipeline.stage import PICTURES, SERVICES, ServiceSpec

MAX_REF: Final = 63
CALL_S: Final = 30.0  # loading a model included


def service_of(request: web.Request) -> ServiceSpec:
    """The service that the path names.

    Raises:
        NotFound: there is none.
    """
    name = read_ref(request, MAX_REF, "service")
    if name not in SERVICES:
        raise NotFound(f"no service is called '{name}'", hint=f"there are: {', '.join(SERVICES)}")
    return SERVICES[name]


async def listing(request: web.Request) -> web.Response:
    """All that can be a stage, offered by a node or not; at a cloud with every node that offers it."""
    ports = request.app[DOOR].ports
    here = ports.nodes.here()
    told = [(here, NodeState.READY)]
    told += [(view.report, view.state) for view in ports.nodes.views() if view.report.name != here.name]
    lacks = ports.services.lacks()
    return page([_item(spec, told, lacks.get(spec.name, "is not measured yet")) for spec in SERVICES.values()], None)


def _item(spec: ServiceSpec, told: list[tuple[NodeReport, NodeState]], lack: str) -> ServiceItem:
    offered = [(report, state, found) for report, state in told if (found := report.service(spec.name)) is not None]
    return ServiceItem(
        name=spec.name,
        needs=tuple(sorted(spec.needs)),
        gives=tuple(sorted(spec.gives)),
        models=spec.models,
        ladder=spec.ladder,
        escalate_below=spec.escalate_below,
        remembers=spec.remembers,
        accuracy={each: spec.accuracy[each] for each in Resolution if each in spec.accuracy},
        user=spec.user,
        nodes=tuple(ServiceNode(**dict(found), node=at.name, state=state, workers=at.workers) for at, state, found in offered),
        reason="" if told[0][0].service(spec.name) is not None else lack,
    )


async def invoke(request: web.Request) -> web.Response:
    """One call of a service of this node.

    A picture is base64 of a JPEG or the text of a list, which is never evaluated. What it does not need is passed over.
    """
    door, spec = request.app[DOOR], service_of(request)
    params = read_params(request, InvokeParams)
    inputs = await read_large_body(
        request,
        lambda content: read_inputs(parse(content, ServiceInput, entries=MAX_LARGE_BODY).__pydantic_extra__, spec.needs),
    )
    served = await door.ports.services.call(
        (StageCall(service=spec.name, model_id=params.model),),
        inputs.values,
        inputs.pictures,
        wanted=spec.gives & PICTURES,
        deadline=door.clock.monotonic() + CALL_S,
    )
    return document(
        ServiceAnswer(
            outputs=write_outputs(served),
            stage_s=sum(served.stage_seconds),
            decode_s=served.decode_seconds,
            wait_s=served.wait_seconds,
        )
    )


async def bench(request: web.Request) -> web.Response:
    """Measures a service of this node at every resolution, as its calibration did."""
    ports, spec = request.app[DOOR].ports, service_of(request)
    found = await ports.services.bench(spec.name)
    here = ports.nodes.here()
    report = here.service(spec.name)
    return document(
        ServiceBench(
            node=here.name,
            name=spec.name,
            seconds=dict(found.seconds),
            objects=found.objects,
            calibrated=report.profile if report is not None else {},
        )
    )


_ONE: Final = f"{API}/services/{{ref}}"
_SERVED: Final = (NotFound, Busy, ChildLost, AssetMissing, DeadlineExceeded)

ROUTES: Final = (
    Route("GET", f"{API}/services", Scope.READ, listing, "The compute services.", reply=ServiceItem, many=True),
    Route(
        "POST",
        f"{_ONE}/invoke",
        Scope.SUBMIT,
        invoke,
        "Call a service.",
        body=ServiceInput,
        params=InvokeParams,
        reply=ServiceAnswer,
        raises=_SERVED,
        keyed=False,
    ),
    Route("POST", f"{_ONE}/bench", Scope.SUBMIT, bench, "Measure a service.", reply=ServiceBench, raises=_SERVED, keyed=False),
)
