"""How many tokens a text probably has: for what no provider has counted yet."""

from __future__ import annotations

from typing import Final

_BYTES_PER_TOKEN: Final = 4


def estimate(text: str) -> int:
    """Return about how many tokens a text has."""
    return len(text.encode(errors="replace")) // _BYTES_PER_TOKEN
