"""What workers and keepers write to their logs: plain lines, tracebacks without values, and no key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping


def configure(secrets: Iterable[str]) -> None:
    """Set up this process's log, and that of what it forks. A traceback that shows variables would show keys."""
    known = [secret for secret in secrets if secret]

    def render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        line = _line(event)
        for secret in known:
            line = line.replace(secret, "[redacted]")
        return line

    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    level, trace = structlog.processors.add_log_level, structlog.processors.format_exc_info
    structlog.configure(processors=[level, stamp, trace, render])


def _line(event: MutableMapping[str, Any]) -> str:
    """Return one event: its moment, level and words, what belongs to it, and the traceback below."""
    moment, level, words, trace = (event.pop(name, "") for name in ("timestamp", "level", "event", "exception"))
    facts = " ".join(f"{key}={value!r}" for key, value in event.items())
    return "\n".join(filter(None, (f"{moment} {level:<8} {words} {facts}".rstrip(), trace)))
