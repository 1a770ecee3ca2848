"""Clears up behind hosts, however the process that had them ended: `python -m benchmarks.lan.janitor FOLDER MARK`.

It waits for the end of its standard input, which that process holds open; by then the kernel ends everything in the
hosts' namespaces. What is left is the folder, and in the control groups what is called MARK….
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CGROUPS: Final = Path("/sys/fs/cgroup")
_LONGEST_S: Final = 30.0


@contextmanager
def cleared(folder: Path, mark: str) -> Iterator[None]:
    """Have nothing left of a folder and of control groups after the block, or after this process."""
    argv = (sys.executable, "-m", "benchmarks.lan.janitor", str(folder), mark)
    janitor = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        janitor.communicate()
    if janitor.returncode:
        raise RuntimeError(f"the hosts left something behind: {folder}, {mark}")


def clear(folder: Path, mark: str) -> bool:
    """Remove what is left. Returns whether all could be removed."""
    deadline = time.monotonic() + _LONGEST_S
    while (left := _left(folder, mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not left


def _left(folder: Path, mark: str) -> bool:
    groups = [*_CGROUPS.glob(f"{mark}*"), *_CGROUPS.glob(f"*/{mark}*")]
    for group in groups:
        for inner in (*sorted(group.rglob("*/"), reverse=True), group):
            try:
                inner.rmdir()
            except OSError:
                continue  # A process in it is just ending.
    shutil.rmtree(folder, ignore_errors=True)
    return folder.exists() or any(group.exists() for group in groups)


if __name__ == "__main__":
    sys.stdin.read()
    sys.exit(not clear(Path(sys.argv[1]), sys.argv[2]))
