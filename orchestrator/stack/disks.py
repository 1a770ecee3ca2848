"""What runs' own disks take of this machine: mkfs.ext4, and loop devices."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from orchestrator.stack.packages import install
from sandbox.disk import mkfs
from sandbox.loop import CONTROL

if TYPE_CHECKING:
    from orchestrator.stack.report import Reporter


def ensure_disks(reporter: Reporter) -> None:
    """Have them where they are missing. Raises UnavailableError where mkfs.ext4 can't be installed.

    Whether disks can be mounted, `doctor` tries, and each run.
    """
    if mkfs() is None:
        install(["e2fsprogs"], reporter, why="give each run a disk of its own")
    if not CONTROL.exists() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "loop"], capture_output=True, check=False)
