"""Every process of a container frozen from the host, PID 1 too: nothing that a process has prepared can wake it.

While a workspace is read, by the kernel's freezer; for a pause, by the engine, which uses the same and shows it.
One object has both, since to the kernel they are one state, and neither may end the other.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from sandbox.cgroup import UNIFIED, folders
from sandbox.errors import ChannelLost, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FREEZE_S = 5.0
"""Longest time that the kernel may take to freeze every process, in seconds: one may be waiting for a disk."""

_UNIFIED_FILE, _OLD_FILE = "cgroup.freeze", "freezer.state"


class Freezer:
    """Freezes one container, in any thread; `control` is the kernel's file for it, None where it can't be had."""

    def __init__(self, control: Path | None, *, pause: Callable[[], None], unpause: Callable[[], None]) -> None:
        """Take the engine's ways to freeze it and to let it go; see `control`."""
        self.control = control
        self._engine = {True: pause, False: unpause}
        self._turn = threading.Lock()
        self._held = False
        self._wanted = self._paused = False

    @contextlib.contextmanager
    def held(self, *, always: bool) -> Iterator[None]:
        """Let nothing run while the block does; where the kernel can't be told, and `always`, by the engine (50 ms).

        Raises WorkspaceError where a process can't be frozen, ChannelLost, and what the engine's ways raise.
        """
        if not (self.control or always):
            yield
            return
        frozen = False
        try:
            with self._turn:
                self._held = True
                if self.control and not self._paused:
                    frozen = True  # Or on the way to it.
                    freeze(self.control)
                elif not self._paused:
                    self._engine[True]()
                    frozen = True
            yield
        finally:
            with self._turn:
                self._held = False
                if frozen:
                    thaw(self.control) if self.control else self._engine[False]()
                self._settle()

    def let_die(self) -> None:
        """Thaw it, since v1 lets no kill through; but not what the engine has paused and can kill as it is."""
        if self.control is not None and not self._paused:
            thaw(self.control)

    def pause(self, *, wanted: bool = True) -> None:
        """Freeze it by the engine, or let it run on; what is held already is left alone until it's let go.

        Raises what the engine's ways raise.
        """
        with self._turn:
            before, self._wanted = self._wanted, wanted
            try:
                self._settle()
            except BaseException:
                self._wanted = before
                raise

    def _settle(self) -> None:
        if not self._held and self._wanted != self._paused:
            self._engine[self._wanted]()
            self._paused = self._wanted


def control(pid: int, container_id: str) -> Path | None:
    """Return the file that freezes a container, where this process may write it; see `folders`.

    That of cgroup v2 where there is a choice: it also freezes those that never cease to fork, and lets a kill through.
    """
    found = folders(pid, container_id)
    files = [found[name] / file for name, file in ((UNIFIED, _UNIFIED_FILE), ("freezer", _OLD_FILE)) if name in found]
    return next((file for file in files if os.access(file, os.W_OK)), None)


def freeze(control: Path, *, timeout_s: float = FREEZE_S) -> None:
    """Freeze every process of a cgroup. Raises WorkspaceError where one can't be, ChannelLost where it's gone."""
    is_old = control.name == _OLD_FILE
    state, frozen = (control, "FROZEN") if is_old else (control.with_name("cgroup.events"), "frozen 1")
    until, pause_s = time.monotonic() + timeout_s, 0.0001
    try:
        while True:
            control.write_text("FROZEN" if is_old else "1")  # v1 has to be told again while it says FREEZING.
            if frozen in state.read_text():
                return
            if time.monotonic() > until:
                raise WorkspaceError("the sandbox doesn't hold still", cause="a process can't be frozen")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.01)
    except OSError as error:
        raise ChannelLost("the sandbox is gone", cause=f"it can't be frozen: {error.strerror}") from error


def thaw(control: Path) -> None:
    """Let a frozen cgroup run on; nothing where it's gone."""
    with contextlib.suppress(OSError):
        control.write_text("THAWED" if control.name == _OLD_FILE else "0")
