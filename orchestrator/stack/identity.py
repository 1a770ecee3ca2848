"""Which process is meant: a pid alone may belong to another by now."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import signal

_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Identity:
    """A process by pid, start time (clock ticks since boot) and boot."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the identity of a living process, or None."""
        fields = _stat(pid)
        return cls(pid=pid, started=int(fields[19]), boot=boot_id()) if fields and fields[0] not in "ZX" else None

    @classmethod
    def parse(cls, value: Any) -> Self | None:
        """Read what `dump` wrote; None for anything else."""
        try:
            return cls(pid=int(value["pid"]), started=int(value["started"]), boot=str(value["boot"]))
        except (KeyError, TypeError, ValueError):
            return None

    def dump(self) -> dict[str, int | str]:
        """Return it as JSON's types."""
        return asdict(self)

    def is_alive(self) -> bool:
        """Whether this very process runs."""
        return Identity.of(self.pid) == self

    def kill(self, number: signal.Signals, *, as_root: tuple[str, ...] = ()) -> None:
        """Send a signal, if it is still this process. `as_root` goes in front of `kill` where rights are lacking."""
        if not self.is_alive():
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return
        except PermissionError:
            if not as_root:
                raise
            subprocess.run([*as_root, "kill", f"-{number.value}", str(self.pid)], capture_output=True, check=False)

    def wait_gone(self, seconds: float) -> bool:
        """Wait until it has ended; False where it hasn't within `seconds`."""
        deadline = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
        return True


@cache
def boot_id() -> str:
    """Return what the kernel calls this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, which may hold spaces and parentheses; empty where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
