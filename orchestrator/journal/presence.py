"""Which workers and keepers are alive: each says so every few seconds, in a key that expires."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import ConfigDict, Field, ValidationError

from orchestrator.dialogue import Value
from orchestrator.errors import DeniedError, JournalError, UnavailableError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, available

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis

EVERY_SECONDS: Final = 2.0
EXPIRE_SECONDS: Final = 8
WORKER: Final = "worker"
"""The kind of process that takes runs."""


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
    """Says that this process is alive, from a thread, until the block ends; a worker also what it offers and carries.

    A worker that leaves gives back what it was given and hasn't begun.
    """

    def __init__(self, client: Redis, presence: Presence) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._presence = presence
        self._carries = ""
        self._owner = os.getpid()
        self._ended = threading.Event()
        self._lock = threading.Lock()  # What one thread says mustn't be overtaken by what another knew before.
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
            if self._presence.kind == WORKER:
                self._scripts("repair", [], [self._presence.name])
        except (UnavailableError, DeniedError):
            return  # The key expires by itself.

    def offer(self, offer: Offer) -> None:
        """Offer something else from now on."""
        with self._lock:
            self._presence = self._presence.model_copy(update={"offer": offer})
            self._say()

    def carry(self, attempt: str) -> None:
        """Say which attempt this worker is about to carry; nothing is said to Redis, which has given it."""
        with self._lock:
            self._carries = attempt

    def rest(self) -> None:
        """Say that it carries nothing any more, and is free; where Redis is away, with the next beat."""
        with self._lock:
            self._carries = ""
            self._say(ended=True)

    def _beat(self) -> None:
        while True:
            with self._lock:
                self._say()
            if self._ended.wait(EVERY_SECONDS):
                return

    def _say(self, *, ended: bool = False) -> None:
        with suppress(UnavailableError, JournalError, DeniedError):  # Said again at the next beat.
            beat(self._scripts, self._presence, carries=self._carries, ended=ended)


def beat(scripts: Scripts, presence: Presence, *, carries: str = "", ended: bool = False) -> None:
    """Say once that a process is alive; a worker that carries no attempt is free for one. Raises RedisAwayError."""
    name = presence.name if presence.kind == WORKER else ""
    told = [presence.model_dump_json(), EXPIRE_SECONDS, name, carries, "1" if ended else ""]
    scripts("beat", [keys.process(presence.kind, presence.name)], told)


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


def strangers(living: Iterable[Presence], version: str) -> list[str]:
    """Return, in words, which living processes are of another version than this one."""
    found = {(one.host, one.version) for one in living if one.version != version}
    advice = "upgrade the older one; until then newer runs go to newer workers only"
    return [f"{host} runs version {theirs}, and this is {version}: {advice}" for host, theirs in sorted(found)]
