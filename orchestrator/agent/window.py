"""The window: what of a run the model is asked with, once all of it is too much.

The frozen head stays: system text, tools and the first turn with the task. Behind it comes what stands for the steps
that are left out (what is kept in view, the summary, what people said), then the last steps, whole.
Pure: the same context gives the same bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent import wording
from orchestrator.agent.talk import fixed, joined, told, uncovered
from orchestrator.dialogue import Part
from orchestrator.memory.plain import fenced
from orchestrator.memory.render import pinned, words
from orchestrator.notes import Said, Summary, Window, WorkingMemory
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.agent.talk import Sight, Span

_STEPS_OF_WINDOW, _LARGEST_STEP = 5, 40_000
"""A threshold is a fifth of the window, or this many tokens."""
_FILLED: Final = 0.5
"""How much of the window is in use after it was built anew, the rest is for what comes."""
_LEAST_LEFT: Final = 0.25
"""How much more than the task and what people said may always be there, where these alone fill half of it."""
_MOST_FILLED: Final = 0.9
_TAIL, _PINNED, _SUMMARY = 0.3, 0.2, 0.1
"""The most that these have of the window."""
_PINNED_OF_FREE, _SUMMARY_OF_FREE = 0.4, 0.2
"""The most that these have of what the task and what people said leave of it."""
_LINE: Final = 150
"""Tokens of the words that say what is left out."""
_CUT: Final = "[… the rest is cut off: it was too long …]"


def threshold(tokens: int, usable: int) -> int:
    """Return how many thresholds of a window are reached: at each a summary is due."""
    return tokens // max(min(usable // _STEPS_OF_WINDOW, _LARGEST_STEP), 1)


def summary_tokens(usable: int) -> int:
    """Return how many tokens a summary may have."""
    return int(usable * _SUMMARY)


def needed(sight: Sight, memory: WorkingMemory) -> int:
    """Return how many tokens the task and what people said have: less than these isn't asked with."""
    said = sum(estimate(one.text) for one in memory.said if _is_behind(one, sight.steps))
    return round((fixed(sight.system, sight.tools) + sight.sums[min(1, len(sight.sums) - 1)] + said) * sight.ratio)


def rebuild(sight: Sight, memory: WorkingMemory, usable: int, *, step: int) -> e.Rebuilt:
    """Return what the model is asked with from the reply of `step` on; `usable` are the tokens that it may have."""
    room = usable / sight.ratio  # From here on all tokens are estimated ones.
    head = fixed(sight.system, sight.tools) + sight.sums[1]
    people = estimate(words([one for one in memory.said if _is_behind(one, sight.steps)]))
    filled = min(max(room * _FILLED, head + people + room * _LEAST_LEFT), room * _MOST_FILLED)
    free = max(filled - head - people - _LINE, 0.0)
    kept = pinned(memory, int(min(room * _PINNED, free * _PINNED_OF_FREE)))
    summary = first_lines(sight.summary.text, int(min(room * _SUMMARY, free * _SUMMARY_OF_FREE)))
    tail = min(room * _TAIL, free - estimate(kept) - estimate(summary))
    first = _first(sight, int(tail))
    said = [one for one in memory.said if _is_gone(one, sight.steps, first)]
    texts = {
        "memory": kept,
        "summary": wording.fill("summary", step=str(sight.summary.step), text=fenced(summary)) if summary else "",
        "people": wording.fill("said", words=words(said)) if said else "",
        "left out": _left_out(sight, first, sight.summary if summary else None),
    }
    window = Window(text="\n\n".join(filter(None, texts.values())), first=first)
    new = [step for step in sight.steps[sight.left_out :] if step < first]
    tokens = tuple(Part(name=name, tokens=_real(estimate(text), sight)) for name, text in texts.items() if text)
    return e.Rebuilt(
        step=step,
        why="full",
        window=window,
        parts=(*_head(sight), *tokens, _tail(sight, sight.places[sight.steps.index(first)], first)),
        before=sight.tokens,
        limit=usable,
        dropped=(new[0], new[-1]) if new else (0, 0),
        summed_up=sight.summary.step if summary else 0,
    )


def parts(sight: Sight) -> tuple[Part, ...]:
    """Return what the next request has in it, part by part; together about as many tokens as it has."""
    window = tuple(part for part in sight.parts if part.name in {"memory", "summary", "people", "left out"})
    if sight.window.text and not window:  # It came with a fork.
        window = (Part(name="window", tokens=_real(estimate(sight.window.text), sight)),)
    first = sight.steps[sight.left_out] if sight.steps else 0
    tail = (_tail(sight, sight.start, first),) if first else ()
    return (*_head(sight), *window, *tail)


def _head(sight: Sight) -> Iterator[Part]:
    tools = told(sight.tools)
    yield Part(name="system", tokens=_real(fixed(sight.system, sight.tools) - tools, sight))
    yield Part(name="tools", tokens=_real(tools, sight))
    yield Part(name="task", tokens=_real(sight.sums[min(1, len(sight.sums) - 1)] - sight.recalled, sight))
    if sight.recalled:
        yield Part(name="recalled", tokens=_real(sight.recalled, sight))


def _tail(sight: Sight, start: int, first: int) -> Part:
    return Part(name=f"steps {first} to {sight.steps[-1]}", tokens=_real(sight.sums[-1] - sight.sums[start], sight))


def _real(estimated: int, sight: Sight) -> int:
    return round(estimated * sight.ratio)


def _first(sight: Sight, tail: int) -> int:
    """Return the first step that stays, so that all that do have `tail` tokens at most; the last one always does."""
    fits = [step for step, place in _seen(sight) if sight.sums[-1] - sight.sums[place] <= tail]
    return fits[0] if fits else sight.steps[-1]


def _seen(sight: Sight) -> Iterable[Span]:
    return zip(sight.steps[sight.left_out :], sight.places[sight.left_out :], strict=True)


def _is_gone(said: Said, steps: tuple[int, ...], first: int) -> bool:
    """Whether the turn in which the model was told something isn't there any more."""
    return _is_behind(said, steps) and steps[bisect_right(steps, said.step) - 1] < first


def _is_behind(said: Said, steps: tuple[int, ...]) -> bool:
    """Whether something was told behind a reply; else it's in the first turn, which is always there."""
    return bisect_right(steps, said.step) > 0


def _left_out(sight: Sight, first: int, summary: Summary | None) -> str:
    """Return what says which steps aren't in view, which of them aren't in the summary either, and how to find them."""
    gone = [step for step in sight.steps if step < first]
    if not gone:
        return ""
    text = wording.fill("left_out", steps=_named(((gone[0], gone[-1]),)))
    if summary is None:
        return text
    missing = joined(*summary.missing, *uncovered(sight.steps, summary.step, first))
    return f"{text} {wording.fill('not_summed_up', steps=_named(missing))}" if missing else text


def _named(spans: tuple[Span, ...]) -> str:
    return ", ".join(f"{first} to {last}" if last > first else str(first) for first, last in spans)


def first_lines(text: str, tokens: int) -> str:
    """Return as many of a text's first lines as that many tokens hold, and say so where there are more.

    The last one is cut where it's most of what there is: some write a paragraph as one line.
    """
    if estimate(text) <= tokens:
        return text
    lines: list[str] = []
    left = tokens - estimate(_CUT)
    for line in text.splitlines():
        cost = estimate(line) + 1
        if cost > left:
            piece = line[: len(line) * max(left - 1, 0) // cost].rpartition(" ")[0]
            lines += [piece] if piece and left > tokens // 2 else []
            break
        lines.append(line)
        left -= cost
    return "\n".join([*lines, _CUT]) if lines else ""
