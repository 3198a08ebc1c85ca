"""Where a console may lie, and what is made of what answers there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from node.clock import SystemClock
from node.config.console_address import ConsoleAddress, console_address
from node.errors import DeadlineExceeded, Forbidden, Malformed, PeerUnreachable
from node.transport.console_http import ANSWER_MOST, Errand, check_place, send

NOW = SystemClock().monotonic
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Peer-Reply-Sig: 00\r\n\r\n{}"

Answering = Callable[[bytes], ConsoleAddress]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """A console that gives its one caller these bytes, and then says nothing more."""
    listeners: list[socket.socket] = []
    done = threading.Event()

    def serve(listener: socket.socket, content: bytes) -> None:
        try:
            found, _ = listener.accept()
        except OSError:
            return
        with found, suppress(ConnectionError):
            found.recv(65536)
            found.sendall(content)
            if not content.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 2"):
                done.wait(5)

    threads: list[threading.Thread] = []

    def answer(content: bytes) -> ConsoleAddress:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threads.append(threading.Thread(target=serve, args=(listener, content)))
        threads[-1].start()
        return console_address(f"http://127.0.0.1:{listener.getsockname()[1]}/base")

    yield answer
    done.set()
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in accept
        listener.close()
    for thread in threads:
        thread.join(10)


def errand(address: ConsoleAddress, near: bool = True) -> Errand:
    return Errand(address, near, "POST", "/project/peer", {"X-Peer-Nonce": "0"}, b"{}")


def test_an_answer_comes_with_its_headers(answering: Answering) -> None:
    reply = send(errand(answering(GOOD)), 5.0, NOW)
    assert (reply.status, reply.body, reply.headers["x-peer-reply-sig"]) == (200, b"{}", "00")


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "fe80::1%1"])
def test_this_machine_and_this_link_are_closed_unless_the_config_opens_them(ip: str) -> None:
    with pytest.raises(Forbidden, match="near = true"):
        _refused(ip, near=False)
    check_place(ip, True, "it")


def _refused(ip: str, near: bool) -> None:
    try:
        check_place(ip, near, "it")
    except Forbidden as error:
        raise Forbidden(error.hint) from error


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255"])
def test_what_is_no_hosts_address_is_always_closed(ip: str) -> None:
    for near in (False, True):
        with pytest.raises(Forbidden):
            check_place(ip, near, "it")


def test_a_name_of_this_machine_is_no_way_round(answering: Answering) -> None:
    port = answering(GOOD).port
    for text in (f"http://localhost:{port}", f"http://127.1:{port}", f"http://2130706433:{port}"):
        with pytest.raises(Forbidden):
            send(errand(console_address(text), near=False), 5.0, NOW)


def test_a_redirect_is_not_followed(answering: Answering) -> None:
    there = answering(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(Malformed, match="not followed"):
        send(errand(there), 5.0, NOW)


def test_an_answer_without_end_is_cut_off(answering: Answering) -> None:
    with pytest.raises(Malformed, match="more than"):
        send(errand(answering(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(ANSWER_MOST + 1))), 5.0, NOW)


def test_an_answer_that_stays_away_ends_with_the_deadline(answering: Answering) -> None:
    with pytest.raises(DeadlineExceeded):
        send(errand(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")), 0.3, NOW)


def test_what_is_not_http_and_what_is_not_there_are_told(answering: Answering) -> None:
    with pytest.raises(Malformed, match="does not speak HTTP"):
        send(errand(answering(b"SSH-2.0\r\n" * 40)), 5.0, NOW)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(PeerUnreachable):
        send(errand(console_address(f"http://127.0.0.1:{port}")), 5.0, NOW)
