"""A whole stack of its own: supervisor, Redis, workers and keeper as real processes, in folders that go with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator import api, settings
from orchestrator.stack.report import PlainReporter
from orchestrator.stack.up import ensure_up, take_down
from sandbox.container import leftovers
from sandbox.policy import RUN_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.api import Door
    from orchestrator.settings import Settings

COMMAND: Final = str(Path(sys.executable).with_name("dreamdock"))


class Stack:
    """A running stack, used as a person would: through the command."""

    def __init__(self, settings: Settings, environ: dict[str, str], door: Door) -> None:
        self.settings = settings
        self.environ = environ
        self.door = door

    def __call__(
        self, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `dreamdock` to its end, with nothing on its standard input."""
        return subprocess.run(
            [COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=cwd,
            env=env or self.environ,
        )

    def json(self, *arguments: str, cwd: Path | None = None) -> Any:
        """Run `dreamdock … --json` and return its one document."""
        done = self(*arguments, "--json", cwd=cwd)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return json.loads(done.stdout)

    def detached(self, script: Path, repo: Path, *flags: str) -> str:
        """Submit a scripted run and return its id."""
        arguments = ("run", "mend it", "--repo", str(repo), "--model", f"scripted/{script}", "-d", *flags)
        done = self(*arguments)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout.strip()

    def containers(self, run_id: str) -> list[str]:
        """Return the ids of a run's containers, running or not."""
        return [found.id for found in leftovers() if found.labels.get(RUN_LABEL) == run_id]


@contextmanager
def own_stack(extra: Mapping[str, str]) -> Iterator[Stack]:
    """Run a stack of one worker, with `extra` in its environment; nothing of it is left after the block."""
    root = Path(tempfile.mkdtemp(prefix="dds-"))
    before = dict(os.environ)
    environ = {key: value for key, value in before.items() if not key.startswith("DREAMDOCK_")}
    environ |= {
        "DREAMDOCK_STATE_DIR": str(root / "state"),
        "DREAMDOCK_RUNTIME_DIR": str(root / "run"),
        "DREAMDOCK_WORKERS": "1",
        "XDG_CONFIG_HOME": str(root / "config"),
        **extra,
    }
    os.environ.clear()
    os.environ.update(environ)
    try:
        loaded = settings.load()
        ensure_up(loaded, PlainReporter())
        door = api.connect(loaded)
        try:
            yield Stack(loaded, environ, door)
        finally:
            door.close()
            take_down(loaded)
    finally:
        os.environ.clear()
        os.environ.update(before)
    left = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line]
    if left:
        raise RuntimeError(f"the stack left mounts: {left}")
    shutil.rmtree(root)
