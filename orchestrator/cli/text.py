"""Text for a terminal: what strangers wrote made harmless, and figures in words.

Whatever comes from a model, a sandbox, a journal or a repository goes through `visible` before it is printed.
A control character is shown as its picture (U+2400 block), anything else that a terminal or a reader's eye would obey
(C1 controls, bidi overrides, zero-width characters, line separators, lone surrogates) as `<U+XXXX>`.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1.
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e"  # Format characters, block by block.
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # Tags and variation selectors: invisible text.
    "\ud800-\udfff]"  # Bytes that were not UTF-8.
)
_C0_END: Final = 0x20
_DEL: Final = 0x7F
_PICTURES: Final = 0x2400
_SHORT_ID: Final = 6
_THOUSAND: Final = 1000
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def visible(text: str) -> str:
    """Return text that a terminal only prints; newlines and tabs stay."""
    return _OBEYED.sub(_picture, text)


def lines(text: str) -> list[str]:
    """Return harmless lines without their ends; tabs become four spaces."""
    return [visible(line.removesuffix("\r")).expandtabs(4).rstrip() for line in text.split("\n")]


def first_line(text: str) -> str:
    """Return the first line that says something, and how many are behind it."""
    rows = [line for line in lines(text) if line.strip()]
    if not rows:
        return ""
    more = len(rows) - 1
    return rows[0].strip() + (f" … (+{more} {'line' if more == 1 else 'lines'})" if more else "")


def tail(text: str, count: int) -> list[str]:
    """Return the last `count` lines of an output, blank ends cut; the first is `…` where something was left out."""
    rows = lines(text.strip("\r\n"))
    while rows and not rows[-1]:
        rows.pop()
    return rows if len(rows) <= count + 1 else [f"… {len(rows) - count} lines above", *rows[-count:]]


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return each id's shortest prefix, at least six characters, that no other of them has."""
    known = sorted(set(ids))
    length = dict.fromkeys(known, _SHORT_ID)
    for one, other in itertools.pairwise(known):
        common = next(
            (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
        )
        length[one] = max(length[one], common + 1)
        length[other] = max(length[other], common + 1)
    return {run_id: run_id[: length[run_id]] for run_id in known}


def duration(seconds: float) -> str:
    """Return a span of time in at most two units: `3 ms`, `0.8 s`, `41 s`, `3 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 0.0995:  # noqa: PLR2004  # Below a tenth of a second, milliseconds say more.
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:  # noqa: PLR2004  # Below ten seconds, tenths.
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s" if whole % _MINUTE else f"{whole // _MINUTE} min"
    if whole < _DAY:
        minutes = whole % _HOUR // _MINUTE
        return f"{whole // _HOUR} h {minutes:02d} min" if minutes else f"{whole // _HOUR} h"
    hours = whole % _DAY // _HOUR
    return f"{whole // _DAY} d {hours} h" if hours else f"{whole // _DAY} d"


def age(seconds: float) -> str:
    """Return an age in one unit, for tables: `12s`, `4m`, `3h`, `6d`."""
    for limit, unit, name in ((_MINUTE, 1, "s"), (_HOUR, _MINUTE, "m"), (2 * _DAY, _HOUR, "h")):
        if seconds < limit:
            return f"{int(max(seconds, 0) // unit)}{name}"
    return f"{int(seconds // _DAY)}d"


def money(usd: float | None) -> str:
    """Return US dollars with the digits that matter, or `$?` where a price isn't known."""
    if usd is None:
        return "$?"
    return f"${usd:.2f}" if usd == 0 or usd >= 1 else f"${usd:.4f}"


def count(number: int) -> str:
    """Return a number of tokens or bytes, shortened: `950`, `12.4k`, `1.3M`."""
    if number < _THOUSAND:
        return str(number)
    if number < 999_950:  # noqa: PLR2004  # What rounds to 1000.0k is written as 1.0M.
        return f"{number / _THOUSAND:.1f}k"
    return f"{number / _THOUSAND**2:.1f}M"


def ordinal(number: int) -> str:
    """Return `1st`, `2nd`, `3rd`, `4th`, ..."""
    teen = 10 <= number % 100 <= 20  # noqa: PLR2004  # 11th, 12th, 13th.
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def plural(number: int, noun: str) -> str:
    """Return `1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def moment(at: datetime) -> str:
    """Return a time of the day in UTC, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < _C0_END:
        return chr(_PICTURES + code)
    return "\u2421" if code == _DEL else f"<U+{code:04X}>"
