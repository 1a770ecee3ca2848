"""The stack as services: `python -m orchestrator.stack.compose up|down`, in the project's folder.

compose.yaml says what they are; this lays out what it takes for granted: the engine, the image, the shared mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator import settings as settings_room
from orchestrator.errors import DreamdockError, UnavailableError
from orchestrator.journal import connection, presence
from orchestrator.stack.engine import ensure_engine
from orchestrator.stack.image import ensure_image
from orchestrator.stack.packages import Rights, install
from orchestrator.stack.process import run_told
from orchestrator.stack.report import PlainReporter
from orchestrator.stack.service_image import RECIPE_LABEL, ensure_service_image
from orchestrator.stack.up import environment, locked, make_folders
from sandbox import images
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from orchestrator.journal.address import Address
    from orchestrator.settings import Settings
    from orchestrator.stack.report import Reporter

STATE_DIR: Final = Path("/var/lib/dreamdock")
"""As in compose.yaml."""
KINDS: Final = ("worker", "keeper", "dream")
_COMMANDS: Final = (("docker", "compose"), ("docker-compose",))
_UP_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.1


def up(root: Path, settings: Settings, reporter: Reporter) -> None:
    """Start the services and wait until each has said that it is alive. Twice is as good as once.

    Raises UnavailableError and the errors of the engine and the images, each with what to type.
    """
    make_state_dir(settings.state_dir)
    make_folders(settings)
    with locked(settings):
        ensure_engine(reporter, log=settings.state_dir / "logs" / "dockerd.log")
        # The services' own base, whatever image runs are to use.
        base = ensure_image(settings.model_copy(update={"image": None}), reporter)
        ensure_service_image(root, base, reporter, scratch=settings.state_dir / "tmp")
        share(settings.state_dir, reporter)
        compose = command(reporter)
        with reporter.step("starting the services") as detail:
            start = (*_told_where(settings), *compose, "up", "--detach", "--remove-orphans")
            try:
                run_told(start, detail, failed="the services can't be started", hint=f"{' '.join(compose)} logs")
            except UnavailableError as error:
                if "unhealthy" in error.cause:  # Redis is what the others wait for; it knows why.
                    raise _silent_error(settings, compose, ["redis"]) from error
                raise
            _wait(settings, compose)
            images.prune(RECIPE_LABEL)  # What an earlier version ran on.
    reporter.line("the services are up; make compose-down stops them. To use them:")
    reporter.line(f"  export DREAMDOCK_STATE_DIR={settings.state_dir}")
    reporter.line(f"  export DREAMDOCK_REDIS_URL={connection.redis_url(settings).url}")


def down(settings: Settings, reporter: Reporter) -> None:
    """Stop the services; runs under way are released, and the state stays. Raises UnavailableError."""
    with reporter.step("stopping the services") as detail:
        stop = (*_told_where(settings), *command(reporter), "down")
        run_told(stop, detail, failed="the services can't be stopped", hint="make compose-down")


def command(reporter: Reporter) -> tuple[str, ...]:
    """Return the compose command of this machine; where there is none, Debian's is installed."""
    for words in _COMMANDS:
        if (
            shutil.which(words[0])
            and subprocess.run([*words, "version"], capture_output=True, check=False).returncode == 0
        ):
            return words
    install(["docker-compose"], reporter, why="start the services of compose.yaml")
    return _COMMANDS[-1]


def make_state_dir(folder: Path) -> None:
    """Make the state's folder where it is missing. It belongs to whoever typed the command, through sudo or not."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        # A question about the caller, not a setting.
        os.chown(folder, int(os.environ.get("SUDO_UID", "0")), int(os.environ.get("SUDO_GID", "0")))


def share(folder: Path, reporter: Reporter) -> None:
    """See to it that mounts made in a container below `folder` show on the host, where the engine looks for them.

    Under systemd all mounts are shared; elsewhere the folder becomes a shared mount of its own until the next boot.
    """
    find = ("findmnt", "--noheadings", "--output", "PROPAGATION", "--target", str(folder))
    told = subprocess.run(find, capture_output=True, text=True, check=False).stdout
    if "shared" in told.strip().split(","):
        return
    failed, hint = f"{folder} can't be made a shared mount", f"findmnt --target {folder}"
    for step in (("--bind", str(folder), str(folder)), ("--make-rshared", str(folder))):
        run_told(("mount", *step), reporter.line, failed=failed, hint=hint)


def _told_where(settings: Settings) -> tuple[str, str]:
    return ("env", f"DREAMDOCK_STATE_DIR={settings.state_dir}")


def _wait(settings: Settings, compose: tuple[str, ...]) -> None:
    deadline, address = time.monotonic() + _UP_SECONDS, connection.redis_url(settings)
    while silent := _silent(address):
        if time.monotonic() > deadline:
            raise _silent_error(settings, compose, silent)
        time.sleep(_PAUSE_SECONDS)


def _silent_error(settings: Settings, compose: tuple[str, ...], silent: list[str]) -> UnavailableError:
    """Return the error of services that don't come up, with what the first of them said last."""
    logs = (*_told_where(settings), *compose, "logs", "--no-color", "--tail=5", silent[0])
    lines = subprocess.run(logs, capture_output=True, text=True, check=False).stdout.strip().splitlines()
    words = [line.partition("|")[2].strip() or line for line in lines]
    last = next((word for word in reversed(words) if word.startswith("cause:")), words[-1] if words else "it's silent")
    hint = f"{' '.join(compose)} logs {silent[0]}"
    return UnavailableError(f"{' and '.join(silent)} can't start", cause=last.removeprefix("cause:").strip(), hint=hint)


def _silent(address: Address) -> list[str]:
    if not connection.ping(address):
        return ["redis"]
    with connection.connect(address) as client:
        return [kind for kind in KINDS if not presence.alive(client, kind)]


def _settings() -> Settings:
    """Return the settings as compose.yaml has them: the state is the machine's, and its own Redis lies below it."""
    loaded = settings_room.load()
    state = loaded.state_dir.resolve() if "state_dir" in loaded.model_fields_set else STATE_DIR
    return loaded.model_copy(
        update={"state_dir": state, "runtime_dir": state / "run", "redis_url": None, "redis_password_file": None}
    )


def main() -> int:
    """Do it, or say in three lines why not and what to type."""
    reporter, word = PlainReporter(), sys.argv[1]
    try:
        settings = _settings()
        if os.geteuid() != 0:
            return _as_root(settings, word)
        if word == "up":
            up(Path.cwd(), settings, reporter)
        else:
            down(settings, reporter)
    except (DreamdockError, SandboxError) as error:
        reporter.line(f"error: {error.message}\ncause: {error.cause}\ntry: {error.hint}")
        return error.exit_code
    return 0


def _as_root(settings: Settings, word: str) -> int:
    as_root = Rights.probe().as_root
    if as_root is None:
        raise UnavailableError(
            "the services take root to start",
            cause="mounts are shared and the engine is asked, and there is no password-less sudo",
            hint=f"sudo -E make {'compose' if word == 'up' else 'compose-down'}",
        )
    again = (*as_root, "-E", sys.executable, "-m", "orchestrator.stack.compose", word)
    return subprocess.run(again, env=environment(settings), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
