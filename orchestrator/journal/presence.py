"""Which workers and keepers are alive: each says so every few seconds, in a key that expires."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import ConfigDict, Field, ValidationError

from orchestrator.dialogue import Value
from orchestrator.errors import DeniedError, UnavailableError
from orchestrator.journal import keys
from orchestrator.journal.connection import available

if TYPE_CHECKING:
    from redis import Redis

EVERY_SECONDS: Final = 2.0
_EXPIRE_SECONDS: Final = 8


def pid_namespace() -> int:
    """Return the kernel's number of this process's pid namespace."""
    return Path("/proc/self/ns/pid").stat().st_ino


class Offer(Value):
    """What a worker has for a run; see `runs.Requires`.

    `memory_mb` and `cpus` are the most that a sandbox of its may have, `images` those of its engine, by name, `stores`
    the ids of the stores that it reads: its own, and `remote` where it has a checkpoint remote. `format` is the newest
    vocabulary of events that it reads.
    """

    model_config = ConfigDict(extra="ignore")

    memory_mb: int = 0
    cpus: float = 0.0
    gpus: int = 0
    labels: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    format: int = 0


class Presence(Value):
    """One living process.

    `kind` is worker (it takes runs), dream (it takes dreams) or keeper; `models` names the families whose key it has.
    `namespace` is the kernel's number of its pid namespace: it tells containers of one host apart, and `host_id` hosts
    of one name. What a newer version says beside that is left alone.
    """

    model_config = ConfigDict(extra="ignore")

    kind: str
    name: str
    host: str
    pid: int
    version: str
    namespace: int = Field(default_factory=pid_namespace)
    models: tuple[str, ...] = ()
    host_id: str = ""
    offer: Offer = Offer()


class Beat:
    """Says that this process is alive, from a thread, until the block ends."""

    def __init__(self, client: Redis, presence: Presence) -> None:
        self._client = client
        self._presence = presence
        self._owner = os.getpid()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="presence", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() != self._owner:  # A forked child that unwinds is not the process that is leaving.
            return
        self._ended.set()
        self._thread.join(EVERY_SECONDS)
        try:
            with available():
                self._client.delete(keys.process(self._presence.kind, self._presence.name))
        except (UnavailableError, DeniedError):
            return  # The key expires by itself.

    def _beat(self) -> None:
        key, value = keys.process(self._presence.kind, self._presence.name), self._presence.model_dump_json()
        while True:
            try:
                with available():
                    self._client.set(key, value, ex=_EXPIRE_SECONDS)
            except (UnavailableError, DeniedError):
                pass  # Said again at the next beat; what is denied ends whoever beats, or is told by it.
            if self._ended.wait(EVERY_SECONDS):
                return


def alive(client: Redis, kind: str) -> list[Presence]:
    """Return the living processes of a kind, by name. A key that says something else is no process."""
    rows: Any
    with available():
        found = sorted(client.scan_iter(match=keys.process(kind, "*"), count=1000))
        rows = client.mget(found) if found else []
    living = []
    for row in rows:
        with suppress(ValidationError):
            living += [Presence.model_validate_json(row)] if row else []
    return living
