"""Dreams on a terminal and as JSON."""

from __future__ import annotations

import difflib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from orchestrator.cli import document, layout
from orchestrator.cli.patch import coloured
from orchestrator.cli.shelved import COMMIT, warn
from orchestrator.cli.text import age, duration, lines, moment, plural, visible
from orchestrator.dream.batch import Action, Phase
from orchestrator.dream.pipeline import Progress
from orchestrator.dream.report import sections, summary, worded
from orchestrator.library.handing_on import fields
from orchestrator.library.page import render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.cli.screen import Screen
    from orchestrator.dream.report import Report
    from orchestrator.dream.reports import Dreamt, Touched
    from orchestrator.dream.undo import Reverted
    from orchestrator.dreams import Told
    from orchestrator.library.entry import Entry

_RIGHT: Final = (1, 2)


class Following:
    """The line of progress of a dream under way."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._now = Progress(Phase.COLLECT)

    def hear(self, progress: Progress) -> None:
        """Take in how far it is."""
        self._now = progress

    def line(self) -> Text:
        """Return how far it is, in words."""
        now, spent = self._now, duration(time.monotonic() - self._begun)
        what = now.what or ("runs" if now.phase is Phase.COLLECT else "")
        done = f"{now.done} of {now.of} {what}" if now.of else visible(what)
        return Text(" · ".join(filter(None, (f"dreaming: {now.phase}", done, spent))))


def report(screen: Screen, made: Report, again: str) -> None:
    """Print what a dream did or would do, and what to type next; `again` is the command that does it."""
    if screen.json:
        told = made.model_dump(mode="json") | {"commit": made.commit or None, "refused": made.refused or None}
        document.write("dreamdock.dream/1", {**told, "counts": made.counts, "path": made.path})
        return
    if made.refused:
        screen.line(Text.assemble(("✗ ", "red"), "nothing was changed: ", visible(made.refused)))
        return
    glyph = ("✓ ", "green") if made.commit else ("· ", "dim")
    screen.line(Text.assemble(glyph, summary(made)))
    if said := [*sections(made)]:
        _prose(screen, "\n".join(said))
    for note in made.notes:
        warn(screen, note)
    if made.dry_run:
        screen.say("nothing was written: no commit, no lock, no mark of how far it looked")
    screen.next(*_after(made, again))


def _after(made: Report, again: str) -> Iterator[str]:
    if made.left and not made.dry_run:
        yield "dreamdock dream"
    for change in made.changes:
        if change.action is Action.DISPUTED:
            yield from (f"dreamdock memory show {one}" for one in (change.entry, *change.others))
            break
    if made.dry_run:
        yield again
    elif made.commit:
        yield from ("dreamdock dream show", "dreamdock dream revert")
    else:
        yield "dreamdock memory list"


def log(screen: Screen, project: str, dreams: list[Dreamt]) -> None:
    """Print dreams, one a line."""
    if screen.json:
        document.write("dreamdock.dream.log/1", {"project": project, "dreams": [_fields(one) for one in dreams]})
        return
    if not dreams:
        screen.say(f"no dream of {project} has changed anything yet")
        screen.next("dreamdock dream --dry-run", "dreamdock dream")
        return
    now = datetime.now(UTC)
    rows = [[Text(word, "dim") for word in ("DREAM", "AGE", "RUNS", "COMMIT", "DID")]]
    rows += [
        [
            Text(one.name, "bold"),
            Text(age((now - one.until).total_seconds())),
            Text(str(one.runs)),
            Text(one.commit[:COMMIT] if screen.tty else one.commit),
            Text(_did(one), "dim" if one.reverted else ""),
        ]
        for one in dreams
    ]
    screen.lines(layout.table(rows, right=_RIGHT))
    screen.next(f"dreamdock dream show {dreams[0].name}")


def _did(one: Dreamt) -> str:
    said = worded(one.counts) or "nothing to change"
    return f"taken back: {said}" if one.reverted else said


def told(screen: Screen, shown: Told) -> None:
    """Print a dream's report, and what it changed as a patch."""
    if screen.json:
        pages = [{"path": one.path, "before": _entry(one.before), "after": _entry(one.after)} for one in shown.pages]
        document.write("dreamdock.dream.show/1", {"dream": _fields(shown.dream), "text": shown.text, "pages": pages})
        return
    _prose(screen, shown.text)
    screen.line()
    for line in coloured("".join(map(_patch, shown.pages)).encode()):
        screen.whole(line)
    if shown.dream.reverted:
        screen.say(f"it was taken back {moment(shown.dream.reverted)}")
    else:
        screen.next(f"dreamdock dream revert {shown.dream.name}")


def _patch(page: Touched) -> str:
    """Return what became of a page, as git tells it."""
    before, after = (render(one).splitlines(keepends=True) if one else [] for one in (page.before, page.after))
    old, new = f"a/{page.path}" if page.before else "/dev/null", f"b/{page.path}" if page.after else "/dev/null"
    rows = difflib.unified_diff(before, after, old, new)
    return f"diff --git a/{page.path} b/{page.path}\n{''.join(rows)}"


def reverted(screen: Screen, done: Reverted) -> None:
    """Print what was taken back, and what couldn't be."""
    if screen.json:
        told = done.model_dump(mode="json", exclude={"dream"})
        document.write("dreamdock.dream.revert/1", {"dream": _fields(done.dream), **told})
        return
    pages = plural(len(done.restored), "page")
    screen.line(Text.assemble(("✓ ", "green"), f"the dream {done.dream.name} is taken back: {pages} as before"))
    for one in done.kept:
        warn(screen, f"{one.path} is kept: {one.why}")
    for note in done.notes:
        warn(screen, note)
    screen.next("dreamdock memory list", "dreamdock dream log")


def _fields(one: Dreamt) -> dict[str, Any]:
    return {**one.model_dump(mode="json"), "path": one.path}


def _entry(one: Entry | None) -> dict[str, Any] | None:
    return fields(one) if one is not None else None


def _prose(screen: Screen, text: str) -> None:
    for row in lines(text):
        layout.beside(screen, Text("- " if row.startswith("- ") else ""), Text(row.removeprefix("- ")))
