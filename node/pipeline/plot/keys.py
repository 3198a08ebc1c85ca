"""How do a plot's keys, its id, its memo and its file name belong together?

A light module: the plotter's child process imports it, and what that imports is part of every plot's cost. chia_rs is loaded
only where a key is computed.

Source: chia-blockchain, `chia/plotting/create_plots.py` and `chia/wallet/derive_keys.py`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

KEY_BYTES: Final = 48
SECRET_BYTES: Final = 32
MEMO_BYTES: Final = 2 * KEY_BYTES + SECRET_BYTES
_LOCAL_PATH: Final = (12381, 8444, 3, 0)  # from the secret in the memo to the plot's own key

_NAME: Final = re.compile(r"plot-k(\d{2})-\d{4}-\d\d-\d\d-\d\d-\d\d-([0-9a-f]{64})\.plot")


@dataclass(frozen=True, slots=True)
class PlotKeys:
    """The id of a plot and the memo that proves whose it is; the memo holds a secret."""

    plot_id: bytes
    memo: bytes


def make_keys(farmer: bytes, pool: bytes, secret: bytes) -> PlotKeys:
    """Fresh keys of a plot for a farmer's and a pool's public key; `secret` is 32 random bytes.

    Raises:
        ValueError: a key that is none.
    """
    from chia_rs import AugSchemeMPL

    return from_memo(pool + farmer + AugSchemeMPL.key_gen(secret).to_bytes())


def from_memo(memo: bytes) -> PlotKeys:
    """The keys that a memo decides.

    Raises:
        ValueError: it is not pool key, farmer key and secret key.
    """
    if len(memo) != MEMO_BYTES:
        raise ValueError(f"a memo of {len(memo)} bytes; pool key, farmer key and secret key are {MEMO_BYTES}")
    from chia_rs import AugSchemeMPL, G1Element, PrivateKey

    pool, farmer, secret = memo[:KEY_BYTES], memo[KEY_BYTES : 2 * KEY_BYTES], memo[2 * KEY_BYTES :]
    G1Element.from_bytes(pool)
    local = PrivateKey.from_bytes(secret)
    for step in _LOCAL_PATH:
        local = AugSchemeMPL.derive_child_sk(local, step)
    plot_key = local.get_g1() + G1Element.from_bytes(farmer)
    return PlotKeys(hashlib.sha256(pool + plot_key.to_bytes()).digest(), memo)


def throw_away_key(seed: bytes) -> str:
    """The public key of a pair whose secret nobody keeps, in hex: for plots that are made to be looked at."""
    from chia_rs import AugSchemeMPL

    return str(AugSchemeMPL.key_gen(seed).get_g1().to_bytes().hex())


def file_name(ksize: int, plot_id: bytes, moment: datetime) -> str:
    """The name that farmers expect."""
    return f"plot-k{ksize:02d}-{moment:%Y-%m-%d-%H-%M}-{plot_id.hex()}.plot"


def parse_name(name: str) -> tuple[int, str] | None:
    """Size and plot id that a file name claims; None where it is no plot's name."""
    found = _NAME.fullmatch(name)
    return None if found is None else (int(found[1]), found[2])
