"""The tools that run something: bash in the resident shell, grep and glob as ripgrep; and what is left running."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orchestrator.agent.diagnosed import OUTPUTS, block, diagnosed, kept
from orchestrator.agent.outcome import Outcome, failed
from orchestrator.agent.shown import clean, cut
from orchestrator.agent.signal import signal
from orchestrator.diagnostic import Severity
from orchestrator.endings import how
from sandbox.errors import FileProblem
from sandbox.spec import WORKSPACE

if TYPE_CHECKING:
    from orchestrator.agent.arguments import Bash, Glob, Grep, Processes
    from orchestrator.agent.listing import Listing
    from sandbox.open import Sandbox
    from sandbox.spec import CommandResult

_SEARCH_SECONDS: Final = 60.0
_SEARCH_LINES: Final = 200
_NOT_OURS: Final = ("--glob", "!/.git", "--glob", "!/.dreamdock")
_NOTHING_FOUND: Final = 1  # ripgrep's exit codes.
_SEARCH_FAILED: Final = 2
_LONGEST_COMMAND: Final = 300
_MOST_KEPT: Final = 64 * 1024
"""Bytes of an output that is kept there by us."""


def bash(sandbox: Sandbox, arguments: Bash, longest_s: float, longest: int, listing: Listing | None = None) -> Outcome:
    """Run a command in the resident shell for at most `longest_s` seconds, and show what its output tells."""
    allowed = min(arguments.timeout or longest_s, longest_s)
    result = sandbox.run(arguments.command, timeout_s=allowed)
    found = diagnosed(sandbox, result, arguments.command, listing)
    # Warnings of a command that ended well are kept for their story: the model has read them, and didn't ask for more.
    told = result.exit_code != 0 or any(one.severity is Severity.ERROR for one in found)
    places = block(sandbox, found, longest, result.number) if told else ""
    before = max(0, result.total_bytes - len(result.output))
    shown = signal(result.output, longest=longest - len(places), before=before)
    lines = [shown.text] if shown.text else []
    lines.append(f"[{_end(result, allowed)}]")
    if shown.partial and (whole := result.whole or _kept(sandbox, result)):
        lines.append(f"[the whole output is in {whole}]")
    lines += [f"[{note}]" for note in result.notes]
    lines += [places] if places else []
    return replace(_outcome(result, "\n".join(lines), ok=not result.timed_out), diagnostics=kept(found))


def grep(sandbox: Sandbox, arguments: Grep, longest_s: float, longest: int) -> Outcome:
    """Search file contents."""
    argv = ["rg", "--line-number", "--no-heading", "--with-filename", "--color=never", "--hidden", "--sort=path"]
    argv += ["--max-columns=300", "--max-columns-preview", *_NOT_OURS]
    argv += ["--ignore-case"] if arguments.ignore_case else []
    argv += ["--glob", arguments.glob] if arguments.glob else []
    return _search(sandbox, [*argv, "--regexp", arguments.pattern, "--", arguments.path], longest_s, longest)


def glob(sandbox: Sandbox, arguments: Glob, longest_s: float, longest: int) -> Outcome:
    """List files by name."""
    argv = ["rg", "--files", "--color=never", "--hidden", "--sort=path", *_NOT_OURS, "--glob", arguments.pattern]
    return _search(sandbox, [*argv, "--", arguments.path], longest_s, longest)


def processes(sandbox: Sandbox, arguments: Processes, longest: int) -> Outcome:
    """List what runs in the background, after one of it was stopped if so asked."""
    if arguments.stop and not sandbox.stop(arguments.stop):
        return failed(f"no process {arguments.stop} runs in the background; without stop they are listed")
    lines = [f"[process {arguments.stop} was stopped]"] if arguments.stop else []
    running = sandbox.background()
    lines += [f"{one.pid}  {one.seconds:.0f} s  {clean(one.command.encode())[:_LONGEST_COMMAND]}" for one in running]
    if not running:
        lines.append("nothing runs in the background")
    return Outcome(cut("\n".join(lines), longest=longest))


def _search(sandbox: Sandbox, argv: list[str], longest_s: float, longest: int) -> Outcome:
    result = sandbox.exec(argv, timeout_s=min(_SEARCH_SECONDS, longest_s))
    text = clean(result.output)
    if result.timed_out:
        return failed("the search took too long; search in a smaller path")
    if result.exit_code == _NOTHING_FOUND and not text.strip():
        return _outcome(result, "nothing found", ok=True)
    if result.exit_code not in {0, _NOTHING_FOUND, _SEARCH_FAILED}:
        return failed(f"the search failed: {cut(text, longest=1000).strip() or _end(result, _SEARCH_SECONDS)}")
    lines = [line.removeprefix("./") for line in text.splitlines()]
    found = "\n".join(lines[:_SEARCH_LINES])
    if len(lines) > _SEARCH_LINES:
        found += f"\n[… {len(lines) - _SEARCH_LINES:,} lines left out; search more narrowly …]"
    return _outcome(result, cut(found, longest=longest), ok=result.exit_code != _SEARCH_FAILED)


def _kept(sandbox: Sandbox, result: CommandResult) -> str:
    """Keep an output that the sandbox found too short to keep, and return where it lies; empty where that fails.

    Only what isn't shown whole takes the time for it.
    """
    if len(result.output) != result.total_bytes or result.total_bytes > _MOST_KEPT:
        return ""
    path = f"{OUTPUTS}/{result.number}"
    with suppress(FileProblem):  # A full disk, or something else in that place: the command isn't to blame.
        sandbox.write(path, result.output)
        return path
    return ""


def _end(result: CommandResult, allowed_s: float) -> str:
    end = how(exit_code=result.exit_code, signal=result.signal, timed_out=result.timed_out)
    if result.timed_out:
        return f"{end} after {allowed_s:g} s; its processes were ended"
    return end if result.cwd == WORKSPACE else f"{end}; working directory {clean(result.cwd.encode())}"


def _outcome(result: CommandResult, content: str, *, ok: bool) -> Outcome:
    return Outcome(
        content,
        ok=ok,
        exit_code=result.exit_code,
        signal=result.signal,
        timed_out=result.timed_out,
        duration_s=result.duration_s,
        total_bytes=result.total_bytes,
        cwd=result.cwd,
    )
