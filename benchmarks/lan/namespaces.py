"""Namespaces that live as long as a process holds them, and that this process may enter."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CLONE_NEWNET: Final = 0x40000000
_BOTH_END: Final = ("setpriv", "--pdeathsig=KILL")
_START_S: Final = 10.0


class Box:
    """Processes in namespaces of their own: the first one's end is the end of all, as with a machine's power.

    The kernel ends them as well when the thread that switched it on has ended, however that happened: it has to be one
    that lives as long as the box is needed, the main thread.
    """

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds
        self._outer: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """The first process of it, as this machine counts; 0 while it's off."""

    def switch_on(self, *argv: str, environ: Mapping[str, str] | None = None) -> None:
        """Start its first process."""
        own = ["unshare", *(f"--{kind}" for kind in self._kinds), "--fork", "--kill-child"]
        self._outer = subprocess.Popen(
            [*_BOTH_END, *own, *argv],
            env=environ,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the process that has begun it all.
        )
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        deadline = time.monotonic() + _START_S
        while not (found := children.read_text().split()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{argv[0]} doesn't start")
            time.sleep(0.002)
        self.pid = int(found[0])

    @property
    def is_on(self) -> bool:
        """Whether its first process lives."""
        return self._outer is not None and self._outer.poll() is None

    def switch_off(self) -> None:
        """End every process of it at once."""
        if self._outer is None:
            return
        self._outer.kill()
        self._outer.wait()
        deadline = time.monotonic() + _START_S
        while Path(f"/proc/{self.pid}/ns").is_dir() and _is_alive(self.pid):  # It ends once all others have.
            if time.monotonic() > deadline:
                raise TimeoutError("a process doesn't end")
            time.sleep(0.005)
        self._outer, self.pid = None, 0

    def inside(self, *argv: str) -> list[str]:
        """Return a command line that runs another one inside; it ends when whoever runs it ends it."""
        kinds = [f"--{kind}" for kind in self._kinds if kind != "mount-proc"]
        return ["nsenter", "--target", str(self.pid), *kinds, "--wd=/", "--", *_BOTH_END, *argv]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread in the network of it, and what it starts, while the block runs."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        theirs = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _join(theirs)
            try:
                yield
            finally:
                _join(own)
        finally:
            os.close(own)
            os.close(theirs)


def _join(namespace: int) -> None:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
