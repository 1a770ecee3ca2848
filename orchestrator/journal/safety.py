"""What a Redis may do to journals and leases: said loudly by whoever writes to it, at their start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import DeniedError, RedisAwayError
from orchestrator.journal.connection import available, clock

if TYPE_CHECKING:
    from redis import Redis

CLOCK_SECONDS: Final = 60.0
"""What a host's clock may be off before it's said: events and leases count by Redis's, log files by the host's."""


def dangers(client: Redis) -> list[str]:
    """Return, in words, why this Redis may lose what is written to it, and what to type; nothing where it doesn't.

    Raises RedisAwayError.
    """
    found = []
    if _info(client, "persistence").get("aof_enabled") == 0:
        remedy = "CONFIG SET appendonly yes"
        found.append(f"Redis's append-only file is off: what isn't in a snapshot is lost with its process ({remedy})")
    policy = _info(client, "memory").get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        remedy = "CONFIG SET maxmemory-policy noeviction"
        found.append(f"Redis evicts when its memory is full ({policy}): journals and leases go then ({remedy})")
    apart = abs(clock(client).total_seconds())
    if apart > CLOCK_SECONDS:
        found.append(f"this host's clock is {apart:.0f} s off Redis's, which counts here (timedatectl set-ntp true)")
    return found


def _info(client: Redis, section: str) -> dict[str, Any]:
    """Return a section of INFO; empty where a managed server refuses it."""
    try:
        with available():
            told: Any = client.info(section)
    except (RedisAwayError, DeniedError):
        return {}
    return dict(told)
