"""One process at a time, on this host; a kill releases it."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orchestrator.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BETWEEN_S: Final = 0.02


@contextmanager
def alone(file: Path, *, wait_s: float) -> Iterator[None]:
    """Hold a file's lock while the block runs. Raises UnavailableError where others hold it for `wait_s` seconds."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        "the library is in use", cause=f"another process holds {file.name} for {wait_s:g} s"
                    ) from error
                time.sleep(_BETWEEN_S)
        yield
    finally:
        os.close(descriptor)
