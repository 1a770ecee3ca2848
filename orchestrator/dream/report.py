"""What a dream did, as a value and as the file that lies in the library beside the entries."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pydantic import AwareDatetime

from orchestrator.dialogue import Value
from orchestrator.dream.batch import Action, Change
from orchestrator.dream.collect import Skipped
from orchestrator.library.entropy import scrubbed
from orchestrator.library.skill import Skill
from orchestrator.memory.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.library.entry import Entry

FOLDER: Final = "dreams"
"""Where reports lie in the library: `dreams/PROJECT/WHEN.md`."""
_FENCE: Final = "---"
_LONGEST: Final = 300
_NAMED: Final = 3
_HEADINGS: Final[Mapping[Action, str]] = {
    Action.DISPUTED: "A person has to say which holds",
    Action.ADDED: "Added",
    Action.MERGED: "Merged: known from more runs now",
    Action.REWORDED: "Reworded",
    Action.CONFIRMED: "Seen to hold",
    Action.MOVED: "Files have other names now",
    Action.DOUBTED: "Doubted: code that they name isn't there any more",
    Action.STALE: "Stale: it was so, and isn't any more",
    Action.SUPERSEDED: "Superseded: another one took its place",
    Action.ARCHIVED: "Archived: out of view, not deleted",
    Action.COUNTED: "Given to runs",
    Action.LEFT_OUT: "Left out",
}
"""In the order in which a person wants to read them."""


class Report(Value):
    """What one dream looked at and did, or would do.

    `since` (None for the beginning) and `until` are by Redis's clock: the runs' ends. `commit` is what it wrote, empty
    for nothing; `path` is where the report lies in the library. `notes` are what else a person should know, `refused`
    is why the library was left as it was. `left` is how many runs are for the next dream.
    """

    project: str
    since: AwareDatetime | None = None
    until: AwareDatetime
    runs: int = 0
    left: int = 0
    skipped: tuple[Skipped, ...] = ()
    changes: tuple[Change, ...] = ()
    skills: tuple[Skill, ...] = ()
    notes: tuple[str, ...] = ()
    refused: str = ""
    dry_run: bool = False
    commit: str = ""

    @property
    def path(self) -> str:
        """Where it lies in the library."""
        return f"{FOLDER}/{self.project}/{self.until:%Y-%m-%dT%H-%M-%S}-{self.until.microsecond // 1000:03}Z.md"

    @property
    def counts(self) -> dict[str, int]:
        """How often what was done, in the order of the report; without what wasn't."""
        done = Counter(change.action for change in self.changes)
        return {action.value.replace(" ", "_"): done[action] for action in _HEADINGS if done[action]}

    @property
    def words(self) -> str:
        """What was done, in a line."""
        return worded({**self.counts, "skills": len(self.skills)}) or "nothing to change"


def worded(counts: Mapping[str, int]) -> str:
    """Return how often what was done, in words; empty for nothing."""
    return ", ".join(
        _plural(count, "skill") if name == "skills" else f"{count} {name.replace('_', ' ')}"
        for name, count in counts.items()
        if count
    )


def at(ms: int) -> datetime:
    """Return a time of Redis's clock."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def ms(when: datetime) -> int:
    """Return a time as Redis's clock tells it."""
    return round(when.timestamp() * 1000)


def rfc(when: datetime) -> str:
    """Return a time to the millisecond, as the front matter has it."""
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z"


def named(changes: Iterable[Change], entries: Mapping[str, Entry]) -> tuple[Change, ...]:
    """Return changes that name the other entries by their titles, too, and hold nothing that looks like a secret."""
    return tuple(change.model_copy(update={"why": scrubbed(_why(change, entries))}) for change in changes)


def _why(change: Change, entries: Mapping[str, Entry]) -> str:
    titles = [one_line(entries[name].title, _LONGEST) for name in change.others if name in entries]
    said = ", ".join(f"“{title}”" for title in titles[:_NAMED])
    return ": ".join(filter(None, (change.why, said)))


def render(report: Report) -> str:
    """Return the report's file, without secrets: front matter for programs, and below it what a person reads."""
    front = {
        "project": report.project,
        "since": rfc(report.since) if report.since else "",
        "until": rfc(report.until),
        "runs": report.runs,
        "skipped": len(report.skipped),
        **report.counts,
        **({"skills": len(report.skills)} if report.skills else {}),
    }
    lines = [_FENCE, *(f"{name}: {value}".rstrip() for name, value in front.items()), _FENCE, "", *body(report)]
    return scrubbed("\n".join(lines) + "\n")


def body(report: Report) -> Iterator[str]:
    """Yield the lines that a person reads."""
    yield f"# Dream of {report.until:%Y-%m-%d %H:%M} UTC"
    yield from ("", f"{summary(report)}.", *sections(report))
    if report.notes:
        yield from ("", "## Notes", "", *(f"- {one_line(note, _LONGEST)}" for note in report.notes))


def summary(report: Report) -> str:
    """Return in a sentence what was looked at, and what was done."""
    since = f" since {report.since:%Y-%m-%d %H:%M} UTC" if report.since else ""
    return f"{_plural(report.runs, 'run')} ended{since}: {report.words}"


def sections(report: Report) -> Iterator[str]:
    """Yield what was done, each under its heading, and why."""
    for action, heading in _HEADINGS.items():
        if done := [change for change in report.changes if change.action is action]:
            yield from ("", f"## {heading}", "", *map(_line, done))
    if report.skills:
        yield from ("", "## Skills", "")
        yield from (f"- {one.name}, {one.status}: {one_line(one.description, _LONGEST)}" for one in report.skills)
    if report.skipped:
        yield from ("", "## Runs that weren't read", "")
        yield from (f"- {one.run}: {one_line(one.why, _LONGEST)}" for one in report.skipped)


def _line(change: Change) -> str:
    others = f" ({', '.join(f'`{other}`' for other in change.others)})" if change.others else ""
    why = f" — {one_line(change.why, _LONGEST)}" if change.why else ""
    name = f"`{change.entry}` " if change.entry else ""
    return f"- {name}{one_line(change.title, _LONGEST)}{why}{others}"


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def front(text: str) -> dict[str, str]:
    """Return what the front matter of a report says; empty for a file that has none."""
    lines = text.splitlines()
    if not lines or lines[0] != _FENCE or _FENCE not in lines[1:]:
        return {}
    inner = lines[1 : lines.index(_FENCE, 1)]
    return {name: value.strip() for name, _, value in (line.partition(":") for line in inner)}
