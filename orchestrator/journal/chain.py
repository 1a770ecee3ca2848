"""The hash chain of a journal: where it breaks first, and by what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.journal.stream import chain, genesis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.journal.stream import Entry

_NUMBER: Final = re.compile(rb'\{"seq":([0-9]{1,9}),')


class Fault(NamedTuple):
    """Something that isn't as it was written: the number of the first event that it's about, what it is, in words.

    `kind` is altered, dropped, reordered, inserted, cut off, unsigned, unpinned or blob.
    """

    seq: int
    kind: str
    why: str


def heads(run_id: str, entries: Sequence[Entry]) -> tuple[list[str], Fault | None]:
    """Return the head after each event as far as the chain holds, behind that before the first; and where it breaks."""
    found = [genesis(run_id)]
    for place, entry in enumerate(entries, start=1):
        follows = chain(found[-1], entry.data) == entry.hash
        if not follows or (entry.seq, entry.minor) != (place, 0) or _number(entry) not in {place, 0}:
            return found, _fault(place, entries, found[-1])
        found.append(entry.hash)
    return found, None


def _fault(place: int, entries: Sequence[Entry], before: str) -> Fault:
    """Return what was done at a place (from 1) where the chain breaks; `before` is the head that holds.

    An event names its own number in its bytes, so that it shows what stood there, whatever the stream says.
    """
    here, numbers = entries[place - 1], [_number(entry) for entry in entries]
    number, following = numbers[place - 1], numbers[place] if place < len(numbers) else 0
    belongs = next((entry for entry in entries[place:] if chain(before, entry.data) == entry.hash), None)
    if here.minor or (belongs is not None and (number <= place or numbers.count(number) > 1)):
        return Fault(place, "inserted", f"something was inserted before event {place}")
    if belongs is not None:
        return Fault(place, "reordered", f"events were reordered: event {number} stands where event {place} was")
    if number > place and following != place + 1 and (following or number == place + 1):
        last = "" if number == place + 1 else f" to {number - 1}"
        return Fault(place, "dropped", f"event {place}{last} was dropped: event {number} stands in that place")
    if 0 < number < place:
        return Fault(place, "inserted", f"something was inserted before event {place}: a copy of event {number}")
    return Fault(place, "altered", f"event {place} was altered")


def _number(entry: Entry) -> int:
    found = _NUMBER.match(entry.data)
    return int(found[1]) if found else 0
