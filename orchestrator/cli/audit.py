"""`dreamdock audit`: what a run executed, wrote and installed, and whether its journal is as it was written."""

from __future__ import annotations

import platform
import shlex
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from orchestrator.audit import Audit, AuditEntry
    from orchestrator.cli.screen import Screen

LATEST: Final = "@"
_RIGHT: Final = (0, 2, 4, 5)
_NEWLINE: Final = "␊"  # As `visible` pictures other control characters: each entry is one line.
_FILE: Final = click.Path(path_type=Path)


@click.command()
@run_argument
@click.option("--verify", is_flag=True, help="Say whether the journal is as it was written, and who vouches for it.")
@click.option("--export", "target", metavar="FILE", type=_FILE, help="Write it to a file that verifies elsewhere, too.")
@click.option("--bundle", "source", metavar="FILE", type=_FILE, help="Audit such a file; no RUN, no Redis.")
@click.option("--key", "keys", metavar="PUBLIC", multiple=True, help="With --bundle: the key that counts; repeatable.")
@click.option(
    "--show-key",
    is_flag=True,
    help="Print this machine's public key, as lines for the settings of whoever verifies, and no more.",
)
@with_screen
def audit(
    screen: Screen,
    /,
    run: str,
    *,
    verify: bool,
    target: Path | None,
    source: Path | None,
    keys: tuple[str, ...],
    show_key: bool,
) -> int:
    """List what a run executed, wrote and installed; verify its journal.

    Each command with its exit code inside the sandbox, each file changed, each dependency, each verdict.
    The journal is held against its hash chain, its record, the workers' signatures and the checkpoints.
    The exit code is 1 where it isn't as it was written, or nobody who counts here vouches for it.
    """
    from orchestrator.errors import UsageError

    if show_key:
        return _show_key(screen)
    if source is not None and (run != LATEST or target is not None):
        raise UsageError("--bundle is a run of its own", hint="dreamdock audit --bundle FILE")
    if keys and source is None:
        raise UsageError("--key is for --bundle", hint="for runs, pin signers: dreamdock audit --show-key")
    told = _from_bundle(source, keys) if source is not None else _from_run(run, target)
    if screen.json:
        _write(told, target)
        return exit_code(told)
    show(screen, told, verify=verify or source is not None or target is not None)
    if target is not None:
        key = f" --key {told.check.signers[0].text}" if told.check.signers else ""
        screen.say(f"written to {target}")
        screen.next(f"dreamdock audit --bundle {shlex.quote(str(target))}{key}")
    return exit_code(told)


def exit_code(told: Audit) -> int:
    """Return what the command exits with."""
    return 0 if told.check.ok else 1


def show(screen: Screen, told: Audit, *, verify: bool) -> None:
    """Print the entries; with `verify`, or where something is wrong, also what the check found."""
    _list(screen, told)
    if verify or not told.check.ok:
        conclude(screen, told)


def conclude(screen: Screen, told: Audit) -> None:
    """Print what the check found; on a terminal long lines are broken under their own beginning."""
    from rich.text import Text

    from orchestrator.cli.layout import beside

    first, *rest = verdict(told)
    beside(screen, Text(), first)
    for line in rest:
        beside(screen, Text("  "), line)


def _list(screen: Screen, told: Audit) -> None:
    """Print the entries; on a terminal what they say is broken under its own column, on a pipe each is one line."""
    from rich.text import Text

    from orchestrator.cli import layout
    from orchestrator.cli.wording import PROSE_LINES

    rows = _rows(told)
    if not screen.tty:
        screen.lines(layout.table(rows, right=_RIGHT))
        return
    for gutter, row in zip(layout.table([[*row[:-1], Text()] for row in rows], right=_RIGHT), rows, strict=True):
        layout.beside(screen, gutter, row[-1], limit=PROSE_LINES)


def _rows(told: Audit) -> list[list[Text]]:
    from rich.text import Text

    from orchestrator.cli.text import duration, visible

    rows = [[Text(word, "dim") for word in ("SEQ", "TIME", "STEP", "KIND", "EXIT", "TOOK", "WHAT")]]
    rows += [
        [
            Text(str(entry.seq), "dim"),
            Text(f"{entry.at:%H:%M:%S}" if entry.at else "", "dim"),
            Text("" if entry.step is None else str(entry.step)),
            Text(entry.kind),
            Text("" if entry.exit_code is None else str(entry.exit_code), "red" if entry.exit_code else ""),
            Text("" if entry.duration_s is None else duration(entry.duration_s), "dim"),
            Text(visible(_of(entry)).replace("\n", _NEWLINE)),
        ]
        for entry in told.entries
    ]
    return rows


def _of(entry: AuditEntry) -> str:
    """Return what was done; who did it stands before, where that was a sub-agent."""
    text = entry.text.strip().expandtabs(4)
    return f"{entry.agent}: {text}" if entry.agent else text


def verdict(told: Audit) -> list[Text]:
    """Return what the check found: whether all is well; below that, indented where it's shown, who vouches for what."""
    from rich.text import Text

    from orchestrator.cli.text import plural, visible

    check = told.check
    if not check.ok:
        said = Text.assemble((f"✗ {check.kind}", "red"), f" · {visible(check.why)}")
        return [said, *map(Text, _unpinned(told))]
    said = Text.assemble(("✓ verified", "green"), f" · {plural(check.events, 'event')} chained")
    head = f"head {check.head}"
    if not check.signatures:
        return [said, Text(head), Text("not signed: no worker has carried the run")]
    who = ", ".join(f"{visible(key.name)} ({key.id})" for key in check.signers)
    lines = [head, f"signed by {who}: {plural(check.signatures, 'signature')}, the last one at event {check.signed_to}"]
    if check.checkpoints:
        where = "bundle" if told.bundled else "store"
        lines.append(
            f"{plural(check.checkpoints, 'checkpoint')} in the {where} carry the heads that they were taken at"
        )
    if check.signed_to < check.events:
        first = check.signed_to + 1
        which = f"event {first}" if first == check.events else f"events {first} to {check.events}"
        lines.append(f"{which} came after the last signature: whoever writes to Redis may have written them")
    if not told.over:
        lines.append("the run isn't over: there may be more of it")
    if told.unread:
        lines.append(f"{plural(told.unread, 'event')} can't be read by this version; the chain holds over their bytes")
    return [said, *map(Text, lines)]


def _unpinned(told: Audit) -> list[str]:
    from orchestrator.cli.text import visible
    from orchestrator.journal.signing import OWN

    if told.check.kind != "unpinned":
        return []
    theirs = {OWN: "the exporter's own key"}  # "This machine" was another one.
    named = [
        f"it names {visible(theirs.get(name, name))[:80]}: {visible(key)[:80]}; does its owner confirm that?"
        for name, key in told.named
    ]
    return [*named, "try: dreamdock audit --show-key, on the machine whose worker signed; then pin it under [signers]"]


def _from_run(run: str, target: Path | None) -> Audit:
    from orchestrator.cli.door import found

    with found(run) as (door, run_id), ExitStack() as closing:
        file: IO[bytes] | None = closing.enter_context(_created(target)) if target is not None else None
        return door.audit(run_id, export=file)


@contextmanager
def _created(path: Path) -> Iterator[IO[bytes]]:
    """Make a file that isn't there yet; what goes wrong while it's written leaves none."""
    from orchestrator.errors import UsageError

    try:
        file = path.open("xb")
    except FileExistsError as error:
        raise UsageError(f"{path} exists already", hint="name another file") from error
    try:
        with file:
            yield file
    except BaseException:
        path.unlink()
        raise


def _from_bundle(path: Path, keys: tuple[str, ...]) -> Audit:
    from orchestrator import api, settings
    from orchestrator.errors import NotFoundError

    try:
        file = path.open("rb")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"there is no bundle {path}", hint="dreamdock audit RUN --export FILE") from error
    with file:
        return api.audit_bundle(settings.load(), file, keys)


def _show_key(screen: Screen) -> int:
    from orchestrator import api, settings
    from orchestrator.cli import document

    key, host = api.machine_key(settings.load()), platform.node()
    if screen.json:
        document.write("dreamdock.key/1", {"host": host, "key": key.text, "id": key.id})
        return 0
    screen.line("[signers]")
    screen.line(f'"{host}" = "{key.text}"')
    screen.say("for the settings file of whoever verifies; where [signers] is there already, the second line is enough")
    return 0


def _write(told: Audit, target: Path | None) -> None:
    from orchestrator.cli import document

    check = told.check
    fields: dict[str, Any] = {
        "run": told.run,
        "entries": [entry.model_dump(mode="json") for entry in told.entries],
        "verified": check.ok,
        "broken_at": check.broken_at or None,
        "kind": check.kind or None,
        "why": check.why,
        "events": check.events,
        "head": check.head,
        "over": told.over,
        "unread": told.unread,
        "signatures": check.signatures,
        "signed_to": check.signed_to or None,
        "signers": [{"name": key.name, "id": key.id, "key": key.text} for key in check.signers],
        "checkpoints": check.checkpoints,
    }
    if target is not None:
        fields["file"] = str(target)
    document.write("dreamdock.audit/1", fields)
