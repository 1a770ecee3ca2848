"""The diagnostics of a command: read from its whole output, and shown with the source around them.

A command that failed is read: it says why. One that ended well is read only where its line tells that compilers,
linters, builds or tests speak (`diagnostics.command`); the text of files, histories and searches never is, since it's
full of places that are no findings of now. Of what ended well only places in files that are there count: warnings,
which say themselves that they are such; and errors where the exit code isn't the tool's, as behind `| tail` or
`|| true`, and the output says that something failed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orchestrator.agent.report import reports
from orchestrator.agent.shown import clean, is_binary
from orchestrator.diagnostic import LARGEST_READ, MOST_KEPT, Diagnostic, Severity
from orchestrator.diagnostics.command import command as spoken
from orchestrator.diagnostics.command import says_no
from orchestrator.diagnostics.paths import Files
from orchestrator.diagnostics.reading import read
from orchestrator.diagnostics.told import BUDGET, listed
from orchestrator.diagnostics.told import told as shown
from sandbox.errors import WorkspaceError
from sandbox.spec import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from orchestrator.agent.listing import Listing
    from sandbox.open import Sandbox
    from sandbox.spec import CommandResult

OUTPUTS: Final = f"{WORKSPACE}/.dreamdock/output"
"""Where the sandbox keeps the whole of long outputs; no part of checkpoints."""
_LARGEST_OUTPUT: Final = 4 * 1024 * 1024
_LARGEST_SOURCE: Final = 1024 * 1024
_SHARE: Final = 8
"""One part in so many of what a result may have is for its diagnostics."""
_FRAMES: Final = 5
"""Frames that are kept of one diagnostic: the last ones that are the repository's."""


def diagnosed(
    sandbox: Sandbox, result: CommandResult, command: str = "", listing: Listing | None = None
) -> tuple[Diagnostic, ...]:
    """Return what a command says of places in the code, in its output and in the reports that it wrote.

    Without the `listing` of the workspace's files, names without a directory stay as they are, and nothing is read of
    a command that ended well.
    """
    said, well = spoken(command), result.exit_code == 0
    if said.quotes or (well and not (said.speaks and listing is not None)):
        return ()
    output = result.output
    if result.whole and result.total_bytes > len(output):
        # Where that file is gone, or too large, its head and tail must do.
        output = _read(sandbox, result.whole, LARGEST_READ if well else _LARGEST_OUTPUT) or output
    text = clean(output)
    cwd = result.cwd.removeprefix(WORKSPACE) if result.cwd.startswith(f"{WORKSPACE}/") else ""
    find = listing.find if listing is not None else _nowhere
    files = Files(find, root=WORKSPACE, cwd=cwd, all_names=well)
    found = read(text, files=files)
    # A report is exact, and has the whole message: what the output says of the same places is left out.
    written = reports(sandbox, command, result) if said.speaks else ()
    told = tuple(one for report in written for one in read(report, files=files))
    known = {(one.file, one.line) for one in told if one.line}
    found = tuple(one for one in found if (one.file, one.line) not in known)
    if not well:
        return (*told, *found)
    told = told if said.checks or said.hidden else _warnings(told)
    found = found if said.checks or (said.hidden and says_no(text)) else _warnings(found)
    return tuple(one for one in (*told, *found) if one.line and files.exists(one.file))


def _nowhere(_: Collection[str]) -> tuple[str, ...]:
    return ()


def _warnings(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(one for one in found if one.severity is Severity.WARNING)


def block(sandbox: Sandbox, found: Sequence[Diagnostic], longest: int, number: int = 0) -> str:
    """Return how they are shown to the model, in a small part of `longest` characters; empty for none.

    Where not all places fit, a file inside has all of them, and the block names it; `number` is the command's, 0 for
    no such file.
    """

    def source(path: str) -> str | None:
        data = _read(sandbox, path, _LARGEST_SOURCE)
        return clean(data) if data and not is_binary(data) else None

    def rest() -> str:
        path = f"{OUTPUTS}/{number}.places"
        with suppress(WorkspaceError):  # A full disk, or something else in that place: then they are counted.
            if number:
                sandbox.write(path, listed(found).encode("utf-8", "replace"))
                return path
        return ""

    return shown(found, source=source, rest=rest, budget=min(BUDGET, longest // _SHARE))


def kept(found: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return what the journal keeps of them: errors before warnings, no notes, and of each a few frames."""
    first = sorted(
        (one for one in found if one.severity is not Severity.NOTE), key=lambda one: one.severity is not Severity.ERROR
    )
    return tuple(
        one.model_copy(update={"frames": tuple(frame for frame in one.frames if frame.ours)[-_FRAMES:]})
        for one in first[:MOST_KEPT]
    )


def _read(sandbox: Sandbox, path: str, limit: int) -> bytes:
    """Return a file inside; nothing where it can't be read."""
    try:
        return sandbox.read(path, limit=limit)
    except (WorkspaceError, ValueError):
        return b""
