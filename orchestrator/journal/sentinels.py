"""Redis behind Sentinel: which server is the primary now, and whether what it was given outlives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import redis
from redis.connection import SSLConnection
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from orchestrator.errors import RedisAwayError
from orchestrator.journal.address import FromFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.journal.address import Parsed

_AUTHENTICATION: Final[tuple[str, ...]] = ("username", "password", "credential_provider")
_ACKNOWLEDGED_MS: Final = 1000
"""How long a replica may take to have what the primary was given."""
_AT_ONCE_MS: Final = 1
_WAITS: Final = 0.8
"""Share of a client's own patience that the replica gets of it."""
_GARBAGE: Final = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""What redis-py raises for an answer that has another form than a sentinel's."""


class Sentinels(Sentinel):
    """The sentinels of one client, each with a connection of its own to it.

    They are given the user and the password of the servers, or their own; one that asks for none gets none.
    """

    def __init__(self, address: Parsed, waits: Mapping[str, Any]) -> None:
        self.address = address
        options = {name: value for name, value in address.kwargs.items() if name != "db"} | dict(waits)
        if address.sentinel_password_file is not None:
            for name in _AUTHENTICATION:
                options.pop(name, None)
            options["credential_provider"] = FromFile(address.sentinel_password_file, "")
        super().__init__([], sentinel_kwargs={})  # type: ignore[no-untyped-call]  # redis-py leaves it untyped.
        self.sentinels = [
            redis.Redis.from_pool(redis.ConnectionPool(host=host, port=port, **options))
            for host, port in address.sentinels
        ]
        self._in_order = list(zip((f"{host}:{port}" for host, port in address.sentinels), self.sentinels, strict=True))

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the host and port of the primary. Raises MasterNotFoundError."""
        told, in_order = [], self._in_order
        for name, sentinel in in_order:
            try:
                state = _asked(sentinel, service_name)
            except redis.RedisError as error:
                told.append(f"{name} doesn't answer ({error})")
                continue
            if state is None:
                told.append(f"{name} knows no service {service_name}")
            elif not self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]  # As above.
                told.append(f"{name} knows no primary of {service_name} now")
            else:  # It's the first to be asked from now on: one that is cut off takes its time.
                self._in_order = sorted(in_order, key=lambda one: one[0] != name)
                return state["ip"], state["port"]
        raise MasterNotFoundError(f"no sentinel tells the primary: {'; '.join(told)}")

    def is_alone(self, place: tuple[str, int]) -> bool:
        """Whether the server there is the primary, and no replica of it is left that could take over.

        Only the majority's word counts: a primary that is cut off knows no replicas either.
        """
        service = self.address.service
        for sentinel in self.sentinels:
            try:
                primary = _asked(sentinel, service)
                sentinel.execute_command("SENTINEL", "CKQUORUM", service)  # type: ignore[no-untyped-call]  # As above.
                replicas = sentinel.sentinel_slaves(service)
            except redis.RedisError:
                continue
            return (
                primary is not None and (primary["ip"], primary["port"]) == place and not self.filter_slaves(replicas)  # type: ignore[no-untyped-call]  # As above.
            )
        return False


def _asked(sentinel: redis.Redis, service: str) -> Any:
    """Ask a sentinel for a service; one that has no password is asked without. Raises redis-py's errors."""
    try:
        found = _answer(sentinel, sentinel.sentinel_masters).get(service)
        if found is not None:
            (
                str(found["ip"]).encode("idna"),
                int(found["port"]),
            )  # Else connecting there raises what nobody expects.
    except _GARBAGE as error:
        raise redis.InvalidResponse("its answer is not a sentinel's") from error
    return found


def _answer(sentinel: redis.Redis, question: Callable[[], Any]) -> Any:
    try:
        return question()
    except redis.AuthenticationError:
        options = sentinel.connection_pool.connection_kwargs
        given = {name: options.pop(name) for name in _AUTHENTICATION if name in options}
        sentinel.connection_pool.disconnect()
        try:
            return question()
        except redis.RedisError:
            options.update(given)  # It does have one; it may be the right one later.
            raise


class Primary(SentinelConnectionPool):
    """Connections to whichever server is the primary when they are made; the sentinels' are closed with them."""

    def disconnect(self, inuse_connections: bool = True) -> None:  # As redis-py has it.
        """Close the connections, by default also those that are in use."""
        super().disconnect(inuse_connections)
        if inuse_connections:
            self.sentinel_manager.close()


def pool(address: Parsed, waits: Mapping[str, Any]) -> Primary:
    """Return an address's connections; none is made yet. Raises TypeError for an option."""
    kwargs = address.kwargs | dict(waits)
    kind = kwargs.pop("connection_class", None)
    managed = SentinelManagedSSLConnection if kind is SSLConnection else SentinelManagedConnection
    sentinels = Sentinels(address, waits)
    return Primary(address.service, sentinels, connection_class=managed, **kwargs)  # type: ignore[no-untyped-call]  # As above.


class Replicas:
    """Has writes count once a replica has them, where there are sentinels that could make it the primary.

    A primary that is the last one left writes alone, for as long as the majority of the sentinels says so.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        pool = client.connection_pool
        self._sentinels = cast("Sentinels", pool.sentinel_manager) if isinstance(pool, SentinelConnectionPool) else None
        self._alone = False
        timeout = pool.connection_kwargs.get("socket_timeout") or _ACKNOWLEDGED_MS / 1000
        self._patience_ms = min(_ACKNOWLEDGED_MS, int(timeout * _WAITS * 1000))

    @property
    def exist(self) -> bool:
        """Whether there are any to wait for."""
        return self._sentinels is not None

    def written(self, *command: Any) -> Any:
        """Carry out a command that writes, wait until a replica has it, and return its answer.

        Raises what redis-py does for the command, RedisAwayError where no replica has it within a second, or as long as
        the client waits for answers.
        """
        patience = _AT_ONCE_MS if self._alone else self._patience_ms
        with self._client.pipeline(transaction=False) as pipe:
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]  # As above.
            pipe.wait(1, patience)
            answer, acknowledged = pipe.execute(raise_on_error=False)
        for told in (answer, acknowledged):
            if isinstance(told, Exception):
                raise told
        self._alone = not acknowledged and self._is_alone()
        if not acknowledged and not self._alone:
            cause = f"no replica has it within {self._patience_ms / 1000:g} s, and a fail-over would lose it"
            raise RedisAwayError("what was written isn't safe yet", cause=cause, hint="dreamdock doctor")
        return answer

    def _is_alone(self) -> bool:
        pool = self._client.connection_pool
        place = pool.master_address if isinstance(pool, SentinelConnectionPool) else None
        return self._sentinels is not None and place is not None and self._sentinels.is_alone(place)
