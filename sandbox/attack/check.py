"""The escape checks as data: what is promised, what is tried, and the commands that try it.

A check is held when its last command ends with 0; a few act from the host and say for themselves. Names between @
signs are filled in with the bait. Most commands are Python probes: `refused` demands a refusal by the policy (EPERM,
EACCES, ENOSYS), so that a kernel that merely lacks something, or a mistake in the probe, doesn't pass for a promise
that is kept.
"""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003  # The field of a dataclass.
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.spec import Limits

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.open import Sandbox

LIMITS = Limits(memory_mb=256, cpus=1.0, pids=128, tmpfs_mb=32, command_seconds=60)
"""Limits of the sandbox that is attacked: small ones show sooner whether they bite."""

_PROBE = """
import ctypes, errno, os, platform, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)
seen, broken = {}, []
def say(outcome, name, held):
    seen.setdefault(outcome, []).append(name)
    if not held:
        broken.append(f"{name}: {outcome}")
def refused(name, attempt, errors=REFUSALS):
    try:
        attempt()
    except OSError as error:
        say(errno.errorcode.get(error.errno, str(error)), name, error.errno in errors)
    else:
        say("allowed", name, False)
def syscall(x86, arm, *arguments):
    result = libc.syscall(*map(ctypes.c_long, (x86 if X86 else arm, *arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
def done():
    text = "; ".join(f"{outcome}: {', '.join(names)}" for outcome, names in seen.items())
    print("NOT HELD: " + "; ".join(broken) if broken else text)
    sys.exit(bool(broken))
"""


@dataclass(frozen=True)
class Step:
    """One command of a check, in seconds and text."""

    command: str
    stdin: str = ""
    timeout_s: float = 20.0


@dataclass(frozen=True)
class Check:
    """One promise, how it is tried, and the commands that try it."""

    id: str
    promise: str
    attempt: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Ground:
    """What a check that acts from the host has at hand."""

    box: Sandbox
    """The sandbox that is attacked."""
    image: str
    folder: Path
    """An empty directory of the check's own, for sandboxes and sources."""
    canary: Path
    """A file of the host, and what is written in it."""
    token: str


class NotHeld(Exception):  # noqa: N818  # States what is so.
    """A promise was broken, or nothing shows that it was kept; the text says how."""


@dataclass(frozen=True)
class HostCheck:
    """One promise about what the host does with what comes from inside, and the function that tries it.

    `probe` returns what was seen, and raises NotHeld.
    """

    id: str
    promise: str
    attempt: str
    probe: Callable[[Ground], str]


def python_check(name: str, promise: str, attempt: str, probe: str, *, timeout_s: float = 20.0) -> Check:
    """Return a check that is one Python probe; the functions above are at its hand."""
    return Check(name, promise, attempt, (Step("python3 -I -", f"{_PROBE}{probe}\ndone()\n", timeout_s),))
