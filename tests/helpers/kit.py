"""What the end-to-end tests use: the command of a running stack, and calls for scripted runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import engine

if TYPE_CHECKING:
    from orchestrator.api import Door
    from orchestrator.settings import Settings

COMMAND = str(Path(sys.executable).parent / "dreamdock")
SECRET = "sk-e2e-this-is-no-real-key-4711"  # noqa: S105  # Made up; the tests look for it where it mustn't be.


SUBMIT = ("submit", {"summary": "done"})
MEND = (
    "edit",
    {
        "path": "ledger/split.py",
        "old": "    share = cents // len(people)\n    return {person: share for person in people}\n",
        "new": "    share, rest = divmod(cents, len(people))\n"
        "    return {person: share + (place < rest) for place, person in enumerate(people)}\n",
    },
)


class Stack:
    """The stack under test, used as a person would: through the command."""

    def __init__(self, settings: Settings, environ: dict[str, str], door: Door) -> None:
        self.settings = settings
        self.environ = environ
        self.door = door

    def __call__(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run `dreamdock` to its end."""
        options = {"env": self.environ, "capture_output": True, "text": True, "timeout": 120, "check": False} | more
        return subprocess.run([COMMAND, *arguments], **options)  # noqa: PLW1510  # check is in the options.

    def json(self, *arguments: str) -> Any:
        """Run `dreamdock … --json` and return its one document."""
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def detached(self, script: Path, repo: Path, *flags: str) -> str:
        """Submit a scripted run and return its id."""
        arguments = ("run", "mend it", "--repo", str(repo), "--model", f"scripted/{script}", "-d", *flags)
        done = self(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def containers(self, run_id: str) -> list[str]:
        """Return the ids of a run's containers, running or not."""
        label = f"dreamdock.run={run_id}"
        return [found.id for found in engine.client().containers.list(all=True, filters={"label": label})]
