"""Does what a model's patch asks for, as far as that may be done; the rest is refused, each with its reason.

A model may word what a dream adds, leave little of it out, and find what says the same. What was in the library before
is evidence's and people's: of that it can propose at most. Kind, scope, status and confidence are no model's to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, assert_never

from orchestrator.dream.batch import Action, Batch, Change, Phase
from orchestrator.dream.claims import objection
from orchestrator.dream.patch import Junk, Merge, Reword
from orchestrator.dream.statement import Statement
from orchestrator.errors import ModelError
from orchestrator.library.entropy import scrubbed
from orchestrator.library.entry import IN_VIEW, MOST, Origin, Status
from orchestrator.memory.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from orchestrator.dream.patch import Cite, Patch
    from orchestrator.library.entry import Entry

_told: Final = partial(Change.of, Phase.WORD)
_MOST_GONE: Final = 0.3
"""What a patch may take away of the entries from accepted runs, as a share; one of them always."""
_FEW: Final = 2
"""Of so many new entries all may go, where none of them is from an accepted run."""
_LEAST_SHARED: Final = 0.2
"""Words that entries have in common which say the same, as a share of the shorter one's."""
_LONGEST_WHY: Final = 200
_T = TypeVar("_T")


class _Refused(Exception):  # noqa: N818  # A flow signal: this operation isn't done, others are.
    pass


@dataclass(frozen=True)
class Patched:
    """The batch with what was done, and what wasn't: for whoever reads the report."""

    batch: Batch
    refused: tuple[str, ...] = ()


def may_word(entry: Entry) -> bool:
    """Whether a model may have a say on an entry: not on what people wrote, nor on what is locked up or put aside."""
    return entry.origin is Origin.AGENT and entry.status in IN_VIEW


def patched(batch: Batch, patch: Patch, shown: Collection[str], evidence: Mapping[Cite, str]) -> Patched:
    """Do a patch; `shown` are the ids of the new entries that the model was asked about.

    Raises ModelError where it would take away more than a model may: then nothing of it is done.
    """
    _check_extent(batch, patch, shown)
    hand = _Hand(batch, frozenset(shown), evidence)
    refused = list[str]()
    for operation in patch.operations:
        try:
            match operation:
                case Reword():
                    hand.reword(operation)
                case Junk():
                    hand.leave_out(operation)
                case Merge():
                    hand.merge(operation)
                case _:
                    assert_never(operation)
        except _Refused as error:
            name = operation.into if isinstance(operation, Merge) else operation.entry
            refused.append(f"{operation.op} {one_line(name, 64)} refused: {error}")
    return Patched(hand.batch, tuple(refused))


def _check_extent(batch: Batch, patch: Patch, shown: Collection[str]) -> None:
    gone = set[str]()
    for operation in patch.operations:
        gone |= {operation.entry} if isinstance(operation, Junk) else set[str]()
        gone |= set(operation.entries) if isinstance(operation, Merge) else set[str]()
    gone &= set(shown)
    believed = {name for name in shown if batch.entries[name].status is Status.ACTIVE}
    all_of_them = len(gone) == len(shown) > _FEW
    if all_of_them or len(gone & believed) > max(1, len(believed) * _MOST_GONE):
        told = f"it would take away {len(gone)} of {len(shown)} new entries, {len(gone & believed)} of accepted runs"
        raise ModelError("the patch is refused", cause=told)


class _Hand:
    """Does one operation after the other, each on what the ones before it left."""

    def __init__(self, batch: Batch, shown: frozenset[str], evidence: Mapping[Cite, str]) -> None:
        self.batch = batch
        self._shown = shown
        self._evidence = evidence
        self._worded = set[str]()

    def reword(self, wish: Reword) -> None:
        """Give an entry other words."""
        entry = self._new(wish.entry)
        sources = [self._evidence.get(cite, "") for cite in self._cited([entry], wish.cites)]
        if entry.id in self._worded:
            raise _Refused("it was reworded before")
        try:
            new = entry.changed(title=" ".join(wish.title.split()), text=wish.text.strip())
            safe = new.scrubbed()
        except ValueError as error:
            raise _Refused(f"it can't be a page: {one_line(str(error), _LONGEST_WHY)}") from None
        if why := objection((entry.title, entry.text), (new.title, new.text), sources):  # As a page would have it.
            raise _Refused(why)
        self._worded.add(entry.id)
        if safe != entry:
            self.batch = self.batch.changed([safe], _told(Action.REWORDED, safe, f"before: {entry.title}"))

    def leave_out(self, wish: Junk) -> None:
        """Have an entry be none."""
        why = one_line(scrubbed(wish.why), _LONGEST_WHY)
        if wish.entry in self.batch.entries and wish.entry not in self._shown:
            raise _Refused(f"it's for a person to say whether what is in the library is junk ({why})")
        entry = self._new(wish.entry)
        self._cited([entry], wish.cites)
        self._without([entry.id], _told(Action.LEFT_OUT, entry, f"the model calls it junk: {why}"))

    def merge(self, wish: Merge) -> None:
        """Have new entries be evidence of another one, which keeps its words."""
        into = self.batch.entries.get(wish.into)
        if into is None or not may_word(into):
            raise _Refused("no entry of that name may be worded")
        entries = [self._new(name) for name in dict.fromkeys(wish.entries)]
        for entry in entries:
            if why := next(_apart(into, entry), ""):
                raise _Refused(f"{entry.id} {why}")
        cited = self._cited([into, *entries], wish.cites)
        if any(cited.isdisjoint(_steps(entry)) for entry in entries):
            raise _Refused("it doesn't cite each of them")
        united = into.changed(
            evidence=_united(into.evidence, *(one.evidence for one in entries)),
            paths=_united(into.paths, *(one.paths for one in entries)),
        )
        names = tuple(entry.id for entry in entries)
        self.batch = self.batch.changed([united])
        self._without(names, _told(Action.MERGED, united, "the model says that they say the same", *names))

    def _new(self, name: str) -> Entry:
        entry = self.batch.entries.get(name) if name in self._shown else None
        if entry is None or not may_word(entry):
            raise _Refused("there is no such new entry")
        return entry

    def _cited(self, entries: Iterable[Entry], cites: Iterable[Cite]) -> frozenset[Cite]:
        """Return what is cited. Refuses what cites nothing, or a step that is no evidence."""
        cited, known = frozenset(cites), frozenset(step for entry in entries for step in _steps(entry))
        if not cited:
            raise _Refused("it cites nothing")
        if strange := cited - known:
            run, step = min(strange)
            raise _Refused(f"run {one_line(run, 64)} step {step} is no evidence of it")
        return cited

    def _without(self, names: Iterable[str], *changes: Change) -> None:
        rest = {name: entry for name, entry in self.batch.entries.items() if name not in set(names)}
        self.batch = replace(self.batch, entries=rest).changed((), *changes)


def _steps(entry: Entry) -> frozenset[Cite]:
    return frozenset((one.run, one.step) for one in entry.evidence)


def _apart(into: Entry, entry: Entry) -> Iterator[str]:
    """Yield what speaks against an entry's being evidence of another one."""
    if entry.id == into.id:
        yield "is the same one"
    if (entry.kind, entry.where) != (into.kind, into.where):
        yield "is of another kind or scope"
    if into.status is Status.UNVERIFIED and entry.status is Status.ACTIVE:
        yield "is better believed"
    if entry.command not in {"", into.command}:
        yield "has a command of its own"
    mine, yours = (Statement.of(f"{one.title}\n{one.text}") for one in (entry, into))
    if more := mine.literals - yours.literals:
        yield f"says {min(more)!r} beside"
    if mine.opposes(yours):
        yield "says the opposite"
    shared = len(mine.vocabulary & yours.vocabulary)
    if shared < max(1, _LEAST_SHARED * min(len(mine.vocabulary), len(yours.vocabulary))):
        yield "says something else"


def _united(*parts: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(one for part in parts for one in part))[:MOST]
