"""Which settings are right each by itself and wrong together?

Each table is checked as soon as it is readable, so that one faulty table does not hide the faults of another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from node.config.address import http_address, peer_address
from node.config.lines import Location
from node.config.problems import did_you_mean
from node.config.schema import (
    CLOUD_LISTEN,
    CloudConfig,
    EdgeConfig,
    HttpConfig,
    NodeConfig,
    NodeSection,
    Section,
    TalentConfig,
    TransportConfig,
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the build can do; None where the caller does not know and nothing is to be checked."""

    services: Collection[str] | None = None
    schedulers: Collection[str] | None = None
    dev: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a combination, at the setting that should change."""

    path: Location
    message: str


def node_faults(node: NodeSection, transport: TransportConfig | None) -> Iterator[Fault]:
    """What [node] and [transport] say together."""
    if transport is None or "cloud" not in node.roles or transport.security == "curve":
        return
    if "listen" not in transport.model_fields_set:
        yield Fault(
            ("transport", "security"),
            f"'null' is for loopback and local sockets; role cloud listens on {CLOUD_LISTEN[0]}, set transport.listen",
        )


def transport_faults(transport: TransportConfig) -> Iterator[Fault]:
    """[transport]: whom to trust, when to give up."""
    yield from _allow_faults(transport)
    known = {peer.address for peer in transport.allow}
    for number, address in enumerate(transport.join):
        if address not in known:
            yield Fault(
                ("transport", "join", number),
                f"no entry of [[transport.allow]] has the address '{address}': add one, `ecnode id` prints the key there",
            )
    if transport.suspect_after <= transport.heartbeat:
        yield Fault(("transport", "suspect_after"), f"must be longer than heartbeat ({transport.heartbeat:g} s)")
    if transport.dead_after <= transport.suspect_after:
        yield Fault(("transport", "dead_after"), f"must be longer than suspect_after ({transport.suspect_after:g} s)")
    if transport.security == "null":
        addresses = [*transport.listen, *transport.join, *([transport.advertise] if transport.advertise else [])]
        outside = [address for address in addresses if not peer_address(address).loopback]
        if outside:
            yield Fault(
                ("transport", "security"),
                f"'null' is for loopback and local sockets, but '{outside[0]}' is neither; use 'curve'",
            )


def http_faults(http: HttpConfig, known: Known) -> Iterator[Fault]:
    """[http]: who may come in without showing a token."""
    if http.auth == "none" and not known.dev:
        yield Fault(("http", "auth"), "'none' is for `ecnode dev` and `ecnode up --dev` only; use 'token' or 'loopback'")
    if http.auth == "token":
        return
    for address in http.listen:
        if not http_address(address).loopback:
            yield Fault(
                ("http", "listen"), f"'{address}' can be reached from outside: it needs auth = \"token\", not '{http.auth}'"
            )


def edge_faults(edge: EdgeConfig) -> Iterator[Fault]:
    """[edge]: two sources cannot share a number."""
    first: dict[int, str] = {}
    for name, source in edge.sources.items():
        if source.id is not None and first.setdefault(source.id, name) != name:
            yield Fault(("edge", "sources", name, "id"), f"{source.id} is the id of source '{first[source.id]}' already")


def talent_faults(talent: TalentConfig) -> Iterator[Fault]:
    """[talent]: one directory is one entry."""
    caches: dict[Path, int] = {}
    for number, cache in enumerate(talent.cache):
        if caches.setdefault(cache.path, number) != number:
            yield Fault(("talent", "cache", number, "path"), f"'{cache.path}' is entry {caches[cache.path]} already")
    ends: dict[Path, int] = {}
    for number, end in enumerate(talent.destination):
        if ends.setdefault(end.path, number) != number:
            yield Fault(("talent", "destination", number, "path"), f"'{end.path}' is entry {ends[end.path]} already")


def cloud_faults(cloud: CloudConfig, known: Known) -> Iterator[Fault]:
    """[cloud]: is there such a scheduler?"""
    if known.schedulers is not None and cloud.scheduler not in known.schedulers:
        advice = did_you_mean(cloud.scheduler, known.schedulers)
        there = ", ".join(sorted(known.schedulers))
        yield Fault(
            ("cloud", "scheduler"), f"this release has no scheduler '{cloud.scheduler}'{advice or f'; there are: {there}'}"
        )


def service_faults(services: Mapping[str, object], known: Known) -> Iterator[Fault]:
    """[services]: is there such a service, or somebody who implements it?"""
    for name, table in services.items():
        if known.services is None or name in known.services:
            continue
        if isinstance(table, dict) and table.get("implementation"):
            missing = [field for field in ("needs", "gives") if not table.get(field)]
            yield from (Fault(("services", name, field), "is required with an implementation") for field in missing)
        else:
            advice = did_you_mean(name, known.services) or f"; there are: {', '.join(sorted(known.services))}"
            yield Fault(("services", name), f"unknown service{advice}")


def warnings(config: NodeConfig) -> Iterator[Fault]:
    """What is allowed and probably not meant."""
    for address in (text for text in config.http.listen if not http_address(text).loopback):
        yield Fault(
            ("http", "listen"),
            f"'{address}' carries the token unencrypted, TLS is not built into this release: put a proxy with TLS in front",
        )
        parsed = http_address(address)
        if not parsed.every_interface and parsed.host not in config.http.hosts:
            yield Fault(("http", "hosts"), f"'{parsed.host}' is not in the list: requests to '{address}' will be refused")
    sections: Mapping[str, Section] = {"cloud": config.cloud, "edge": config.edge, "talent": config.talent}
    for role, section in sections.items():
        if role not in config.node.roles and section.model_fields_set:
            yield Fault((role,), f"has no effect: the node does not have the role '{role}'")
    if (
        {"edge", "talent"} & set(config.node.roles)
        and not config.transport.join
        and "cloud" not in config.node.roles
        and not config.transport.listen
    ):
        yield Fault(
            ("transport", "join"),
            "the node knows no other, unless it has joined one: ecnode join ADDR --token TOKEN",
        )


def _allow_faults(transport: TransportConfig) -> Iterator[Fault]:
    names: dict[str, int] = {}
    keys: dict[str, int] = {}
    for number, peer in enumerate(transport.allow):
        if names.setdefault(peer.name, number) != number:
            yield Fault(
                ("transport", "allow", number, "name"), f"'{peer.name}' is the name of entry {names[peer.name]} already"
            )
        if keys.setdefault(peer.key, number) != number:
            yield Fault(
                ("transport", "allow", number, "key"), f"is the key of '{transport.allow[keys[peer.key]].name}' already"
            )
