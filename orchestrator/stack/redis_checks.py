"""What `dreamdock doctor` proves of Redis: it takes writes, keeps them when it dies, and throws none away."""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import DeniedError, RedisAwayError
from orchestrator.journal.connection import available, connect, redis_url
from orchestrator.stack.check import HostCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.settings import Settings

CLOCK_SECONDS: Final = 2.0
_SCRATCH: Final = "x" * 4096
_SCRATCH_MS: Final = 10_000
_PATIENCE_S: Final = 3.0  # With appendfsync everysec a write may be put off for two seconds.
_WRITE: Final = "return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"  # A script: journals are written by some.
_OVER_TLS: Final = "rediss://HOST:PORT/0"
_AUTHORITY: Final = f"redis_url = {_OVER_TLS}?ssl_ca_certs=PATH"
_WITH_PASSWORD: Final = "redis_url = redis://USER@HOST:PORT/0 and redis_password_file"  # noqa: S105  # It's none.
_CERTIFICATE: Final = f"name this client's certificate: redis_url = {_OVER_TLS}?ssl_certfile=PATH&ssl_keyfile=PATH"
_NO_TLS: Final = "see that host and port are right, and that rediss:// names a port where it speaks TLS"
_REMEDIES: Final = (
    ("read only replica", "set redis_url to the primary"),
    ("Not enough good replicas", "bring its replicas back, or CONFIG SET min-replicas-to-write 0"),
    ("maxmemory", "CONFIG SET maxmemory to more, or take out what isn't DreamDock's"),
    ("MISCONF", "free disk space where Redis keeps its files, and look into its log"),
    ("ermissions", "give the user of redis_url its role, by ACL SETUSER: dreamdock up --print-acl"),
    ("unknown command", "take that command's rename-command out of Redis's configuration"),
    ("no sentinel tells", "mend the sentinels' addresses or SERVICE in redis_url; ask one: SENTINEL MASTERS"),
    ("uthentication", f"name the user and the password: {_WITH_PASSWORD}"),
    ("password", f"name the right ones: {_WITH_PASSWORD}"),
    ("CERTIFICATE_REQUIRED", _CERTIFICATE),
    ("EOF occurred", _CERTIFICATE),
    ("CERTIFICATE_VERIFY_FAILED", f"name its authority, and the host as its certificate does: {_AUTHORITY}"),
    ("WRONG_VERSION_NUMBER", _NO_TLS),
    ("Timeout connecting", _NO_TLS),  # Redis waits for the end of a line that TLS doesn't send.
    ("onnection closed", f"if it speaks TLS there: redis_url = {_OVER_TLS}"),
    ("onnection reset", f"if it speaks TLS there: redis_url = {_OVER_TLS}"),
    ("safe yet", "bring a replica back: SENTINEL REPLICAS SERVICE, INFO replication"),
)
"""What its complaint says, and what to do."""


def writes(settings: Settings) -> HostCheck:
    """Write a scratch key through a script, and ask for the version."""
    with _opened(settings) as client:
        _write(client)
        server = _info(client, "server")
    version = server.get("valkey_version") or server.get("redis_version")
    kind = "Valkey" if "valkey_version" in server else "Redis"
    told = f"{kind} {version}" if version else "its version can't be told, for it refuses INFO"
    return HostCheck("redis", ok=True, found=f"takes writes and scripts; {told}")


def persistence(settings: Settings) -> HostCheck:
    """Write some KB and see the append-only file grow by them; asks for no CONFIG, which managed servers forbid."""
    name = "persistence"
    with _opened(settings) as client:
        before = client.info(name)
        if not before.get("aof_enabled"):
            found = "the append-only file is off: what isn't in a snapshot is lost with Redis's process"
            remedy = "CONFIG SET appendonly yes, and the same in its configuration file"
            return HostCheck(name, ok=False, found=found, remedy=remedy)
        grown, after = _grown(client, before.get("aof_current_size", 0))
    written = f"{len(_SCRATCH)} bytes written, {grown} appended to the file"
    if (status := after.get("aof_last_write_status")) != "ok":
        found, remedy = f"{written}; its last write: {status}", "free disk space where Redis keeps its files"
    else:
        found, remedy = written, "look into Redis's log: it doesn't write its append-only file"
    return HostCheck(name, ok=status == "ok" and grown >= len(_SCRATCH), found=found, remedy=remedy)


def eviction(settings: Settings) -> HostCheck:
    """Ask what it does when its memory is full: anything but refusing to write takes journals or leases away."""
    name = "eviction"
    with _opened(settings) as client:
        policy = _info(client, "memory").get("maxmemory_policy")
        if policy is None:
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "not told")
    remedy = "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file"
    return HostCheck(name, ok=policy == "noeviction", found=f"policy {policy}", remedy=remedy)


def clock(settings: Settings) -> HostCheck:
    """Leases count by Redis's clock, reports by this machine's."""
    with _opened(settings) as client:
        before = time.time()
        seconds, microseconds = client.time()
        here = (before + time.time()) / 2  # Redis looked at its clock half a round trip ago.
    apart = abs(here - (int(seconds) + int(microseconds) / 1e6))
    found = f"{apart:.2f} s apart from Redis"
    return HostCheck("clock", ok=apart <= CLOCK_SECONDS, found=found, remedy="set the clocks: timedatectl set-ntp true")


@contextmanager
def _opened(settings: Settings) -> Iterator[Any]:
    """Yield a client. Raises RedisAwayError or DeniedError, whose hint fits the complaint."""
    try:
        with available(), connect(redis_url(settings)) as client:
            yield client
    except (RedisAwayError, DeniedError) as error:
        start = "start it, or mend redis_url" if settings.redis_url else error.hint
        hint = next((remedy for words, remedy in _REMEDIES if words in error.cause), start)
        raise type(error)(error.message, cause=error.cause, hint=hint) from error


def _write(client: Any) -> None:
    """Write the scratch key and take it away again; where that isn't reached, it goes by itself."""
    key = f"dd:doctor:{uuid.uuid4().hex}"
    client.eval(_WRITE, 1, key, _SCRATCH, _SCRATCH_MS)
    client.delete(key)


def _info(client: Any, section: str) -> dict[str, Any]:
    """Return a section of INFO, empty where that is refused."""
    try:
        with available():
            told: dict[str, Any] = client.info(section)
    except (RedisAwayError, DeniedError):
        return {}
    return told


def _grown(client: Any, size: int) -> tuple[int, dict[str, Any]]:
    """Write, and return how many bytes the append-only file grew by, beginning at `size`, and what is told of it."""
    until = time.monotonic() + _PATIENCE_S
    _write(client)
    while True:
        told = client.info("persistence")
        grown = told.get("aof_current_size", 0) - size
        if grown >= len(_SCRATCH) or time.monotonic() > until:
            return grown, told
        if grown < 0:  # It was rewritten, and became shorter.
            size += grown
            _write(client)
        time.sleep(0.05)
