"""`dreamdock memory`: what is known longer than a run lasts, for people to look up, write, correct and approve."""

from __future__ import annotations

import functools
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar, cast

import click

from orchestrator.cli.options import with_repository, with_screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.cli.screen import Screen
    from orchestrator.librarian import Done, Draft, Librarian
    from orchestrator.library.handing_on import Form

P = ParamSpec("P")
R = TypeVar("R")
# The words of `library.entry`, which takes pydantic: a test holds them against it.
KINDS: Final = ("decision", "convention", "pitfall", "command", "fact", "api")
SCOPES: Final = ("repo", "team", "user")
STATUSES: Final = ("active", "unverified", "stale", "superseded", "quarantined", "archived")


def with_library(function: Callable[Concatenate[Screen, Librarian, P], R]) -> Callable[P, R]:
    """Give a command the library of a repository, and what says which."""

    @with_repository
    @with_screen
    @functools.wraps(function)
    def command(screen: Screen, /, *args: P.args, **kwargs: P.kwargs) -> R:
        from orchestrator import api, settings

        repo, project = cast("Path | None", kwargs.pop("repo")), str(kwargs.pop("project"))
        return function(screen, api.librarian(settings.load(), repo, project), *args, **kwargs)

    return command


@click.group()
def memory() -> None:
    """Look up, write, approve and forget what is known longer than a run lasts.

    In view are the entries of the current folder's repository, of your team and your own.
    ID is an entry's id or the start of it, or the path of its page; skills/NAME is a skill.
    Nothing is started: the library is files.
    """


@memory.command("list")
@click.option("--scope", type=click.Choice(SCOPES), help="Only the repository's, the team's or your own.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those of this status.")
@click.option("--kind", type=click.Choice(KINDS), help="Only those of this kind.")
@click.option("--all", "everything", is_flag=True, help="Also what is superseded or archived.")
@with_library
def list_(
    screen: Screen,
    librarian: Librarian,
    /,
    *,
    scope: str | None,
    status: str | None,
    kind: str | None,
    everything: bool,
) -> None:
    """List entries, and the pages that are set aside.

    A page is set aside where it can't be read; it stays as it is, and is told with its file, line and reason.
    """
    from orchestrator.cli import memory_shown
    from orchestrator.library.entry import EntryKind, Scope, Status

    _take_in(screen, librarian)
    listing = librarian.listed(
        scope=Scope(scope) if scope else None,
        status=Status(status) if status else None,
        kind=EntryKind(kind) if kind else None,
        everything=everything,
    )
    memory_shown.listing(screen, librarian, listing)


@memory.command()
@click.argument("words", metavar="QUERY...", nargs=-1, required=True)
@click.option("--all", "hidden", is_flag=True, help="Also what isn't recalled: stale or quarantined entries, say.")
@click.option("-n", "most", type=click.IntRange(1, 1000), default=10, help="Entries at most.", show_default=True)
@with_library
def search(screen: Screen, librarian: Librarian, /, words: tuple[str, ...], *, hidden: bool, most: int) -> None:
    """Search entries by their words, as a run's recall does: the best first."""
    from orchestrator.cli import memory_shown

    _take_in(screen, librarian)
    query = " ".join(words)
    memory_shown.hits(screen, librarian, query, librarian.search(query, most=most, hidden=hidden))


@memory.command()
@click.argument("entry", metavar="ID")
@with_library
def show(screen: Screen, librarian: Librarian, /, entry: str) -> None:
    """Show an entry whole: its text, evidence and paths, and which commits changed it."""
    from orchestrator.cli import memory_shown, skills_shown

    _take_in(screen, librarian)
    if name := _skill(entry):
        skills_shown.whole(screen, librarian, *librarian.skill(name))
        return
    memory_shown.entry(screen, librarian, librarian.shown(entry))


@memory.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("title")
@click.argument("text", default="")
@click.option("--scope", type=click.Choice(SCOPES), default="repo", help="Where it holds.", show_default=True)
@click.option("--path", "paths", multiple=True, metavar="PATH", help="A file or folder that it's about; repeatable.")
@click.option("--command", "check", default="", metavar="COMMAND", help="A command that shows whether it still holds.")
@with_library
def add(
    screen: Screen,
    librarian: Librarian,
    /,
    kind: str,
    title: str,
    text: str,
    *,
    scope: str,
    paths: tuple[str, ...],
    check: str,
) -> None:
    """Write an entry; with - as TEXT from standard input.

    It's active at once, and in your name. What looks like a secret is left out, and that is said.
    """
    from orchestrator.cli import memory_shown
    from orchestrator.library.entry import EntryKind, Scope

    done = librarian.add(EntryKind(kind), title, _read(text), scope=Scope(scope), paths=paths, command=check)
    memory_shown.done(screen, "added", done)


@memory.command()
@click.argument("entry", metavar="ID")
@click.option("--title", help="Another title.")
@click.option("--text", help="Another text; - is standard input.")
@click.option("--status", type=click.Choice(STATUSES), help="Another status.")
@click.option("--confidence", type=click.FloatRange(0, 1), help="Another confidence.")
@click.option("--scope", type=click.Choice(SCOPES), help="Have it hold elsewhere: for your team, say.")
@click.option(
    "-F", "--file", "file", type=click.Path(path_type=Path), help="A file with the whole page as it is to be."
)
@with_library
def edit(
    screen: Screen,
    librarian: Librarian,
    /,
    entry: str,
    *,
    title: str | None,
    text: str | None,
    status: str | None,
    confidence: float | None,
    scope: str | None,
    file: Path | None,
) -> None:
    """Change an entry: its page in your editor (VISUAL or EDITOR), or what options say.

    A page that can't be read afterwards is refused with its line, and your text is kept in a file that is named.
    What others changed meanwhile is merged.
    """
    from orchestrator.cli import memory_shown
    from orchestrator.errors import UsageError
    from orchestrator.library.entry import Scope

    fields = {"title": title, "text": None if text is None else _read(text), "status": status, "confidence": confidence}
    said = {name: value for name, value in fields.items() if value is not None}
    draft = librarian.draft(entry)
    if file is not None:
        if said or scope:
            raise UsageError("--file is the whole page", hint=f"dreamdock memory edit {entry} --file {file}")
        done = librarian.rewrite(draft, _page(file), str(file))
    elif said or scope:
        done = librarian.edit(draft, scope=Scope(scope) if scope else None, **said)
    else:
        done = _in_editor(librarian, draft)
    memory_shown.done(screen, "edited", done)


@memory.command()
@click.argument("entries", metavar="ID...", nargs=-1, required=True)
@with_library
def forget(screen: Screen, librarian: Librarian, /, entries: tuple[str, ...]) -> None:
    """Take entries out of the library, in a commit of yours.

    Git keeps what they were, and so do others' copies: a secret that got in has to be revoked all the same.
    A skill is declined by that: it stays, so that it isn't proposed again.
    """
    from orchestrator.cli import memory_shown, skills_shown

    if name := _one_skill(entries):
        skills_shown.settled(screen, *librarian.settle_skill(name, wanted=False))
        return
    memory_shown.gone(screen, librarian, librarian.forget(entries))


@memory.command()
@click.argument("entries", metavar="ID...", nargs=-1, required=True)
@with_library
def approve(screen: Screen, librarian: Librarian, /, entries: tuple[str, ...]) -> None:
    """Have entries be believed that are quarantined, unverified or stale: they are active from now on.

    Whose words they are made of stays as it is. Agents are told of a skill (skills/NAME) once it's approved.
    """
    from orchestrator.cli import memory_shown, skills_shown

    if name := _one_skill(entries):
        skills_shown.settled(screen, *librarian.settle_skill(name, wanted=True))
        return
    memory_shown.done(screen, "approved", librarian.approve(entries))


@memory.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "agents", "jsonl"]),
    default="md",
    help="md: what may be recalled, to read; agents: what is active, for an AGENTS.md; jsonl: all, a line each.",
    show_default=True,
)
@click.option(
    "--skills",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the approved skills instead, each as FOLDER/NAME/SKILL.md.",
)
@with_library
def export(screen: Screen, librarian: Librarian, /, form: str, *, folder: Path | None) -> None:
    """Print the entries in view for other readers, or hand on the approved skills."""
    from orchestrator.cli import document, skills_shown
    from orchestrator.cli.text import visible

    _take_in(screen, librarian)
    if folder is not None:
        skills_shown.exported(screen, librarian.skills_exported(), folder)
        return
    text = librarian.exported(cast("Form", form))
    if screen.json:
        document.write("dreamdock.memory.export/1", {"format": form, "content": text})
        return
    sys.stdout.write(visible(text))
    sys.stdout.flush()


@memory.command()
@with_library
def share(screen: Screen, librarian: Librarian, /) -> None:
    """Bring what others wrote, and push what is new here.

    Each write does so by itself, where the setting library.remote names a git repository.
    """
    from orchestrator.cli import document

    shared = librarian.shared()
    if screen.json:
        document.write("dreamdock.memory.share/1", shared._asdict())
        return
    words = {
        "brought what others wrote": shared.pulled,
        "merged it": shared.merged,
        "pushed what is new": shared.pushed,
    }
    screen.line(", ".join(word for word, so in words.items() if so) or "both have the same")


def _take_in(screen: Screen, librarian: Librarian) -> None:
    """Take in what people changed in the files; where that isn't possible now, say that this is as of before."""
    from orchestrator.cli.shelved import warn

    if why := librarian.take_in():
        warn(screen, f"shown is the last commit, without what was changed in the files since: {why}")


def _skill(reference: str) -> str:
    """Return the name of the skill that is meant; empty where it's an entry."""
    return reference.removeprefix("skills/").strip("/") if reference.startswith("skills/") else ""


def _one_skill(references: tuple[str, ...]) -> str:
    """Return the name of the skill that is meant; empty where entries are. Raises UsageError for it among others."""
    from orchestrator.errors import UsageError

    names = [name for name in map(_skill, references) if name]
    if names and len(references) > 1:
        raise UsageError("a skill is settled by itself", hint=f"name skills/{names[0]} alone")
    return names[0] if names else ""


def _read(text: str) -> str:
    return sys.stdin.read() if text == "-" else text


def _page(file: Path) -> bytes:
    from orchestrator.errors import NotFoundError

    try:
        return file.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"there is no file {file}", hint="name the page with --file") from error


def _in_editor(librarian: Librarian, draft: Draft) -> Done:
    """Have a person edit the page; whatever refuses it, the text is kept, and where is said."""
    from orchestrator.cli.editor import edited
    from orchestrator.errors import DreamdockError, UsageError

    file = edited(draft.page, draft.entry.id)
    page = file.read_bytes()
    try:
        if not page.strip():
            raise UsageError("the page is empty: nothing was changed", hint=f"dreamdock memory forget {draft.entry.id}")
        done = librarian.rewrite(draft, page, str(file))
    except DreamdockError as error:
        if page.strip():
            again = f"mend it, then: dreamdock memory edit {draft.entry.id} --file {shlex.quote(str(file))}"
            error.hint = f"your text is kept; {again}"
        else:
            file.unlink()
        raise
    file.unlink()
    return done
