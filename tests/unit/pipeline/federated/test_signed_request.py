"""A signed request is good for one console, one method, one path, one body, and for a few minutes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import Forbidden, Unauthorized
from node.pipeline.federated.identity import SigningKey
from node.pipeline.federated.signed_request import (
    KEY,
    NONCE,
    SIGNATURE,
    SKEW_S,
    TIME,
    Asked,
    check,
    check_reply,
    is_signed,
    sign,
    sign_reply,
)

CALLER, CALLEE = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
ASKED = Asked(CALLEE.public, "POST", "/project/peer", b'{"peer_id":"a"}')
NOW = 1_800_000_000.0


def test_a_request_proves_who_has_asked():
    headers = sign(CALLER, ASKED, NOW)
    proven = check(headers, ASKED, NOW + 1)
    assert (proven.key, proven.time, proven.nonce) == (CALLER.public, NOW, headers[NONCE])
    assert sign(CALLER, ASKED, NOW)[NONCE] != headers[NONCE]
    assert is_signed(headers)
    assert not is_signed({})


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, callee=CALLER.public),
        replace(ASKED, method="PUT"),
        replace(ASKED, path="/project/peer/" + "0" * 32),
        replace(ASKED, body=b'{"peer_id":"b"}'),
    ],
    ids=["at another console", "by another method", "on another path", "with another body"],
)
def test_it_is_worth_nothing(other):
    with pytest.raises(Forbidden, match="not one of this request"):
        check(sign(CALLER, ASKED, NOW), other, NOW)


@pytest.mark.parametrize("late", [SKEW_S + 1, -SKEW_S - 1])
def test_it_is_worth_nothing_later_or_long_before(late):
    headers = sign(CALLER, ASKED, NOW)
    check(headers, ASKED, NOW + SKEW_S - 1)
    with pytest.raises(Forbidden, match="was signed"):
        check(headers, ASKED, NOW + late)


@pytest.mark.parametrize(
    ("name", "value"), [(TIME, f"{NOW + 5:.3f}"), (NONCE, "0" * 32), (KEY, CALLEE.public), (SIGNATURE, "0" * 128)]
)
def test_no_header_of_it_can_be_changed(name, value):
    with pytest.raises(Forbidden):
        check({**sign(CALLER, ASKED, NOW), name: value}, ASKED, NOW)


@pytest.mark.parametrize("name", [KEY, TIME, NONCE, SIGNATURE])
@pytest.mark.parametrize("value", ["", "x", "nan", "1e99", "-5", "é" * 64])
def test_a_header_that_is_missing_or_no_such_thing_is_named(name, value):
    with pytest.raises(Unauthorized, match=name):
        check({**sign(CALLER, ASKED, NOW), name: value}, ASKED, NOW)


def test_an_answer_is_good_for_one_request():
    signature = sign_reply(CALLEE, "0" * 32, 200, b"{}")
    assert check_reply(CALLEE.public, signature, "0" * 32, 200, b"{}")
    assert not check_reply(CALLEE.public, signature, "1" * 32, 200, b"{}")
    assert not check_reply(CALLEE.public, signature, "0" * 32, 200, b"{ }")
    assert not check_reply(CALLER.public, signature, "0" * 32, 200, b"{}")
    assert not check_reply(CALLEE.public, "", "0" * 32, 200, b"{}")
