"""How does one console send a request to another over HTTP, and to which addresses not?

The name is resolved once, every address that it has must be allowed, and the connection goes to the one that was looked at.
Redirects are not followed, answers are bounded, and the whole exchange has one deadline. It blocks: call it in a thread.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from node.config.console_address import ConsoleAddress
from node.errors import DeadlineExceeded, Forbidden, Malformed, PeerUnreachable

ANSWER_MOST: Final = 2**20
BLOCK: Final = 64 * 1024
USER_AGENT: Final = "ecnode"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a console has answered; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Errand:
    """One request: `path` is that below the base address, `near` whether this machine and its link may be reached."""

    address: ConsoleAddress
    near: bool
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None


def check_place(ip: str, near: bool, shown: str) -> None:
    """Is content where a console may lie at an IP address.

    Raises:
        Forbidden: it is this machine's, this link's, or no host's at all.
    """
    found = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None) or found
    closed = found.is_multicast or found.is_unspecified or (found.is_reserved and not found.is_loopback)
    if closed or ((found.is_loopback or found.is_link_local) and not near):
        raise Forbidden(
            f"{shown} is at {ip}: no console of others is reached there",
            hint="an entry of [[federated.console.peers]] with near = true allows this machine's and this link's addresses",
        )


def send(errand: Errand, timeout: float, now: Callable[[], float]) -> Reply:
    """Sends it once and reads the answer. Blocks for `timeout` seconds of the clock `now` at the most.

    Raises:
        Forbidden: the address is one that may not be reached.
        PeerUnreachable: nobody answered there.
        DeadlineExceeded: not in time; the request may have taken effect.
        Malformed: the answer is not one, or too long, or leads elsewhere.
    """
    end = now() + timeout
    address = errand.address
    connection = http.client.HTTPConnection(address.host, address.port)
    try:
        connection.sock = _connect(errand, end, now)
        return _exchange(connection, errand, end, now)
    except TimeoutError as error:
        raise DeadlineExceeded(f"{address} did not answer within {timeout:g} s") from error
    except http.client.HTTPException as error:
        raise Malformed(f"{address} does not speak HTTP: {type(error).__name__}") from error
    except OSError as error:
        raise PeerUnreachable(f"{address} cannot be reached: {error.strerror or error}") from error
    finally:
        connection.close()


def _connect(errand: Errand, end: float, now: Callable[[], float]) -> socket.socket:
    address = errand.address
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise PeerUnreachable(f"the name in {address} is not known: {error}") from error
    places = [str(place[4][0]) for place in found]
    for place in places:
        check_place(place, errand.near, str(address))
    plain = socket.create_connection((places[0], address.port), timeout=_left(end, now))
    if address.scheme == "http":
        return plain
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def _exchange(connection: http.client.HTTPConnection, errand: Errand, end: float, now: Callable[[], float]) -> Reply:
    sock: socket.socket = connection.sock
    sock.settimeout(_left(end, now))
    headers = {"User-Agent": USER_AGENT, "Connection": "close", **errand.headers}
    if errand.body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(errand.method, errand.address.path + errand.path, errand.body, headers)
    answer = connection.getresponse()
    if 300 <= answer.status < 400:
        raise Malformed(f"{errand.address} sends on to another address, which is not followed", hint="name the right one")
    body = bytearray()
    while not answer.isclosed():  # then its socket is too
        sock.settimeout(_left(end, now))
        block = answer.read1(BLOCK)
        if not block:
            break
        body += block
        if len(body) > ANSWER_MOST:
            raise Malformed(f"{errand.address} answers more than {ANSWER_MOST} bytes")
    return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, bytes(body))


def _left(end: float, now: Callable[[], float]) -> float:
    left = end - now()
    if left <= 0:
        raise TimeoutError
    return left
