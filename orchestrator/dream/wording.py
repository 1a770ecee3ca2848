"""Has a model word and judge what a dream found, where the settings name one: bounded in tries, time, money and say.

It never gets in the dream's way: whatever goes wrong, what was found stays in the words that it had, and the report
says why.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import closing
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.agent.answer import answered
from orchestrator.agent.budget import Budget, OverBudget, counted
from orchestrator.dialogue import Request, Turn
from orchestrator.dream.claims import LONGEST as LONGEST_TEXT
from orchestrator.dream.patch import Patch
from orchestrator.dream.patching import may_word, patched
from orchestrator.dream.statement import Statement
from orchestrator.errors import DreamdockError, ModelError, UsageError
from orchestrator.events import Spent
from orchestrator.library.entry import Entry, EntryKind
from orchestrator.memory.plain import fenced, one_line
from orchestrator.models import catalog, open_model
from orchestrator.models.port import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orchestrator.dream.batch import Batch
    from orchestrator.dream.patch import Cite
    from orchestrator.models.port import Model
    from orchestrator.settings import Settings
    from orchestrator.stop import Stop

MOST_TRIES: Final = 2
"""For one question; after one that stays without an answer nothing more is asked."""
LONGEST_S: Final = 180.0
"""Seconds of one try."""
_SECONDS: Final = 900.0
"""Of all of it."""
_MOST_TOKENS: Final = 2_000_000
"""Of all requests and replies of a dream: what bounds a model whose price nobody knows."""
_LONGEST: Final = 16_384
"""Tokens of an answer, with what the model thinks before it."""
_MOST: Final = 40_000
"""Characters of one question."""
_CHARACTERS_PER_TOKEN: Final = 3
_SHARE: Final = 0.5
"""Of what a model with little room takes: the rest is for what it answers, and for miscounting."""
_AT_ONCE: Final = 20
"""New entries in one question."""
_KNOWN: Final = 10
"""Known entries beside them."""
_MOST_NOTES: Final = 50
_STEPS: Final = 3
"""Steps that are shown of an entry."""


class Worded(NamedTuple):
    """What came of it: the batch, what people should be told, and what it cost. Failed requests count as nothing."""

    batch: Batch
    notes: tuple[str, ...] = ()
    spent: Spent = Spent()


def opened(settings: Settings) -> Model:
    """Return the dream's model; the caller closes it.

    Raises ConfigError for an unknown model or a missing key, UsageError where none is named or it has no address.
    """
    from orchestrator.models.client import Patience  # noqa: PLC0415  # The SDKs cost a second.

    if settings.dream.model is None:
        raise UsageError("the dream has no model", hint="set dream.model")
    choice = catalog(settings.families).choose(settings.dream.model)
    patience = Patience(first_token_s=120.0, total_s=LONGEST_S, attempts=2)
    return open_model(choice, os.environ, cache_key="dream", patience=patience)


def worded(
    settings: Settings,
    batch: Batch,
    fresh: Collection[str],
    evidence: Mapping[Cite, str],
    stop: Stop,
    *,
    seconds: float = math.inf,
) -> Worded:
    """Have the new entries of a batch worded by the model of the settings, where there is one. Raises Stopped alone.

    It takes at most `seconds`, 15 minutes, and a quarter of a dream's longest time.
    """
    if settings.dream.model is None:
        return Worded(batch)
    try:
        model = opened(settings)
    except DreamdockError as error:
        return Worded(batch, (_nothing(_told(error)),))
    seconds = min(seconds, _SECONDS, settings.dream.seconds / 4)
    with closing(model):
        return reword(batch, fresh, evidence, model, stop, money_usd=settings.dream.money_usd, seconds=seconds)


def reword(
    batch: Batch,
    fresh: Collection[str],
    evidence: Mapping[Cite, str],
    model: Model,
    stop: Stop,
    *,
    money_usd: float,
    seconds: float = _SECONDS,
) -> Worded:
    """Have a model word the entries with the ids `fresh`, for so much money and in so much time at most.

    `evidence` is what steps said. What was worded before something went wrong stays worded. Raises Stopped.
    """
    asker = _Asker(model, stop, Budget(money_usd, _MOST_TOKENS), time.monotonic() + seconds)
    notes = list[str]()
    names = [name for name in sorted(fresh) if name in batch.entries and _fits(batch.entries[name])]
    known = [entry for name, entry in sorted(batch.entries.items()) if name not in fresh and may_word(entry)]
    try:
        for part in _parts([batch.entries[name] for name in names], evidence, model.prompt_limit):
            batch, refused = asker.patched(batch, part, _near(part, known), evidence)
            notes += refused
    except OverBudget as error:
        notes.append(_nothing(error))
    except DreamdockError as error:
        notes.append(_nothing(_told(error)))
    if more := len(notes) - _MOST_NOTES:
        notes = [*notes[:_MOST_NOTES], f"and {more} more"] if more > 0 else notes
    return Worded(batch, tuple(notes), asker.spent)


class _Asker:
    """Asks the model, for what is left of the money and the time."""

    def __init__(self, model: Model, stop: Stop, budget: Budget, until: float) -> None:
        self._model = model
        self._stop = stop
        self._budget = budget
        self._until = until

    @property
    def spent(self) -> Spent:
        """What was paid up to now."""
        return self._budget.spent

    def patched(
        self, batch: Batch, part: Sequence[Entry], known: Sequence[Entry], evidence: Mapping[Cite, str]
    ) -> tuple[Batch, tuple[str, ...]]:
        """Return the batch with what the model made of some new entries, and what of it was refused.

        Raises ModelError where it makes nothing of them that can be used, OverBudget, Stopped.
        """
        why = ""
        shown = [entry.id for entry in part]
        for _ in range(MOST_TRIES):
            try:
                found = patched(batch, self._ask(_request(part, known, evidence)), shown, evidence)
            except DreamdockError as error:
                why = _told(error)
            else:
                return found.batch, found.refused
        raise ModelError(f"no answer of {self._model.name} that can be used", cause=why)

    def _ask(self, request: Request) -> Patch:
        within_s = min(LONGEST_S, self._until - time.monotonic())
        if within_s <= 0:
            raise ModelError("the time for the dream's model is up")
        with self._budget.reserve(counted(request), self._model) as reserved:
            most = min(filter(None, (reserved.most_tokens, self._model.reply_limit, _LONGEST)))
            try:
                reply = self._model.ask(request, self._stop, within_s=within_s, most_tokens=most)
            except OutOfTime:
                raise ModelError(f"no answer after {within_s:.0f} s") from None
            reserved.settle(reply)
        try:
            return answered(reply.text, Patch)
        except ValueError as error:
            raise ModelError("its answer is no patch", cause=str(error)) from None


def _fits(entry: Entry) -> bool:
    """Whether there is something to be worded; a command is what it is."""
    told = entry.kind is not EntryKind.COMMAND and len(entry.text) <= LONGEST_TEXT
    return told and bool(entry.evidence) and may_word(entry)


def _parts(entries: Iterable[Entry], evidence: Mapping[Cite, str], prompt_limit: int) -> Iterator[tuple[Entry, ...]]:
    """Yield the entries in parts that one question has room for; what has none by itself is left as it is."""
    most = _MOST
    if prompt_limit:
        most = min(most, int(prompt_limit * _CHARACTERS_PER_TOKEN * _SHARE) - len(_system()))
    part, room = list[Entry](), most
    for entry in entries:
        size = len(_section(entry, evidence))
        if part and (size > room or len(part) == _AT_ONCE):
            yield tuple(part)
            part, room = [], most
        if size <= room:
            part.append(entry)
            room -= size
    if part:
        yield tuple(part)


def _near(part: Iterable[Entry], known: Iterable[Entry]) -> list[Entry]:
    """Return the known entries that have most words in common with new ones: those may say the same."""
    words = [Statement.of(entry.title).vocabulary for entry in part]
    shared = [(max(len(own & Statement.of(entry.title).vocabulary) for own in words), entry) for entry in known]
    found = sorted((one for one in shared if one[0]), key=lambda one: (-one[0], one[1].id))
    return [entry for _, entry in found[:_KNOWN]]


def _request(part: Iterable[Entry], known: Iterable[Entry], evidence: Mapping[Cite, str]) -> Request:
    sections = [_section(entry, evidence) for entry in part]
    sections += [f"## Known note {entry.id} ({entry.kind})\n\n{fenced(entry.title)}" for entry in known]
    return Request(system=_system(), tools=(), dialogue=(Turn(text="\n\n".join(sections)),))


def _section(entry: Entry, evidence: Mapping[Cite, str]) -> str:
    """Return an entry as the model is shown it: whatever others wrote stands between fences."""
    told = [f"## New note {entry.id} ({entry.kind})", fenced(f"{entry.title}\n\n{entry.text}".rstrip())]
    for one in entry.evidence[:_STEPS]:
        said = evidence.get((one.run, one.step), "")
        told.append(f"Run {one.run}, step {one.step}:\n{fenced(said)}" if said else f"Run {one.run}, step {one.step}.")
    return "\n\n".join(told)


@cache
def _system() -> str:
    return files("orchestrator.dream").joinpath("prompts", "reword.md").read_text(encoding="utf-8").strip()


def _told(error: DreamdockError) -> str:
    return one_line(error.words, 500)


def _nothing(why: object) -> str:
    return f"what was learned stays in its own words from here on: {why}"
