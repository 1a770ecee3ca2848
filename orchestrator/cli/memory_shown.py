"""Entries of the library on a terminal and as JSON."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from orchestrator.cli import document, layout, skills_shown
from orchestrator.cli.shelved import COMMIT, changes, history_fields, labelled, say_away, warn
from orchestrator.cli.text import age, first_line, lines, moment, plural, short_ids, visible
from orchestrator.cli.wording import Line
from orchestrator.library.entry import Status
from orchestrator.library.handing_on import fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.cli.screen import Screen
    from orchestrator.librarian import Done, Gone, Librarian
    from orchestrator.library.catalogue import Listing, Shown
    from orchestrator.library.entry import Entry, Evidence
    from orchestrator.library.page import PageError
    from orchestrator.library.recall import Recalled

_HEADER: Final = ("ID", "KIND", "STATUS", "AGE", "USES", "TITLE")
_RIGHT: Final = (3, 4)
_STATUS: Final = {
    Status.ACTIVE: ("✓", "green"),
    Status.UNVERIFIED: ("?", "yellow"),
    Status.STALE: ("!", "yellow"),
    Status.SUPERSEDED: ("·", "dim"),
    Status.QUARANTINED: ("✗", "red"),
    Status.ARCHIVED: ("·", "dim"),
}


def listing(screen: Screen, librarian: Librarian, found: Listing) -> None:
    """Print entries by scope, then the pages that are set aside."""
    if screen.json:
        told = [fields(entry) for entry in found.entries]
        scopes = [where.model_dump(mode="json") for where in librarian.scopes]
        more = {"put_away": found.put_away, "problems": [_problem(one) for one in found.problems]}
        known = [skills_shown.fields(one) for one in found.skills]
        document.write("dreamdock.memory.list/1", {"scopes": scopes, "entries": told, "skills": known, **more})
        return
    if found.entries:
        rows = table(screen, librarian, found.entries)
        screen.line(rows[0])
        numbered = zip(found.entries, rows[1:], strict=True)
        for where, group in groupby(numbered, key=lambda one: one[0].where):
            screen.line(Text(f"{where.scope} {where.scope_id}", "dim"))
            screen.lines([row for _, row in group])
    elif not found.skills:
        screen.say(f"no entries to list of {', '.join(f'{one.scope} {one.scope_id}' for one in librarian.scopes)}")
        scope = "" if librarian.project else " --scope user"
        screen.next(f'dreamdock memory add convention "Indent with tabs"{scope}')
    skills_shown.table(screen, found.skills)
    if found.put_away:
        are = "is" if found.put_away == 1 else "are"
        screen.say(f"{found.put_away} more {are} superseded or archived; --all shows them")
    for one in found.problems:
        warn(screen, f"{librarian.root / one.file}:{one.line}: set aside: {one.reason}")


def hits(screen: Screen, librarian: Librarian, query: str, found: Sequence[Recalled]) -> None:
    """Print what a search found, the best first."""
    if screen.json:
        told = [{**fields(one.entry), "score": round(one.score, 4)} for one in found]
        document.write("dreamdock.memory.search/1", {"query": query, "entries": told})
        return
    if not found:
        screen.say("nothing fits; --all also looks at what isn't recalled")
        return
    screen.lines(table(screen, librarian, [one.entry for one in found]))


def table(screen: Screen, librarian: Librarian, entries: Sequence[Entry]) -> list[Text]:
    """Return entries as aligned lines under a header; ids are short on a terminal only, and mean one page each."""
    short, now = short_ids(librarian.ids()), datetime.now(UTC)
    rows = [[Text(word, "dim") for word in _HEADER]]
    for entry in entries:
        when = entry.updated or entry.created
        rows.append(
            [
                Text(short[entry.id] if screen.tty else entry.id, "bold"),
                Text(entry.kind),
                status(entry.status),
                Text(age((now - when).total_seconds()) if when else "?"),
                Text(str(entry.uses)),
                Text(visible(entry.title)) if entry.title else Text(first_line(entry.text), "italic"),
            ]
        )
    return layout.table(rows, right=_RIGHT)


def status(word: Status) -> Text:
    """Return how far an entry is believed, as a glyph and a word."""
    glyph, style = _STATUS[word]
    return Text(f"{glyph} {word}", style)


def entry(screen: Screen, librarian: Librarian, shown: Shown) -> None:
    """Print an entry whole."""
    if screen.json:
        told = {**fields(shown.entry), "history": history_fields(shown.history)}
        document.write("dreamdock.memory.show/1", {"entry": told})
        return
    known = shown.entry
    layout.beside(screen, Text(), Text(visible(known.title) or known.id, "bold"))
    for row in lines(known.text) if known.text else []:
        layout.beside(screen, Text("  "), Text(row))
    screen.line()
    layout.put(screen, _facts(known))
    layout.put(screen, changes(shown.history))
    screen.whole(Text.assemble(("page".ljust(layout.LABEL), "dim"), visible(str(librarian.root / shown.path))))
    if known.status in {Status.QUARANTINED, Status.UNVERIFIED, Status.STALE}:
        screen.next(f"dreamdock memory approve {known.id}")


def _facts(known: Entry) -> Iterator[Line]:
    believed = status(known.status)
    believed.append(f" · from {known.source}", "")
    believed.append(f" · confidence {known.confidence:g}")
    yield Line("id", Text(known.id))
    yield Line("kind", Text(f"{known.kind} · {known.scope} {known.scope_id}"))
    yield Line("status", believed)
    dates = [f"{word} {moment(at)}" for word, at in (("made", known.created), ("worded", known.updated)) if at]
    yield Line("written", Text(" · ".join(dates) or "nobody knows when"))
    uses = f"given to {plural(known.uses, 'run')}, {known.accepted} of them accepted" if known.uses else "none yet"
    yield Line("uses", Text(uses))
    if known.command:
        yield Line("checked with", Text(visible(known.command)), prose=True)
    yield from labelled("about", (f"{visible(one.path)} @ {one.commit[:COMMIT] or '?'}" for one in known.paths))
    yield from labelled("known from", map(_proof, known.evidence))
    yield from labelled("supersedes", known.supersedes)


def _proof(one: Evidence) -> str:
    return f"run {visible(one.run)} step {one.step}" + (f" @ {one.commit[:COMMIT]}" if one.commit else "")


def done(screen: Screen, word: str, result: Done) -> None:
    """Print what a write came to, and on stderr what was left out or isn't shared yet."""
    if screen.json:
        told = {"entries": [fields(one) for one in result.entries], "commit": result.commit or None}
        more = {"left_out": result.left_out, "away": result.away or None}
        document.write(f"dreamdock.memory.{word}/1", {**told, **more})
        return
    glyph, what = (("✓ ", "green"), word) if result.commit else (("· ", "dim"), "unchanged")
    for one in result.entries:
        said = Text.assemble(glyph, f"{what} ", (one.id, "bold"), (f"  {one.status}", "dim"))
        screen.line(said.append(f"  {visible(one.title) or first_line(one.text)}"))
    if result.left_out:
        screen.say(f"{plural(result.left_out, 'secret')} {'was' if result.left_out == 1 else 'were'} left out")
    say_away(screen, result.away)
    screen.next(
        f"dreamdock memory show {result.entries[0].id}" if len(result.entries) == 1 else "dreamdock memory list"
    )


def gone(screen: Screen, librarian: Librarian, result: Gone) -> None:
    """Print what was forgotten, and how to bring it back."""
    if screen.json:
        told = {"files": result.paths, "commit": result.commit, "away": result.away or None}
        document.write("dreamdock.memory.forgotten/1", told)
        return
    for path in result.paths:
        screen.line(Text.assemble(("✓ ", "green"), "forgotten: ", visible(path)))
    screen.say("git keeps what it was; to bring it back:")
    files = shlex.join(result.paths)
    screen.next(f"git -C {shlex.quote(str(librarian.root))} checkout {result.commit[:COMMIT]}^ -- {files}")
    say_away(screen, result.away)


def _problem(one: PageError) -> dict[str, Any]:
    return {"file": one.file, "line": one.line, "reason": one.reason}
