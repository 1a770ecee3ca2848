"""JSON that everybody reads alike: what two readers could take for two things isn't what was written."""

from __future__ import annotations

import json
from typing import Any, Final, Never


def require_plain(data: bytes) -> Any:
    """Return the value of JSON in UTF-8 in which no key stands twice and every number is one.

    Raises ValueError for anything else, and for what is nested or long beyond all measure.
    """
    try:
        return _DECODER.decode(data.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no number")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse)
