"""How Redis is reached: every client is made here."""

from __future__ import annotations

import getpass
import hashlib
import platform
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeVar

import redis
from redis.sentinel import SentinelConnectionPool

from orchestrator.errors import ConfigError, DeniedError, JournalError, RedisAwayError
from orchestrator.journal import keys, sentinels
from orchestrator.journal.address import Address, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.settings import Settings

HINT: Final = "dreamdock up"
PATIENCE_SECONDS: Final = 30.0
"""A Redis that restarts is back within seconds; for one that is away for longer somebody has to look."""
_AGAIN_SECONDS: Final = 0.5
_LASTING: Final = frozenset({"create", "append", "claim", "renew", "dream_hold"})
"""Scripts whose word has to outlive a fail-over: who owns a run or a library, and what is in a journal."""
_Answer = TypeVar("_Answer")
_DAMAGED: Final = ("WRONGTYPE", "attempt to ", "not an integer", "not a valid float", "XADD", "stream ID")
"""What Redis, or a script in it, says where a key holds something else than it was given."""

_DENIED: Final = ("ACL failure in script", "The user executing the script can't")
"""What it says where a script may not what its caller may not."""


def redis_url(settings: Settings) -> Address:
    """Return the configured address, or that of this machine's own Redis. Raises ConfigError."""
    if settings.redis_url:
        return Address(settings.redis_url, settings.redis_password_file)
    if settings.redis_password_file:
        hint = "set redis_url too; the Redis that DreamDock starts is its owner's alone, without a password"
        raise ConfigError("redis_password_file is set, and redis_url isn't", hint=hint)
    return Address(f"unix://{settings.runtime_dir / 'redis.sock'}")


def who(address: Address) -> str:
    """Return the name that this process's events carry: the address's ACL user, else `user@host`."""
    user = parse(address).user
    if user and user != "default":
        return user
    name = f"{getpass.getuser()}@{platform.node()}"
    return name.encode(errors="backslashreplace").decode()  # The environment names the user, in any bytes.


def connect(address: Address | str) -> redis.Redis:
    """Return a client of an address, or of a URL that says it all; nothing is sent yet.

    Replies are bytes, within 10 seconds. Raises ConfigError.
    """
    return _client(address, {"socket_timeout": 10, "socket_connect_timeout": 5, "health_check_interval": 30})


def unhurried(address: Address) -> redis.Redis:
    """Return a client for RQ, which sets its own time-outs, and blocks for longer than ours allow. Raises as above."""
    return _client(address, {})


def hurried(client: redis.Redis, seconds: float) -> redis.Redis:
    """Return another client of the same server, which waits so long for a reply and no longer."""
    pool = client.connection_pool
    waits = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "health_check_interval": 0}
    if isinstance(pool, SentinelConnectionPool):
        return redis.Redis.from_pool(sentinels.pool(pool.sentinel_manager.address, waits))
    return redis.Redis.from_pool(redis.ConnectionPool(pool.connection_class, **(pool.connection_kwargs | waits)))


def _client(address: Address | str, waits: Mapping[str, float]) -> redis.Redis:
    """Return a client: the only place where one is made. Raises ConfigError."""
    parsed = parse(Address(address) if isinstance(address, str) else address)
    pool: redis.ConnectionPool
    try:
        if parsed.service:
            pool = sentinels.pool(parsed, waits)
        else:
            pool = redis.ConnectionPool(**(parsed.kwargs | dict(waits)))
        pool.make_connection()  # It connects nothing, and refuses an option that isn't one.
    except (ValueError, TypeError, redis.RedisError) as error:
        hint = "its options: ssl_ca_certs, ssl_certfile, ssl_keyfile; see docs/redis.md"
        raise ConfigError("the Redis address is not valid", cause=str(error), hint=hint) from error
    return redis.Redis.from_pool(pool)


def primary(client: redis.Redis) -> str:
    """Return which server this client was last told to be the primary: another after a fail-over; else empty."""
    pool = client.connection_pool
    return str(pool.master_address) if isinstance(pool, SentinelConnectionPool) else ""


def clock(client: redis.Redis) -> timedelta:
    """Return how far Redis's clock is ahead of this host's: events and leases of all hosts count by that one."""
    before: Any
    with available():
        before = client.time()
    told = datetime.fromtimestamp(int(before[0]) + int(before[1]) / 1e6, UTC)
    return told - datetime.now(UTC)


def ping(address: Address | str) -> bool:
    """Whether a Redis answers at this address. Raises ConfigError."""
    try:
        require(address)
    except RedisAwayError:
        return False
    return True


def require(address: Address | str) -> None:
    """Return if a Redis answers at this address. Raises RedisAwayError that says why not, ConfigError."""
    with available(), connect(address) as client:
        client.ping()


@contextmanager
def available() -> Iterator[None]:
    """Turn redis-py's errors into RedisAwayError.

    JournalError where a key isn't what was put there, DeniedError where the user of the address may not do it.
    """
    try:
        yield
    except redis.exceptions.NoPermissionError as error:
        raise denied(error) from error
    except (redis.AuthenticationError, redis.exceptions.AuthorizationError) as error:
        raise RedisAwayError("Redis refuses this user", cause=str(error), hint="dreamdock doctor") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        hint = HINT if "connecting to /" in str(error) else "dreamdock doctor"  # By a socket it's this machine's own.
        raise RedisAwayError("Redis doesn't answer", cause=str(error), hint=hint) from error
    except redis.RedisError as error:
        if any(words in str(error) for words in _DENIED):
            raise denied(error) from error
        if isinstance(error, redis.ResponseError) and any(words in str(error) for words in _DAMAGED):
            hint = "dreamdock audit RUN --verify"
            raise JournalError("a key in Redis isn't as it was written", cause=str(error), hint=hint) from error
        raise RedisAwayError("Redis refused a command", cause=str(error), hint="dreamdock doctor") from error


def denied(error: redis.RedisError) -> DeniedError:
    """Return the error of what Redis's rules don't let this user do."""
    hint = "ask whoever runs this Redis for the role that may; dreamdock up --print-acl prints them"
    return DeniedError("your user of Redis isn't allowed to do that", cause=str(error), hint=hint)


def patiently(
    question: Callable[[], _Answer], away: Callable[[], None] | None, *, seconds: float = PATIENCE_SECONDS
) -> _Answer:
    """Ask Redis again for so many seconds while it is away, where `away` is to be called, once, when it is found to be.

    Raises RedisAwayError after that; without `away` at once.
    """
    deadline = None
    while True:
        try:
            return question()
        except RedisAwayError:
            if away is None or (deadline is not None and time.monotonic() >= deadline):
                raise
            if deadline is None:
                deadline = time.monotonic() + seconds
                away()
        time.sleep(_AGAIN_SECONDS)


_PLAIN: Final = ("renew", "archive", "restore", "forget")
_QUEUEING: Final = (
    *("create", "append", "reserve", "claim", "deadlines"),
    *("dispatch", "waiting", "beat", "repair", "adopt"),
    *("dream_hold", "dream_free", "dream_note", "dream_enqueue", "dream_mark"),
)


@cache
def script_texts() -> dict[str, str]:
    """Return the Lua scripts by name; those that touch a queue have its functions and its keys' names in front."""
    folder = resources.files(__package__) / "lua"
    names = ", ".join(f"{name} = '{key}'" for name, key in vars(keys).items() if name.isupper())
    prelude = f"local K = {{{names}}}\n" + (folder / "queue.lua").read_text()
    return {
        name: (prelude if name in _QUEUEING else "") + (folder / f"{name}.lua").read_text()
        for name in (*_PLAIN, *_QUEUEING)
    }


@cache
def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """The Lua scripts, each registered with one client when it's first called."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._replicas = sentinels.Replicas(client)
        self._scripts: dict[str, Any] = {}

    def __call__(self, name: str, keys: list[str], args: list[Any]) -> str | int:
        """Run one script. Returns its status word or number; raises RedisAwayError, DeniedError.

        Behind Sentinel, one that people and attempts rely on counts only once a replica has what it wrote.
        """
        if name not in self._scripts:
            self._scripts[name] = self._client.register_script(script_texts()[name])
        script = self._scripts[name]
        with available():
            if name in _LASTING and self._replicas.exist:
                answer = self._lasting(script, keys, args)
            else:
                answer = script(keys=keys, args=args)
        return answer.decode() if isinstance(answer, bytes) else int(answer)

    def confirm(self) -> None:
        """Return once a replica has all that was written before, where one has to. Raises RedisAwayError."""
        if self._replicas.exist:
            with available():
                self._replicas.written("SET", keys.TOUCHED, "", "PX", 1000)

    def ask(self, name: str, args: list[Any]) -> str | int:
        """Run a script that writes nothing, also for who may only read; a Redis before 7 knows no such difference."""
        text, answer = script_texts()[name], None
        with available():
            try:
                answer = self._client.evalsha_ro(_sha(text), 0, *args)
            except redis.exceptions.NoScriptError:
                answer = self._client.eval_ro(text, 0, *args)
            except redis.ResponseError as error:
                if "unknown command" not in str(error):
                    raise
        return self(name, [], args) if answer is None else str(answer, "utf-8")

    def _lasting(self, script: Any, keys: list[str], args: list[Any]) -> Any:
        command = ("EVALSHA", script.sha, len(keys), *keys, *args)
        try:
            return self._replicas.written(*command)
        except redis.exceptions.NoScriptError:  # As on a server that has just become the primary.
            self._client.script_load(script.script)
            return self._replicas.written(*command)
