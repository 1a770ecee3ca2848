"""What the fake agent model does: a long script of small steps, decided from nothing but the request that it is asked.

It knows nothing of DreamDock but the names of its tools, and does without those that aren't offered.
"""

from __future__ import annotations

import base64
import json
import random
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

Kind = Literal["said", "noted", "printed"]
"""How a fact becomes known: a person says it, the model notes it with the tool, or it only stands in output."""

LEDGER: Final = "ledger.txt"
"""Each instruction adds its line: one that is left out, or done twice, shows."""
TEXT: Final = "text.txt"
"""What the commands print from; whoever makes the repository puts it there."""
DONE: Final = re.compile(r"step (\d+) is done")
_FACTS_IN: Final = 0.1
"""All facts become known in this first share of the steps."""
_ASKED_AT: Final = (0.3, 0.6, 0.95)
_KEPT: Final = 0.7
"""With this probability a fact that the summariser sees is in its summary."""
_ATTRIBUTES: Final = ("port", "owner", "budget", "region", "branch", "colour", "quota", "mirror")
_SUBJECTS: Final[dict[Kind, str]] = {"said": "invoice gateway", "noted": "replica ledger", "printed": "search index"}
_WORDS: Final = ("otter", "heron", "badger", "lynx", "marten", "plover", "stoat", "wren")
_HEADING: Final = re.compile(r"^\s*(?:[-*] )?`?(##+ [^`\n]+?)`?\s*$", re.MULTILINE)


class Fact(NamedTuple):
    """Something to remember. It becomes known in a step, or with the task where `step` is 0."""

    kind: Kind
    step: int
    topic: str
    value: str

    @property
    def text(self) -> str:
        return f"the {self.topic} is {self.value}"


class Call(NamedTuple):
    """A call that the model makes."""

    id: str
    name: str
    arguments: dict[str, Any]


class Said(NamedTuple):
    """What the model answers."""

    text: str
    calls: tuple[Call, ...] = ()


class Seen(NamedTuple):
    """What the model makes of a request: the last step that it sees done, the tools that it has, results by call.

    `shell` is the tool that runs commands, empty without one; `described` whether it wants to be told what they do.
    """

    step: int
    tools: frozenset[str]
    results: dict[str, str]
    shell: str = ""
    described: bool = False


@dataclass(frozen=True)
class Script:
    """So many steps that print so many lines each, and the facts that are said, noted or printed on the way."""

    steps: int
    lines: int = 20
    facts: tuple[Fact, ...] = ()
    seed: int = 7
    every_line: int = 1000
    """How many lines the text has; the commands begin anew behind the last one."""

    @property
    def asks(self) -> tuple[int, ...]:
        """The steps in which every fact is needed."""
        return tuple(int(share * self.steps) for share in _ASKED_AT) if self.facts else ()

    def command(self, step: int) -> str:
        """Return a step's command. What tells that it is done stands in its output alone, and so do printed facts."""
        first = 1 + (step * self.lines) % max(1, self.every_line - self.lines)
        parts = [f'n={step}; echo "done $n" >> {LEDGER}']
        printed = [base64.b64encode(fact.text.encode()).decode() for fact in self._known_in(step, "printed")]
        parts += [f"echo {text} | base64 -d; echo" for text in printed]
        if self.lines:
            parts.append(f"sed -n '{first},{first + self.lines - 1}p' {TEXT}")
        return "; ".join([*parts, 'echo "step $n is done"'])

    def _known_in(self, step: int, kind: Kind) -> list[Fact]:
        return [fact for fact in self.facts if fact.step == step and fact.kind == kind]

    def noted_in(self, step: int) -> list[Fact]:
        """Return what is noted in a step."""
        return self._known_in(step, "noted")

    def ledger(self) -> str:
        """Return what the ledger holds at the end, if each step was done once."""
        return "".join(f"done {step}\n" for step in range(1, self.steps + 1))


def facts(steps: int, *, seed: int = 7, each: int = 8) -> tuple[Fact, ...]:
    """Return so many facts of each kind, all in the first tenth of the steps; some of the said ones with the task."""
    chance = random.Random(seed)  # noqa: S311  # It has to be the same again, not secret.
    made = []
    for kind, subject in _SUBJECTS.items():
        for number, attribute in enumerate(_ATTRIBUTES[:each]):
            step = 1 + number * max(1, int(_FACTS_IN * steps) - 2) // each
            step = 0 if kind == "said" and number % 2 == 0 else step
            value = f"{chance.choice(_WORDS)}-{chance.randrange(10_000, 99_999)}"
            made.append(Fact(kind, step, f"{attribute} of the {subject}", value))
    return tuple(made)


@dataclass
class Mind:
    """The model at its script. What it keeps of the past are records of how well it was kept up; it decides by none.

    `lost` are the steps that it would have done anew, for want of any word of them; `missing` the facts that weren't in
    a request when they were needed, by the step that needed them; `not_found` those that one search didn't bring.
    """

    script: Script
    furthest: int = 0
    lost: list[int] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)
    missing: list[tuple[int, Fact]] = field(default_factory=list)
    searched: int = 0
    not_found: list[tuple[int, Fact]] = field(default_factory=list)
    summaries: int = 0
    _searches: dict[str, tuple[int, Fact]] = field(default_factory=dict)

    def go_on(self, seen: Seen, raw: bytes) -> Said:
        """Return the next step: the one behind the last that it sees done. `raw` is the request as it came."""
        step = seen.step + 1
        if seen.step < self.furthest:
            self.lost.append(step)
        self.furthest = max(self.furthest, seen.step)
        self._read(seen)
        if step > self.script.steps:
            return self._end(seen)
        if step in self.script.asks and step not in self.asked:
            self.asked.add(step)
            known = [fact for fact in self.script.facts if fact.step < step]
            self.missing += [(step, fact) for fact in known if fact.value.encode() not in raw]
        return Said(f"Step {step} of {self.script.steps}.", tuple(self._calls(step, seen)))

    def sum_up(self, instruction: str, seen: Seen, raw: bytes) -> str:
        """Return a summary under the headings that the instruction names, with each fact in it only if luck has it."""
        self.summaries += 1
        chance = random.Random(f"{self.script.seed} {self.summaries}")  # noqa: S311  # As above.
        known = [fact.text for fact in self.script.facts if fact.value.encode() in raw and chance.random() < _KEPT]
        headings = list(dict.fromkeys(_HEADING.findall(instruction))) or ["## Summary"]
        told = [f"- {text}" for text in known] + [f"- step {seen.step} is done, and all before it"]
        share = -(-len(told) // len(headings))
        parts = [
            "\n".join([heading, *(told[place * share : (place + 1) * share] or ["- nothing to tell"])])
            for place, heading in enumerate(headings)
        ]
        return "\n\n".join(parts) + "\n"

    def _calls(self, step: int, seen: Seen) -> list[Call]:
        command: dict[str, Any] = {"command": self.script.command(step)}
        if seen.described:
            command["description"] = f"Do step {step}"
        calls = [Call(f"call_{step}_0", seen.shell, command)]
        if "note" in seen.tools:
            for number, fact in enumerate(self.script.noted_in(step), start=1):
                calls.append(Call(f"call_{step}_n{number}", "note", {"kind": "fact", "text": fact.text}))
        if "history" in seen.tools and (needed := self._to_search(step)):
            call = Call(f"call_{step}_h", "history", {"query": needed[1].topic})
            self._searches[call.id] = needed
            calls.append(call)
        return calls

    def _to_search(self, step: int) -> tuple[int, Fact] | None:
        """Return the fact that is searched for in a step: one a step, in those behind the one that needed it."""
        asked = max((ask for ask in self.asked if ask < step), default=0)
        wanted = [missing for missing in self.missing if missing[0] == asked]
        return wanted[step - asked - 1] if asked and step - asked <= len(wanted) else None

    def _read(self, seen: Seen) -> None:
        for call_id in seen.results.keys() & self._searches.keys():
            asked, fact = self._searches.pop(call_id)
            self.searched += 1
            if fact.value not in seen.results[call_id]:
                self.not_found.append((asked, fact))

    def _end(self, seen: Seen) -> Said:
        if "submit" in seen.tools:
            return Said("All steps are done.", (Call("call_end", "submit", {"summary": "all steps are done"}),))
        if seen.tools == {"bash"}:  # mini-swe-agent's only tool, and its word for the end.
            done = {"command": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}
            return Said("All steps are done.", (Call("call_end", "bash", done),))
        return Said("All steps are done.")


def look(body: dict[str, Any]) -> Seen:
    """Read a request: the highest step that any message says is done, not what the model itself said or called."""
    step, results = 0, {}
    for message in body.get("messages", ()):
        text = content(message)
        if message.get("role") == "tool":
            results[str(message.get("tool_call_id"))] = text
        if message.get("role") != "assistant":
            step = max([step, *map(int, DONE.findall(text))])
    tools = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in body.get("tools") or ()}
    shell = next((name for name in sorted(tools) if name.lower() in {"bash", "shell"}), "")
    described = "description" in tools.get(shell, {}).get("required", ())
    return Seen(step, frozenset(tools), results, shell, described)


def content(message: dict[str, Any]) -> str:
    """Return a message's text."""
    told = message.get("content")
    if isinstance(told, list):
        return "\n".join(part.get("text", "") for part in told if isinstance(part, dict))
    return told if isinstance(told, str) else ""


def rendered(body: dict[str, Any]) -> tuple[bytes, int]:
    """Return the prompt as a provider would put it together, and how much of it stands before the last reply in it."""
    parts, before, size = [json.dumps(body.get("tools") or [])], 0, 0
    size = len(parts[0])
    for message in body.get("messages", ()):
        if message.get("role") == "assistant":
            before = size
        calls = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
        more = f"{message.get('tool_call_id', '')}{message.get('reasoning_content') or ''}"
        part = f"\n<{message.get('role')}>{more}{content(message)}{calls}"
        part = part.encode(errors="replace").decode("latin-1")  # So that lengths are bytes.
        parts.append(part)
        size += len(part)
    return "".join(parts).encode("latin-1"), before
