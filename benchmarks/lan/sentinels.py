"""A second Redis beside the services' own, and three sentinels that move the primary from one to the other."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import redis

from benchmarks.lan.network import address
from benchmarks.lan.services import NUMBER, PASSWORD, redis_argv
from benchmarks.lan.work import until
from orchestrator.stack.redis_server import embedded_program

if TYPE_CHECKING:
    from benchmarks.lan.services import Services

SERVICE: Final = "runs"
_SECOND: Final = 6380
_PORTS: Final = (26379, 26380, 26381)
_DOWN_MS: Final = 1000


class Sentinels:
    """They watch over the services' Redis, which they find on its address; this process is on the same network."""

    def __init__(self, services: Services) -> None:
        self._services = services
        places = ",".join(f"{address(NUMBER)}:{port}" for port in _PORTS)
        self.url = f"redis+sentinel://:{PASSWORD}@{places}/{SERVICE}"

    def start(self) -> None:
        """Start them, from the main thread, and wait until a fail-over could take place."""
        self._replicate("redis-2", _SECOND, of=6379)
        watched = (f"monitor {SERVICE} {address(NUMBER)} 6379 2", f"auth-pass {SERVICE} {PASSWORD}")
        rules = (f"down-after-milliseconds {SERVICE} {_DOWN_MS}", f"failover-timeout {SERVICE} 5000")
        for port in _PORTS:
            config = self._services.folder / f"sentinel-{port}.conf"
            lines = [f"sentinel {line}\n" for line in (*watched, *rules)]
            config.write_text(f"port {port}\nbind {address(NUMBER)}\nprotected-mode no\n" + "".join(lines))
            self._services.serve(f"sentinel-{port}", str(embedded_program()), str(config), "--sentinel")
        until(lambda: all(self._is_whole(port) for port in _PORTS), longest_s=30)

    def fail(self) -> None:
        """Kill the primary, and wait until all agree on the other."""
        self._services.kill("redis")
        until(lambda: all(self._told(port).get("port") == _SECOND for port in _PORTS), longest_s=30)

    def end(self) -> None:
        """Have the services' own Redis back, with all that was written to the other, and end the rest."""
        for port in _PORTS:
            self._services.kill(f"sentinel-{port}")
        if not self._services.is_served("redis"):
            self._replicate("redis", 6379, of=_SECOND)
        with _client(6379) as client:
            client.replicaof("NO", "ONE")
        self._services.kill("redis-2")

    def _replicate(self, name: str, port: int, *, of: int) -> None:
        own = ("--replicaof", address(NUMBER), str(of), "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0")
        self._services.serve(name, *redis_argv(port, self._services.folder / name), *own)

        def synced() -> bool:
            with suppress(redis.RedisError), _client(port) as client:
                return bool(client.info("replication").get("master_link_status") == "up")
            return False

        until(synced, longest_s=30)

    def _told(self, port: int) -> dict[str, object]:
        with suppress(redis.RedisError), redis.Redis(address(NUMBER), port, socket_timeout=5) as client:
            found: dict[str, object] = client.sentinel_master(SERVICE)
            return found
        return {}

    def _is_whole(self, port: int) -> bool:
        told = self._told(port)
        return (told.get("num-other-sentinels"), told.get("num-slaves")) == (len(_PORTS) - 1, 1)


def _client(port: int) -> redis.Redis:
    return redis.Redis(address(NUMBER), port, password=PASSWORD, socket_timeout=5)
