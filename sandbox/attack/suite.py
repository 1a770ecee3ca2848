"""The attack: every escape check in a real sandbox, made the way a run's is made.

A check holds only on evidence: its last command has to end with 0. It ends with anything else where an attempt
succeeds, fails for another reason than refusal, or doesn't come back.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.attack.check import Ground, HostCheck, NotHeld
from sandbox.attack.host import HOST, IDENTITY
from sandbox.attack.limits import CHANNEL, STRAIN
from sandbox.attack.neighbour import NEIGHBOUR
from sandbox.attack.network import NETWORK
from sandbox.attack.opening import opened
from sandbox.attack.privilege import PRIVILEGE
from sandbox.attack.repository import REPOSITORY
from sandbox.errors import SandboxError
from sandbox.shell import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandbox.attack.check import Check
    from sandbox.open import Sandbox
    from sandbox.shell import Shell

CHECKS: tuple[Check | HostCheck, ...] = (
    *(*NETWORK, *HOST, *IDENTITY, *PRIVILEGE, *CHANNEL),
    *(*REPOSITORY, *STRAIN, *NEIGHBOUR),
)
"""Every check, in the order of the page; those that strain the sandbox come last."""

_RESULT_LENGTH = 400


@dataclass(frozen=True)
class Verdict:
    """What came of one check. `result` is text from inside, made printable."""

    id: str
    promise: str
    attempt: str
    result: str
    held: bool


@dataclass(frozen=True)
class Bait:
    """What the checks try to reach on the host: all of it made for the occasion."""

    canary: Path
    """A file outside every workspace."""
    token: str
    """What is written in it."""
    port: int
    """A port of the host's loopback on which something listens."""
    abstract: str
    """Name of an abstract Unix socket on which something listens."""
    host: str
    """The host's name."""


@contextlib.contextmanager
def baited() -> Iterator[Bait]:
    """Lay out the bait while the block runs."""
    token = secrets.token_hex(16)
    with (
        tempfile.NamedTemporaryFile("w", prefix="dreamdock-canary-") as canary,
        socket.create_server(("127.0.0.1", 0)) as loopback,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        canary.write(token)
        canary.flush()
        Path(canary.name).chmod(0o644)
        name = f"dreamdock-{secrets.token_hex(8)}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        port = loopback.getsockname()[1]
        yield Bait(canary=Path(canary.name), token=token, port=port, abstract=name, host=socket.gethostname())


def attack(image: str, root: Path, checks: Sequence[Check | HostCheck] = CHECKS) -> Iterator[Verdict]:
    """Open a sandbox below `root`, a directory for workspaces, carry out every check in it, and clean up.

    Takes about twenty seconds. Raises what `open_sandbox` raises; what happens inside is told by the verdicts.
    """
    with opened(image, root) as box, baited() as bait:
        for check in checks:
            if isinstance(check, HostCheck):
                yield act(check, box, image, root, bait)
            else:
                yield carry_out(check, box, bait)


def act(check: HostCheck, box: Sandbox, image: str, root: Path, bait: Bait) -> Verdict:
    """Carry out a check that acts from the host, below `root`; see `carry_out`."""
    with tempfile.TemporaryDirectory(prefix="attack-", dir=root) as name:
        ground = Ground(box=box, image=image, folder=Path(name), canary=bait.canary, token=bait.token)
        try:
            held, result = True, check.probe(ground)
        except NotHeld as broken:
            held, result = False, str(broken)
        except SandboxError as error:
            held, result = False, f"{error.message}: {error.cause}"
    return Verdict(check.id, check.promise, check.attempt, one_line(result)[:_RESULT_LENGTH], held)


def carry_out(check: Check, shell: Shell | Sandbox, bait: Bait) -> Verdict:
    """Run one check. It never raises for what happens inside: a lost channel is a broken promise."""
    held, result = False, ""
    try:
        for step in check.steps:
            answer = shell.run(
                _filled(step.command, bait), timeout_s=step.timeout_s, stdin=_filled(step.stdin, bait).encode()
            )
            lines = answer.output.decode("utf-8", "replace").strip().splitlines()
            result = one_line(lines[-1]) if lines else f"ended with {answer.exit_code}"
            held = answer.exit_code == 0 and not answer.timed_out
    except SandboxError as error:
        held, result = False, f"{error.message}: {error.cause}"
    if len(result) > _RESULT_LENGTH:
        result = result[:_RESULT_LENGTH] + "…"
    return Verdict(check.id, check.promise, check.attempt, result, held)


def _filled(text: str, bait: Bait) -> str:
    for name in ("canary", "token", "port", "abstract", "host"):
        text = text.replace(f"@{name}@", str(getattr(bait, name)))
    return text
