"""Single key presses from a terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from typing import Any, Self


class Keys:
    """Reads keys without Enter while the block lasts; where standard input is no terminal, there are none."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def pressed(self, key: str, *, within: float) -> bool:
        """Wait for so many seconds; return at once, and true, when this key is pressed."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            if self._before is None:
                time.sleep(left)
            elif select.select([sys.stdin], [], [], left)[0]:
                data = os.read(sys.stdin.fileno(), 64)
                if key.encode() in data:
                    return True
                if not data:  # The terminal has gone.
                    return True
        return False
