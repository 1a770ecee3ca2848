"""What a run did lately, as the guards see it: each call with what came of it, and whether a step brought news."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.agent.guards.same import lines, normal, telling
from orchestrator.dialogue import Reply, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.dialogue import ToolCall, ToolResult

WINDOW: Final = 64
"""Steps that the guards look back: what is further away may have left the model's own view, too."""
_LOOKING: Final = frozenset({"read", "grep", "glob", "history"})
_CHANGING: Final = frozenset({"edit", "write"})
_SPLIT: Final = re.compile(r"&&|\|\||[;|\n]")
_HARMLESS: Final = re.compile(r"\d?>\s*/dev/null|2>&1")
_ASSIGNED: Final = re.compile(r"^(?:\w+=\S*\s+)+")
_LOOKS: Final = re.compile(
    r"^(?:cd|ls|cat|head|tail|grep|egrep|rg|wc|file|stat|tree|pwd|which|type|echo|printf|env|less|more|nl|du|df|sort|uniq"
    r"|cut|tr|diff|true|test|\[|sed\s+(?:-n|-E\s+-n)|find(?!.*-(?:delete|exec))|git\s+(?:-\S+\s+)*(?:log|status|diff|show"
    r"|branch|blame|ls-files|grep))(?:\s|$)"
)
_WAITS: Final = re.compile(
    r"\bsleep\s|\bwait\b|\buntil\b|\bwhile\s+!|\bkill\s+-0\b|\b(?:pgrep|pidof|ps|jobs|ss|netstat|lsof)\b"
    r"|\b(?:curl|wget|nc|http)\b.*(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\$\{?\w*(?:PORT|HOST|URL))"
    r"|\btail\b.*(?:\s-[a-z]*[fF]\b|log\b|\.out\b)"
)
_RAN_OUT: Final = "[exit code 124"  # What `timeout` ends with.
_ENDED_WELL: Final = re.compile(r"^\[exit code 0\b", re.MULTILINE)
_ENDED: Final = re.compile(r"^\[(?:exit code|timed out|ended by)", re.MULTILINE)
_SAID_NO: Final = re.compile(
    r"\b[1-9]\d* (?:failed|errors?|failures?)\b|^FAILED\b|^error\b|^Traceback|BUILD FAILURE", re.MULTILINE
)
_FEW: Final = 5


@dataclass(frozen=True)
class Act:
    """One call and what came of it.

    `key` is the call, `came` its result without what differs each time. `failed` is a command that failed, `wrong` then
    tells how; `refused` is a call that a tool didn't take. `looks` and `changes` say what the call is by its form.
    `waits` is one that looks after something that takes its time, `ran_out` one that waited as long as it may.
    """

    name: str
    key: str
    came: str
    wrong: tuple[str, ...] = ()
    failed: bool = False
    refused: bool = False
    looks: bool = False
    changes: bool = False
    waits: bool = False
    ran_out: bool = False


@dataclass(frozen=True)
class Done:
    """One committed step. `news`: a result says something that no result and no call said before it in the window.

    `moves`: a file was or may have been changed, or something noted.
    """

    step: int
    reply: Reply
    acts: tuple[Act, ...] = ()
    news: bool = False
    moves: bool = False

    @property
    def waits(self) -> bool:
        """Whether a call of the step waits for something."""
        return any(act.waits for act in self.acts)


def trail(dialogue: Sequence[Turn | Reply], steps: Sequence[int]) -> tuple[Done, ...]:
    """Return the last steps of a dialogue. `steps` are the numbers of its replies, in order."""
    return tuple(_follow(_pairs(dialogue, steps)))


def _pairs(dialogue: Sequence[Turn | Reply], steps: Sequence[int]) -> list[tuple[int, Reply, Sequence[ToolResult]]]:
    """Return the last replies, each with its step and the results of its calls."""
    found: list[tuple[int, Reply, Sequence[ToolResult]]] = []
    results: Sequence[ToolResult] = ()
    number = len(steps)
    for said in reversed(dialogue):
        if isinstance(said, Turn):
            results = said.results
            continue
        number -= 1
        found.append((steps[number], said, results))
        results = ()
        if len(found) == WINDOW or number == 0:
            break
    return found[::-1]


def _follow(pairs: Sequence[tuple[int, Reply, Sequence[ToolResult]]]) -> Iterator[Done]:
    keys: set[str] = set()
    seen: set[str] = set()
    wrongs: set[tuple[str, ...]] = set()
    for step, reply, results in pairs:
        by_call = {result.call_id: result for result in results}
        acts, news, moves = [], False, False
        for call in reply.calls:
            act = _act(call, by_call.get(call.id))
            new, again = act.key not in keys, bool(act.wrong) and act.wrong in wrongs
            told = _told(call)
            shown = lines(act.came)
            fresh = bool(shown - seen) and not again and not _own(shown - seen, told)
            news = news or (fresh and not act.changes and not act.refused)
            moves = moves or (new and not act.looks and not act.waits and not act.refused)
            keys.add(act.key)
            seen |= shown
            for text in told:
                seen |= lines(text)
            if act.wrong:
                wrongs.add(act.wrong)
            acts.append(act)
        yield Done(step, reply, tuple(acts), news, moves)


def _act(call: ToolCall, result: ToolResult | None) -> Act:
    content, ok = (result.content, result.ok) if result is not None else ("", True)
    command = str(call.arguments.get("command", "")) if call.name == "bash" else ""
    failed = bool(command) and _failed(command, content)
    return Act(
        name=call.name,
        key=f"{call.name} {call.invalid or json.dumps(call.arguments, sort_keys=True)}",
        came=normal(content),
        wrong=telling(content) if failed or not ok else (),
        failed=failed,
        refused=not ok and not _ENDED.search(content),
        looks=call.name in _LOOKING or (bool(command) and _only_looks(command)),
        changes=call.name in _CHANGING,
        waits=call.name == "processes" or bool(_WAITS.search(command)),
        ran_out=_RAN_OUT in content,
    )


def _failed(command: str, content: str) -> bool:
    """Whether a command failed: by its exit code, or, where a pipe hides that, by what it says."""
    end = content.rfind("\n[")
    if not _ENDED_WELL.search(content, max(end, 0)):
        return bool(_ENDED.search(content))
    return "|" in command and not _only_looks(command) and bool(_SAID_NO.search(content))


def _only_looks(command: str) -> bool:
    command = _HARMLESS.sub("", command)
    if ">" in command or "<<" in command:
        return False
    parts = (_ASSIGNED.sub("", part.strip()) for part in _SPLIT.split(command))
    return all(_LOOKS.match(part) for part in parts if part)


def _told(call: ToolCall) -> list[str]:
    """Return the texts that the model itself gave: what it wrote is no news when it reads it."""
    return [text for text in call.arguments.values() if isinstance(text, str)]


def _own(fresh: frozenset[str], told: list[str]) -> bool:
    """Whether a few lines are only what the call had in it, such as those of an echo."""
    return len(fresh) <= _FEW and all(any(line in text for text in told) for line in fresh)
