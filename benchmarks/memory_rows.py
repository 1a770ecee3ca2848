"""What of a library is found, and how soon: LoCoMo's turns as entries, and 100,000 generated entries."""

from __future__ import annotations

import json
import math
import random
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.report import Row
from orchestrator.library.entry import Entry, EntryKind, Evidence, Scope, Where
from orchestrator.library.index import Index
from orchestrator.library.recall import Library
from orchestrator.library.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RECALL: Final = 73.0
NDCG: Final = 50.0
SEARCH_MS: Final = 15.0
REBUILD_S: Final = 5.0
ENTRIES: Final = 100_000
_TOP: Final = 10
_ANSWERED: Final = frozenset({1, 2, 3, 4})
"""LoCoMo's categories of questions that have an answer; 5 is adversarial: asked of the wrong person."""
_EVIDENCE: Final = re.compile(r"D:?(\d+):(\d+)")
_QUESTIONS: Final = 100
_REBUILDS: Final = 3
_STOP_WORDS: Final = 40
"""Of those words that a search leaves out, so many are the most frequent ones of all."""


class Score(NamedTuple):
    """The share of the evidence that is among the first ten, and nDCG of those ten, both in percent."""

    recall: float
    ndcg: float
    questions: int


def locomo(file: Path) -> list[Row]:
    """Return the rows of LoCoMo: each conversation a repository, each turn an entry, each session a run."""
    conversations = json.loads(file.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="dreamdock-") as name:
        library = Library(Shelf(Path(name) / "library"), Index(Path(name) / "index"))
        turns = [turn for number, one in enumerate(conversations) for turn in _turns(number, one["conversation"])]
        library.shelf.put(*turns, message="Conversations")
        asked = [
            (question["category"], _scored(library, number, question["question"], evidence))
            for number, one in enumerate(conversations)
            for question in one["qa"]
            if (evidence := _evidence(question, one["conversation"]))
        ]
    every = _mean([scored for _, scored in asked])
    answered = _mean([scored for category, scored in asked if category in _ANSWERED])
    return [
        at_least(f"LoCoMo R@10, all {every.questions} questions with evidence", every.recall, RECALL),
        at_least("LoCoMo nDCG@10, the same", every.ndcg, NDCG),
        at_least(f"LoCoMo R@10, the {answered.questions} of categories 1 to 4", answered.recall, RECALL),
        at_least("LoCoMo nDCG@10, the same", answered.ndcg, NDCG),
    ]


def _where(number: int) -> Where:
    return Where(scope=Scope.REPO, scope_id=f"{number:012x}")


def _turns(number: int, conversation: dict[str, Any]) -> Iterator[Entry]:
    """Yield the turns of a conversation as entries; what a picture shows is part of what was said."""
    for session in range(1, len(conversation)):
        for turn in conversation.get(f"session_{session}", ()):
            step = int(turn["dia_id"].partition(":")[2])
            yield Entry(
                id=f"d{session}-{step}",
                kind=EntryKind.FACT,
                scope=Scope.REPO,
                scope_id=_where(number).scope_id,
                title=turn["speaker"],
                text=f"{turn['text']} {turn.get('blip_caption', '')}",
                evidence=(Evidence(run=f"session-{session}", step=step),),
            )


def _evidence(question: dict[str, Any], conversation: dict[str, Any]) -> set[str]:
    """Return the ids of the turns that a question's answer is in, as far as the conversation has them."""
    named = {pair for one in question.get("evidence", ()) for pair in _EVIDENCE.findall(one)}
    there = {turn["dia_id"] for said in conversation.values() if isinstance(said, list) for turn in said}
    return {f"d{int(one)}-{int(other)}" for one, other in named if f"D{int(one)}:{int(other)}" in there}


def _scored(library: Library, number: int, question: str, evidence: set[str]) -> Score:
    found = [one.entry.id for one in library.search([_where(number)], question, most=_TOP)]
    gain = sum(1 / math.log2(rank + 2) for rank, name in enumerate(found) if name in evidence)
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(_TOP, len(evidence))))
    return Score(100 * len(evidence & set(found)) / len(evidence), 100 * gain / ideal, 1)


def _mean(scores: Sequence[Score]) -> Score:
    count = max(1, len(scores))
    return Score(sum(one.recall for one in scores) / count, sum(one.ndcg for one in scores) / count, len(scores))


def large(count: int = ENTRIES) -> list[Row]:
    """Return the rows of a large library: a search, and making its index anew, in processor time.

    Its texts are as long as LoCoMo's turns, 21 words on average.
    """
    dice = random.Random(7)  # noqa: S311  # The same library each time.
    where = _where(1)
    with tempfile.TemporaryDirectory(prefix="dreamdock-") as name:
        library = Library(Shelf(Path(name) / "library"), Index(Path(name) / "index"))
        words = _vocabulary(dice)
        library.shelf.put(*_generated(dice, words, count), message="Generated")
        rebuilt = []
        for _ in range(_REBUILDS):
            began = time.process_time()
            library.index.refresh(library.shelf, anew=True)
            rebuilt.append(time.process_time() - began)
        samples = []
        for _ in range(_QUESTIONS):
            question = f"How do I {' '.join(_sentence(dice, words, 8))}?"
            began = time.process_time()
            library.search([where], question)
            samples.append((time.process_time() - began) * 1000)
    return [
        at_most(f"search over {count} entries", samples, SEARCH_MS, "ms"),
        at_most(f"index of {count} entries made anew", rebuilt, REBUILD_S, "s"),
    ]


def _vocabulary(dice: random.Random) -> list[str]:
    """Return made-up words, the most frequent ones first."""
    syllables = [one + other for one in "bcdfghklmnprstvz" for other in "aeiou"]
    return list(dict.fromkeys("".join(dice.choices(syllables, k=dice.randint(2, 4))) for _ in range(30_000)))


def _sentence(dice: random.Random, words: Sequence[str], most: int) -> list[str]:
    """Return words as often as language has them: the n-th most frequent one 1/n as often as the first.

    The first of all are words that don't count in a search; what is searched is about the others.
    """
    first = math.log(_STOP_WORDS)
    span = math.log(len(words)) - first
    return [words[int(math.exp(first + span * dice.random())) - 1] for _ in range(dice.randint(3, most))]


def _generated(dice: random.Random, words: Sequence[str], count: int) -> Iterator[Entry]:
    for number in range(count):
        yield Entry(
            id=f"e{number:06}",
            kind=dice.choice(list(EntryKind)),
            scope=Scope.REPO,
            scope_id=_where(1).scope_id,
            title=" ".join(_sentence(dice, words, 8)),
            text=" ".join(_sentence(dice, words, 40)),
            evidence=(
                Evidence(run=f"run{number // 6}", step=number % 6, commit="4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
            ),
        )


def at_most(name: str, samples: Sequence[float], target: float, unit: str) -> Row:
    """Return the row of a figure that has to stay below its target; there is no floor to compare with."""
    value = sorted(samples)[len(samples) // 2]
    return Row(name, round(value, 3), unit, min(samples), max(samples), 0.0, target, value <= target, noisy=False)


def at_least(name: str, value: float, target: float) -> Row:
    """Return the row of a share, in percent, that has to reach its target."""
    return Row(name, round(value, 2), "%", value, value, 0.0, target, value >= target, noisy=False)
