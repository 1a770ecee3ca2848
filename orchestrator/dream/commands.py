"""Commands that the library knows are tried again: what holds, what fails, and what nobody can say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from orchestrator.library.entropy import scrubbed
from orchestrator.memory.plain import one_line
from orchestrator.redaction import REDACTED
from sandbox.errors import ChannelLost, SandboxError, WorkspaceFull

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from contextlib import AbstractContextManager

    from orchestrator.dream.sealed import Box
    from orchestrator.dream.verifier import Verifier
    from orchestrator.stop import Stop
    from sandbox.spec import CommandResult

MOST: Final = 20
"""Commands that one dream tries."""
_NEVER_RAN: Final = {126, 127}
"""What a shell says where there is no such program, or it can't be started."""
_SHELLS: Final = {"sh", "bash"}
_KILLED: Final = 137
"""What a shell says of a program that got a SIGKILL: here it's most likely memory that ran out."""
_OFF: Final = "commands aren't tried: dream.commands is off"
_TOO_LATE: Final = "the dream's time was up"
_LONGEST: Final = 200


class Holds(StrEnum):
    """Whether a command still does what the library says."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Tried:
    """What came of a command, and why, or what it printed last."""

    holds: Holds
    why: str = ""


def tried(
    commands: Sequence[str],
    repo: Verifier,
    stop: Stop,
    tell: Callable[[int, int], None],
    *,
    failing: Collection[str] = (),
) -> Iterator[tuple[str, Tried]]:
    """Try commands, each in a workspace of its own, and yield what came of it; of those that aren't it's unknown.

    One that fails is tried once more, but for those in `failing`, of which it's known: who fails only sometimes isn't
    called wrong. Raises Stopped.
    """
    done, why = 0, _OFF
    if not repo.seconds_left:
        why = _TOO_LATE
    elif repo.sealing is not None:
        try:
            with repo.sealing.ready(stop, repo.seconds_left) as fresh:
                for command in commands[:MOST]:
                    tell(done, min(len(commands), MOST))
                    result = _tried(command, fresh, repo, stop, again=command not in failing)
                    done += 1
                    yield command, result
            why = f"a dream tries {MOST} commands"
        except SandboxError as error:
            stop.check()  # That's why the container is gone.
            why = _words(error)
    for command in commands[done:]:
        yield command, Tried(Holds.UNKNOWN, why)


def in_turn(commands: Sequence[str], repo: Verifier, stop: Stop) -> Tried:
    """Try commands one after the other in one workspace, up to the first that doesn't pass, and say what came of it.

    Raises Stopped.
    """
    if repo.sealing is None:
        return Tried(Holds.UNKNOWN, _OFF)
    try:
        with repo.sealing.ready(stop, repo.seconds_left) as fresh:
            return _once(commands, fresh, repo, stop)
    except SandboxError as error:
        stop.check()
        return Tried(Holds.UNKNOWN, _words(error))


def _tried(
    command: str, fresh: Callable[[], AbstractContextManager[Box]], repo: Verifier, stop: Stop, *, again: bool
) -> Tried:
    """Try one command. Raises SandboxError where the next one wouldn't be told, either."""
    first = _once([command], fresh, repo, stop)
    if first.holds is Holds.NO and again:
        second = _once([command], fresh, repo, stop)
        return second if second.holds is not Holds.YES else Tried(Holds.UNKNOWN, f"it fails sometimes: {first.why}")
    return first


def _once(
    commands: Sequence[str], fresh: Callable[[], AbstractContextManager[Box]], repo: Verifier, stop: Stop
) -> Tried:
    if any(REDACTED in command for command in commands):
        return Tried(Holds.UNKNOWN, "a credential was left out of it")
    try:
        with fresh() as box:
            came = Tried(Holds.UNKNOWN, "it has no command")
            for came in _each(commands, box, repo):
                if came.holds is not Holds.YES:
                    break
            return came
    except (ChannelLost, WorkspaceFull) as error:  # It may be the command's own doing: the next one isn't to blame.
        stop.check()
        return Tried(Holds.UNKNOWN, _words(error))


def _each(commands: Sequence[str], box: Box, repo: Verifier) -> Iterator[Tried]:
    for command in commands:
        most = min(repo.command_seconds, repo.seconds_left)
        result = box.run(command, timeout_s=most) if most else None
        if result is None:
            came = Tried(Holds.UNKNOWN, _TOO_LATE)
        elif result.timed_out:
            came = Tried(Holds.UNKNOWN, f"no end after {most:.0f} s")
        else:
            came = _judged(command, result)
        which = f"`{one_line(command, _LONGEST)}`: " if len(commands) > 1 else ""
        yield Tried(came.holds, f"{which}{came.why}")


def _judged(command: str, result: CommandResult) -> Tried:
    if result.exit_code is None or result.exit_code == _KILLED:
        return Tried(Holds.UNKNOWN, "a signal ended it; the sandbox may have too little memory for it")
    if result.exit_code in _NEVER_RAN and not _in_repository(command):
        return Tried(Holds.UNKNOWN, f"the sandbox doesn't have it: {_last_line(result)}")
    if result.exit_code:
        return Tried(Holds.NO, ": ".join(filter(None, (f"exit code {result.exit_code}", _last_line(result)))))
    return Tried(Holds.YES, _last_line(result) or "it printed nothing")


def _in_repository(command: str) -> bool:
    """Whether a command's program is a file of the repository, by its path or for a shell: no image has to have it."""
    program, *rest = command.split() or [""]
    if program in _SHELLS:
        return bool(rest) and not rest[0].startswith("-")
    return "/" in program and not program.startswith("/")


def _last_line(result: CommandResult) -> str:
    text = result.output[-_LONGEST * 20 :].decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(scrubbed(lines[-1]), _LONGEST) if lines else ""


def _words(error: SandboxError) -> str:
    return one_line(scrubbed(error.words), _LONGEST)
