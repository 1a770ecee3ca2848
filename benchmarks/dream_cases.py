"""Two hundred runs that never ran, with what they teach, what they don't, and what somebody slipped into them.

A run's journal is made of the events that an attempt writes: replies, calls, results of some kilobytes, checkpoints,
and what people said. In its steps lie the raw facts, and each step's label says what should become of it. The words
come from `dream_words.toml`, one in five from the wordings that were held back from whoever wrote the dream's rules.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from benchmarks.journals import Steps
from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.runs import Outcome, RunSpec
from sandbox.spec import Base

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RUNS: Final = 200
FACTS, AGAIN, JUNK, STALE, OLD, INJECTED = 200, 280, 320, 100, 50, 50
"""Raw facts of each sort, 1,000 in all; `AGAIN` say a true one once more."""
NOW: Final = datetime(2026, 11, 20, tzinfo=UTC)
PROJECT: Final = "d" * 12
_SEED: Final = 23
_WORK: Final = 20
"""Steps of usual work in a run, beside those in which something is said."""
_HELD: Final = 0.2
_SHOWN: Final = 0.3
"""The share of true facts that a tool had printed before in other words."""
_ACCEPTED: Final = 0.8
_PARTS: Final = ["reader", "writer", "mailer", "scheduler", "proxy", "editor", "planner", "viewer"]
_EARLY, _RENAMED = 60, 150
"""The runs up to which old truths were noted, and from which on files have their new names."""
_STAY, _MOVED = 15, 15

What = Literal["true", "junk", "stale", "old", "injected"]
Form = Literal["note", "error", "steer", "command"]


class Raw(NamedTuple):
    """Something in a run's journal. `fact` names the fact that it states, `held` that its wording was held back.

    `shown` is what a tool printed before.
    """

    what: What
    form: Form
    text: str
    kind: str = ""
    fact: str = ""
    held: bool = False
    shown: str = ""
    path: str = ""


class Said(NamedTuple):
    """Wordings of a fact, the first ones known to who wrote the rules."""

    kind: str
    form: Form
    said: tuple[str, ...]
    held: tuple[str, ...]
    about: str
    value: str
    values: tuple[str, ...] = ()
    path: str = ""


@dataclass
class Cases:
    """The runs, in the order of time, and the repository that they worked on."""

    repo: Path
    runs: list[list[Raw]] = field(default_factory=lambda: [[] for _ in range(RUNS)])
    commits: list[str] = field(default_factory=list)
    head: str = ""
    facts: int = 0

    def accepted(self, run: int) -> bool:
        """Whether a run's work was accepted."""
        return random.Random(run).random() < _ACCEPTED  # noqa: S311  # It has to be the same again.

    def say(self, run: int, raw: Raw) -> None:
        """Have a run say something."""
        self.runs[run].append(raw)

    def name(self, run: int) -> str:
        """Return a run's id."""
        return f"run{run:09d}"

    def events(self, run: int) -> tuple[list[e.Event], dict[int, Raw]]:
        """Return a run's journal, and what lies in its steps."""
        journal = _Journal(run, self.commits[run])
        for raw in self.runs[run]:
            journal.take(raw)
        journal.add(e.Finished(outcome=Outcome.SUCCEEDED if self.accepted(run) else Outcome.FAILED))
        return journal.events, journal.labels


def cases(folder: Path) -> Cases:
    """Make the repository in a folder, and lay out what each run says."""
    words = tomllib.loads(files(__package__).joinpath("dream_words.toml").read_text(encoding="utf-8"))
    dice = random.Random(_SEED)  # noqa: S311  # It has to be the same again.
    made = Cases(folder)
    topics = words["about"].split()
    pairs = [f"{topic} {part}" for topic in topics for part in _PARTS]
    places = [(frame, about) for frame in words["path"] for about in pairs]
    dice.shuffle(places)
    names = _history(made, [about for _, about in places[: STALE + _STAY + _MOVED]])
    gone, moved, stay = names[:STALE], names[STALE : STALE + _MOVED], names[STALE + _MOVED :]
    facts = _facts(words, topics, dice)
    for (frame, about), path in zip(places[STALE:], (*moved, *stay), strict=False):
        facts.append(_at_a_path(frame, about, path))
    for (frame, about), path in zip(places, gone, strict=False):
        made.say(dice.randrange(RUNS), _raw(dice, "stale", _at_a_path(frame, about, path)))
    made.facts = len(facts)
    old = [number for number, said in enumerate(facts) if len(said.values) > 1 and said.form == "note"][:OLD]
    for number in (*range(len(facts)), *dice.choices(range(len(facts)), k=AGAIN)):
        when = range(_EARLY if number in old else 0, _RENAMED if facts[number].path in moved else RUNS)
        made.say(dice.choice(when), _raw(dice, "true", facts[number], f"f{number}"))
    for number in old:
        other = dice.choice([value for value in facts[number].values if value != facts[number].value])
        made.say(dice.randrange(_EARLY), _raw(dice, "old", facts[number]._replace(value=other), f"f{number}"))
    _litter(made, dice, words["junk"], topics)
    _inject(made, dice, words["injected"], topics)
    for raws in made.runs:
        dice.shuffle(raws)
    return made


def _facts(words: dict[str, Any], topics: Sequence[str], dice: random.Random) -> list[Said]:
    """Return the true facts that aren't about a file."""
    found = []
    for form, name in (("note", "fact"), ("error", "pitfall"), ("steer", "steer")):
        for frame in words[name]:
            for about in topics:
                values = tuple(value.format(about=about) for value in frame["values"])
                kind = frame.get("kind", "")
                wordings = tuple(frame["said"]), tuple(frame["held"])
                found.append(Said(kind, form, *wordings, about, dice.choice(values), values))  # type: ignore[arg-type]  # A literal's tuple.
    plain = [said for said in found if said.form == "note"]
    others = [said for said in found if said.form != "note"]
    dice.shuffle(plain)
    commands = [Said("command", "command", (f"make {about}-test",), (), about, "") for about in topics[:12]]
    few = FACTS - _STAY - _MOVED - len(others) - len(commands)
    return [*plain[:few], *others, *commands]


def _at_a_path(frame: dict[str, Any], about: str, path: str) -> Said:
    return Said(frame["kind"], "note", tuple(frame["said"]), tuple(frame["held"]), about, path, path=path)


def _raw(dice: random.Random, what: What, said: Said, fact: str = "") -> Raw:
    """Return something as a run says it; some facts were printed by a tool before, otherwise worded."""
    held = bool(said.held) and dice.random() < _HELD
    text, other = (
        dice.choice(said.held if held else said.said).format(about=said.about, value=said.value),
        dice.choice(said.said).format(about=said.about, value=said.value),
    )
    told = f"# {said.about}\n\n{other}\n"
    shown = told if said.kind in {"fact", "decision"} and dice.random() < _SHOWN else ""
    return Raw(what, said.form, text, kind=said.kind, fact=fact, held=held, shown=shown, path=said.path)


def _litter(made: Cases, dice: random.Random, words: dict[str, Any], topics: Sequence[str]) -> None:
    shares: tuple[tuple[Form, str, int], ...] = (
        ("note", "notes", 200),
        ("steer", "steers", 60),
        ("command", "commands", 60),
    )
    for form, name, count in shares:
        for _ in range(count):
            held = dice.random() < _HELD
            about = dice.choice(topics)
            text = dice.choice(words[f"{name}_{'held' if held else 'said'}"]).format(
                about=about, n=dice.randrange(2, 9)
            )
            kind = dice.choice(("fact", "fact", "decision", "constraint")) if form == "note" else ""
            made.say(dice.randrange(RUNS), Raw("junk", form, text, kind=kind, held=held))


def _inject(made: Cases, dice: random.Random, words: dict[str, Any], topics: Sequence[str]) -> None:
    for _ in range(INJECTED):
        held = dice.random() < _HELD
        about = dice.choice(topics)
        text = dice.choice(words["texts_held" if held else "texts_said"]).format(about=about)
        noted = dice.choice(words["as_noted_held" if held else "as_noted"]).format(text=text)
        shown = dice.choice(words["carriers"]).format(about=about, text=text)
        kind = dice.choice(("fact", "constraint", "decision"))
        made.say(dice.randrange(RUNS), Raw("injected", "note", noted, kind=kind, held=held, shown=shown))


def _history(made: Cases, abouts: Sequence[str]) -> list[str]:
    """Make a repository of these files, of which in the end the first ones are gone and some renamed; their names."""
    repo = made.repo
    repo.mkdir(parents=True, exist_ok=True)
    _git(repo, "init", "--quiet", "--initial-branch=main")
    names = [f"src/{about.split()[0]}/{about.split()[1]}_{number}.py" for number, about in enumerate(abouts)]
    for number, name in enumerate(names):
        file = repo / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = hashlib.sha512(name.encode()).hexdigest()
        file.write_text("\n".join(f"VALUE_{place} = '{lines[place : place + 9]}{number}'" for place in range(40)))
    gone, moved = names[:STALE], names[STALE : STALE + _MOVED]
    for run in range(RUNS):
        if run == _RENAMED:
            for name in moved:
                (repo / name).rename((repo / name).with_name(f"new_{name.rpartition('/')[2]}"))
        if run % 20 == 0 or run == _RENAMED:
            (repo / "CHANGES").write_text(f"{run}\n")
            commit = _commit(repo, f"state {run}")
        made.commits.append(commit)
    for part in (gone[:50], gone[50:]):
        for name in part:
            (repo / name).unlink()
        made.head = _commit(repo, "clear out")
    return names


def _commit(repo: Path, message: str) -> str:
    _git(repo, "add", "-A")
    _git(repo, "-c", "user.name=bench", "-c", "user.email=bench@dreamdock.invalid", "commit", "--quiet", "-m", message)
    return _git(repo, "rev-parse", "HEAD").strip()


def _git(repo: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(repo), *arguments], check=True, capture_output=True, text=True).stdout


class _Journal:
    """A run's events as they come."""

    def __init__(self, run: int, commit: str) -> None:
        self.events: list[e.Event] = []
        self.labels: dict[int, Raw] = {}
        self._run, self._commit, self._step = run, commit, 0
        self._steps = Steps()
        base = Base(project=PROJECT, commit=commit, tree="t" * 40, name="dreamt", source="/nowhere")
        spec = RunSpec(
            task="Mend the report, and keep its tests passing.", repo=base, model="mimo/mimo-v2.5-pro", image=""
        )
        self.add(
            e.Submitted(spec=spec), e.Dispatched(attempt=1), e.Prompted(system="You are an agent.", text=spec.task)
        )
        for _ in range(_WORK):
            self._work()

    def add(self, *bodies: Any) -> None:
        """Write events down, a second apart."""
        for body in bodies:
            seq = len(self.events) + 1
            at = NOW - timedelta(days=RUNS - self._run) + timedelta(seconds=seq)
            self.events.append(e.Event(seq=seq, at=at, who="bench:1", body=body))

    def take(self, raw: Raw) -> None:
        """Have the run say it."""
        self._work()
        if raw.path:
            self._did("read", {"path": raw.path}, "VALUE_0 = 'x'\n")
        if raw.shown:
            self._did("bash", {"command": "cat NOTES"}, raw.shown + "\n[exit code 0]", 0)
        match raw.form:
            case "steer":
                self.add(e.Steered(text=raw.text))
                self.add(e.Prompted(text=f"A person says: {raw.text}", heard=len(self.events)))
                self.labels.setdefault(self._step, raw)
                self._work()
            case "command":
                self._did("bash", {"command": raw.text}, "ok\n[exit code 0]", 0)
                self.labels[self._step] = raw
            case "error":
                text, _, why = raw.text.partition(" — ")
                self._did("note", {"kind": "error", "text": text, "state": "fixed", "why": why}, "noted")
                self.labels[self._step] = raw
            case "note":
                text, _, why = raw.text.partition(" — ")
                kind = {"convention": "constraint"}.get(raw.kind, raw.kind)
                self._did("note", {"kind": kind, "text": text, "why": why}, "noted")
                self.labels[self._step] = raw

    def _work(self) -> None:
        """Do a step of the usual work: it reads, changes a file, or runs the tests."""
        self._step += 1
        bodies, _ = self._steps.step(self._step + 11 * self._run)
        numbered = [body.model_copy(update={"step": self._step}) for body in bodies]
        self.add(*numbered[:-1], numbered[-1].model_copy(update={"commit": self._commit}))

    def _did(self, name: str, arguments: dict[str, str], content: str, code: int | None = None) -> None:
        self._step += 1
        call = ToolCall(id=f"call{self._step}", name=name, arguments=arguments)
        result = ToolResult(call_id=call.id, name=name, content=content)
        self.add(
            e.Replied(step=self._step, reply=Reply(calls=(call,))),
            e.CallStarted(step=self._step, call=call),
            e.CallFinished(step=self._step, result=result, exit_code=code),
            e.Checkpointed(step=self._step, commit=self._commit, tree="t" * 40),
        )


def runs(made: Cases) -> Iterator[tuple[str, list[e.Event], dict[int, Raw]]]:
    """Yield each run's id, its journal and its labels; one at a time is in memory."""
    for run in range(RUNS):
        yield made.name(run), *made.events(run)
