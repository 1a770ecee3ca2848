"""What a run did lately, as the guards see it: each call with what came of it, and whether a step brought news."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.agent.guards.same import lines, normal, telling
from orchestrator.diagnostics.command import says_no
from orchestrator.dialogue import Reply, Turn
from orchestrator.endings import RAN_OUT, WELL, last

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.dialogue import ToolCall, ToolResult

    Errors = Mapping[str, tuple[str, ...]]

WINDOW: Final = 64
"""Steps that the guards look back: what is further away may have left the model's own view, too."""
_LOOKING: Final = frozenset({"read", "grep", "glob", "history", "recall"})
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
_TRACEBACK: Final = re.compile(r"^Traceback", re.MULTILINE)
_FEW: Final = 5
"""Lines of a result that may be the call's own words, as those of an echo."""


@dataclass(frozen=True)
class Act:
    """One call and what came of it.

    `key` is the call, `came` its result without what differs each time; `says` are the lines of that, `gave` those
    that the call had in it. `failed` is a command that failed, `wrong` then tells how: by its diagnostics, else by the
    lines that tell; `refused` is a call that a tool didn't take. `looks` says that it only looks, by its form;
    `changes` is the path of the file that it changes.
    `waits` is one that looks after something that takes its time, `ran_out` one that waited as long as it may.
    """

    name: str
    key: str
    came: str
    says: frozenset[str] = frozenset()
    gave: frozenset[str] = frozenset()
    wrong: tuple[str, ...] = ()
    failed: bool = False
    refused: bool = False
    looks: bool = False
    changes: str = ""
    waits: bool = False
    ran_out: bool = False


@dataclass(frozen=True, eq=False)
class Done:
    """One committed step, and those before it that the model still sees."""

    step: int
    reply: Reply
    acts: tuple[Act, ...] = ()
    earlier: tuple[Done, ...] = field(default=(), repr=False)

    @property
    def waits(self) -> bool:
        """Whether a call of the step waits for something."""
        return any(act.waits for act in self.acts)

    @cached_property
    def moves(self) -> bool:
        """Whether a file was or may have been changed, or something noted, by a call that wasn't made before."""
        made = [act for act in self.acts if not (act.looks or act.waits or act.refused)]
        return any(all(act.key != other.key for other in self._before(act)) for act in made)

    @cached_property
    def news(self) -> bool:
        """Whether a result says something that no result and no call said before it."""
        return any(self._is_news(act) for act in self.acts if not (act.changes or act.refused))

    @cached_property
    def elsewhere(self) -> bool:
        """Whether a file was changed that no step before it changed."""
        paths = [act.changes for act in self.acts if act.changes and not act.refused]
        return any(all(path != act.changes for one in self.earlier for act in one.acts) for path in paths)

    def _is_news(self, act: Act) -> bool:
        if act.wrong and any(act.wrong == other.wrong for other in self._before(act)):
            return False
        return any(
            line not in act.gave and not any(line in other.says or line in other.gave for other in self._before(act))
            for line in act.says
        )

    def _before(self, act: Act) -> Iterator[Act]:
        """Yield what was done before it, the last thing first."""
        yield from takewhile(lambda other: other is not act, self.acts)
        for one in reversed(self.earlier):
            yield from one.acts


def trail(
    dialogue: Sequence[Turn | Reply],
    steps: Sequence[int],
    *,
    first: int = 0,
    errors: Mapping[int, Errors] = MappingProxyType({}),
) -> tuple[Done, ...]:
    """Return the last steps of a dialogue; `steps` are the numbers of its replies, in order.

    `first` is the first one that the model still sees: what stood before it may be read again. `errors` are those that
    the commands of steps had, by step and call.
    """
    done: list[Done] = []
    for step, reply, results in _pairs(dialogue, steps):
        by_call = {result.call_id: result for result in results}
        had = errors.get(step, {})
        acts = tuple(_act(call, by_call.get(call.id), had.get(call.id, ())) for call in reply.calls)
        done.append(Done(step, reply, acts, tuple(one for one in done if step < first or one.step >= first)))
    return tuple(done)


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


class _Came(NamedTuple):
    """A call and its result, as far as they tell what it was."""

    name: str
    key: str
    command: str
    path: str
    gave: str
    content: str
    ok: bool
    errors: tuple[str, ...]


def _act(call: ToolCall, result: ToolResult | None, errors: tuple[str, ...]) -> Act:
    key = f"{call.name} {call.invalid or json.dumps(call.arguments, sort_keys=True)}"
    command = str(call.arguments.get("command", "")) if call.name == "bash" else ""
    path = str(call.arguments.get("path", "")) if call.name in _CHANGING else ""
    gave = "\n".join(text for text in call.arguments.values() if isinstance(text, str))
    content, ok = (result.content, result.ok) if result is not None else ("", True)
    return _told(_Came(call.name, key, command, path, gave, content, ok, errors))


@lru_cache(maxsize=4 * WINDOW)  # Each judgement looks at the same calls again.
def _told(came: _Came) -> Act:
    content, command = came.content, came.command
    end = last(content)
    how = end.how if end else ""
    failed = bool(command) and (bool(came.errors) or _failed(command, content, how))
    says = lines(content)
    own = frozenset(line for line in says if line in came.gave) if len(says) <= _FEW else frozenset()
    return Act(
        name=came.name,
        key=came.key,
        came=normal(content),
        says=says,
        gave=lines(came.gave) | own,
        wrong=(came.errors or telling(content)) if failed or not came.ok else (),
        failed=failed,
        refused=not came.ok and not how,
        looks=came.name in _LOOKING or (bool(command) and _only_looks(command)),
        changes=came.path,
        waits=came.name == "processes" or bool(_WAITS.search(command)),
        ran_out=how == RAN_OUT,
    )


def _failed(command: str, content: str, how: str) -> bool:
    """Whether a command failed: by its exit code, or, where a pipe hides that, by what it says."""
    if how != WELL:
        return bool(how)
    return "|" in command and not _only_looks(command) and (says_no(content) or bool(_TRACEBACK.search(content)))


def _only_looks(command: str) -> bool:
    command = _HARMLESS.sub("", command)
    if ">" in command or "<<" in command:
        return False
    parts = (_ASSIGNED.sub("", part.strip()) for part in _SPLIT.split(command))
    return all(_LOOKS.match(part) for part in parts if part)
