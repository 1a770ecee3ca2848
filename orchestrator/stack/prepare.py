"""What the tests need beside the venv, an engine and the base image: `python -m orchestrator.stack.prepare`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from orchestrator import settings as settings_room
from orchestrator.errors import DreamdockError
from orchestrator.stack import packages
from orchestrator.stack.disks import ensure_disks
from orchestrator.stack.engine import ensure_engine
from orchestrator.stack.image import ensure_image
from orchestrator.stack.packages import Rights
from orchestrator.stack.report import PlainReporter
from orchestrator.stack.up import environment, make_folders
from sandbox.errors import SandboxError

_PACKAGES = {
    "podman": "podman",
    "qemu-system-x86": "qemu-system-x86_64",
    "busybox-static": "busybox",
    "datefudge": "datefudge",
}
"""Debian packages, and a program of each."""


def main() -> int:
    """Do it, or say in three lines why not and what to type."""
    reporter = PlainReporter()
    try:
        settings = settings_room.load()
        make_folders(settings)
        if os.geteuid() != 0 and (as_root := Rights.probe().as_root):
            again = [*as_root, "-E", sys.executable, "-m", "orchestrator.stack.prepare"]
            return subprocess.run(again, env=environment(settings), check=False).returncode
        ensure_engine(reporter, log=settings.state_dir / "logs" / "dockerd.log")
        ensure_disks(reporter)
        ensure_image(settings, reporter)
        lacking = [package for package, program in _PACKAGES.items() if shutil.which(program) is None]
        if lacking:
            packages.install(
                lacking,
                reporter,
                why="test the sandbox over Podman, on an emulated kernel, and on a host whose clock is off",
            )
    except (DreamdockError, SandboxError) as error:
        reporter.line(f"error: {error.message}\ncause: {error.cause}\ntry: {error.hint}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
