"""The services of compose.yaml, started once: a project, a state folder and a Redis of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kit import SECRET
from running import repo, script, until

from benchmarks.stack import Stack
from orchestrator import api
from orchestrator.settings import Settings
from orchestrator.stack.compose import command
from orchestrator.stack.report import PlainReporter
from sandbox import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["repo", "script", "until"]
ROOT = Path(__file__).resolve().parents[2]
OWNER = 65534  # Not root: the state's owner, under whose id Redis runs.


class Services(Stack):
    """The running services, used through the command and through compose."""

    def compose(self, *arguments: str) -> str:
        """Run compose on the project and return what it prints."""
        return compose(self.environ, *arguments)

    def containers_of(self, service: str) -> list[Any]:
        """Return the containers of a service."""
        project = self.environ["COMPOSE_PROJECT_NAME"]
        labels = [f"com.docker.compose.project={project}", f"com.docker.compose.service={service}"]
        found: list[Any] = engine.client().containers.list(filters={"label": labels})
        return found


def compose(environ: dict[str, str], *arguments: str) -> str:
    """Run compose in the project's folder, as a person would."""
    done = subprocess.run(
        [*command(PlainReporter()), *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Yield the services, started by what `make compose` calls; nothing of them is left afterwards."""
    root = Path(tempfile.mkdtemp(prefix="ddc-"))
    state = root / "state"
    state.mkdir(mode=0o700)
    os.chown(state, OWNER, OWNER)
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("DREAMDOCK_", "COMPOSE_"))}
    environ |= {
        "COMPOSE_PROJECT_NAME": f"ddtest{os.getpid()}",
        "DREAMDOCK_STATE_DIR": str(state),
        "XDG_CONFIG_HOME": str(root / "config"),
        "MIMO_API_KEY": SECRET,
    }
    step = [sys.executable, "-m", "orchestrator.stack.compose"]
    elsewhere = environ | {"DREAMDOCK_REDIS_URL": f"unix://{root}/none.sock"}  # The services have one of their own.
    try:
        started = subprocess.run([*step, "up"], cwd=ROOT, env=elsewhere, capture_output=True, text=True, check=False)
        assert started.returncode == 0, started.stderr
        url = f"unix://{state}/run/redis.sock"
        assert f"export DREAMDOCK_REDIS_URL={url}\n" in started.stderr
        user = environ | {"DREAMDOCK_REDIS_URL": url, "DREAMDOCK_RUNTIME_DIR": str(root / "run")}
        settings = Settings(redis_url=url, state_dir=state, runtime_dir=root / "run")
        door = api.connect(settings)
        yield Services(settings, user, door)
        door.close()
    finally:
        stopped = subprocess.run([*step, "down"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        if str(state) in points:  # Not under systemd, where every mount is shared.
            subprocess.run(["umount", "--recursive", state], check=True)
        shutil.rmtree(root)
    assert stopped.returncode == 0, stopped.stderr
    assert [point for point in points if point.startswith(f"{state}/")] == [], "the services left mounts"
