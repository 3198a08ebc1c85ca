"""Which text is the base address of another console, and which leads elsewhere?"""

from __future__ import annotations

import pytest

from node.config.console_address import console_address


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("http://bank-b.example:5001", "http://bank-b.example:5001"),
        ("HTTP://Bank-B.Example:80/", "http://bank-b.example"),
        ("https://bank-b.example:443/compat/efls/", "https://bank-b.example/compat/efls"),
        ("http://[::1]:7480/host", "http://[::1]:7480/host"),
        ("http://bank-b.example./x", "http://bank-b.example/x"),
        ("ecnode://bank-b/", "ecnode://bank-b"),
    ],
)
def test_two_texts_for_one_address_come_out_the_same(text, same):
    assert str(console_address(text)) == same
    assert str(console_address(same)) == same


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bank-b.example",
        "file:///etc/passwd",
        "ftp://bank-b.example",
        "gopher://bank-b.example",
        "javascript:alert(1)",
        "ecnode://bank-b/x",
        "ecnode://bank-b:1",
        "ecnode://Bank_B",
        "http://",
        "http:///x",
        "http://a@bank-b.example",
        "http://a:b@bank-b.example",
        "http://bank-b.example?x=1",
        "http://bank-b.example/?",
        "http://bank-b.example#x",
        "http://bank-b.example:99999",
        "http://bank-b.example:0",
        "http://bank-b.example:x",
        "http://bank-b.example/../x",
        "http://bank-b.example//x",
        "http://bank-b.example/%2e%2e/x",
        "http://bank-b.example\\@evil.example",
        "http://bank-b.example/\r\nX: y",
        "http://bank b.example",
        "http://bänk.example",
        "http://" + "a" * 300,
    ],
)
def test_what_is_no_address_of_a_console_is_refused(text):
    with pytest.raises(ValueError, match="'"):
        console_address(text)
