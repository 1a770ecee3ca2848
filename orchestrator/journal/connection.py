"""Where Redis is, and how to reach it."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeVar

import redis

from orchestrator.errors import ConfigError, JournalError, RedisAwayError
from orchestrator.journal import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.settings import Settings

HINT: Final = "dreamdock up"
PATIENCE_SECONDS: Final = 30.0
"""A Redis that restarts is back within seconds; for one that is away for longer somebody has to look."""
_AGAIN_SECONDS: Final = 0.5
_Answer = TypeVar("_Answer")
_DAMAGED: Final = ("WRONGTYPE", "attempt to ", "not an integer", "not a valid float", "XADD", "stream ID")
"""What Redis, or a script in it, says where a key holds something else than it was given."""


def redis_url(settings: Settings) -> str:
    """Return the configured address, or that of this machine's own Redis."""
    return settings.redis_url or f"unix://{settings.runtime_dir / 'redis.sock'}"


def connect(url: str) -> redis.Redis:
    """Return a client; nothing is sent yet. Replies are bytes, within 10 seconds. Raises ConfigError."""
    try:
        client = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5, health_check_interval=30)
        client.connection_pool.make_connection()  # It connects nothing, and refuses an option that isn't one.
    except (ValueError, TypeError) as error:
        hint = "mend redis_url: redis://, rediss:// or unix://"
        raise ConfigError("the Redis address is not valid", cause=str(error), hint=hint) from error
    return client


def hurried(client: redis.Redis, seconds: float) -> redis.Redis:
    """Return another client of the same server, which waits so long for a reply and no longer."""
    pool = client.connection_pool
    waits = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "health_check_interval": 0}
    return redis.Redis(connection_pool=redis.ConnectionPool(pool.connection_class, **(pool.connection_kwargs | waits)))


def clock(client: redis.Redis) -> timedelta:
    """Return how far Redis's clock is ahead of this host's: events and leases of all hosts count by that one."""
    before: Any
    with available():
        before = client.time()
    told = datetime.fromtimestamp(int(before[0]) + int(before[1]) / 1e6, UTC)
    return told - datetime.now(UTC)


def ping(url: str) -> bool:
    """Whether a Redis answers at this address."""
    with connect(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def available() -> Iterator[None]:
    """Turn redis-py's errors into RedisAwayError, and into JournalError where a key isn't what was put there."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise RedisAwayError("Redis doesn't answer", cause=str(error), hint=HINT) from error
    except redis.RedisError as error:
        if isinstance(error, redis.ResponseError) and any(words in str(error) for words in _DAMAGED):
            hint = "dreamdock audit RUN --verify"
            raise JournalError("a key in Redis isn't as it was written", cause=str(error), hint=hint) from error
        raise RedisAwayError("Redis refused a command", cause=str(error), hint="dreamdock doctor") from error


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
_QUEUEING: Final = ("create", "append", "claim", "dispatch", "waiting", "beat", "repair", "adopt")


@cache
def script_texts() -> dict[str, str]:
    """Return the Lua scripts by name; those that touch the queue have its functions and its keys' names in front."""
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
        self._scripts: dict[str, Any] = {}

    def __call__(self, name: str, keys: list[str], args: list[Any]) -> str | int:
        """Run one script. Returns its status word or number; raises RedisAwayError."""
        if name not in self._scripts:
            self._scripts[name] = self._client.register_script(script_texts()[name])
        with available():
            answer = self._scripts[name](keys=keys, args=args)
        return answer.decode() if isinstance(answer, bytes) else int(answer)

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
