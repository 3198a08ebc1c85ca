"""What lets a caller in, and what is remembered of a call that must not take effect twice?"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from pydantic import Field, StringConstraints

from node.model.value import Count, Seconds, Text, Value, Word

TTL_MOST: Final = 10 * 366 * 86400.0

TokenId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^k-[0-9a-hjkmnp-tv-z]{26}$")]
Label: TypeAlias = Annotated[str, StringConstraints(max_length=200)]


class TokenScope(Word):
    """What a token's holder may do; each includes the ones before it."""

    READ = "read"
    SUBMIT = "submit"
    OPERATE = "operate"
    ADMIN = "admin"


class TokenRequest(Value):
    """A token that somebody asks for; `ttl` in seconds, without it the token holds until it is revoked."""

    label: Label = ""
    scope: TokenScope
    ttl: Annotated[float, Field(ge=1.0, le=TTL_MOST, allow_inf_nan=False)] | None = None


class Token(Value):
    """A token as everybody may see it. `used_at` is exact to a minute."""

    id: TokenId
    label: Label
    scope: TokenScope
    created_at: Seconds
    expires_at: Seconds | None = None
    used_at: Seconds | None = None


class NewToken(Value):
    """A token that was just made; `secret` is shown this once and kept nowhere."""

    token: Token
    secret: Text


class KeptAnswer(Value):
    """The first answer to a call with an idempotency key: its JSON and the place that it named."""

    status: Count
    content: str
    location: Text = ""


class Claim(Value):
    """What is known of an idempotency key: when it was first seen, whether that is now, and the answer if there is one."""

    new: bool
    first_at: Seconds
    answer: KeptAnswer | None = None
