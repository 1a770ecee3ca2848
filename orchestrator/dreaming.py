"""A dream as a job of the queue: carried by a work-horse of the dream worker, and told in Redis how it went.

Nothing here is imported by the worker itself: what a dream needs takes memory, and most of the time there's none.
"""

from __future__ import annotations

import platform
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import structlog

from orchestrator.errors import DeniedError, DreamdockError, UnavailableError
from orchestrator.horse import die_with_parent
from orchestrator.journal.connection import connect, redis_url
from orchestrator.runs import DREAM_ID
from orchestrator.schedule import DreamState, began, ended
from orchestrator.settings import load
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from redis import Redis

    from orchestrator.settings import Settings

_log = structlog.get_logger(__name__)
_SPARE_SECONDS: Final = 60
"""How long after its longest time a dream is ended from outside: it should have ended by itself."""


class Interrupted(BaseException):
    """The dream is to end at once: its worker was asked to stop, or it took too long. Nothing in it may catch that."""

    def __init__(self, why: str, state: DreamState) -> None:
        super().__init__(why)
        self.why = why
        self.state = state


def run_dream(job_id: str) -> None:
    """Dream of one project: the entry point of the queue of dreams, in the work-horse."""
    die_with_parent()
    signal.signal(signal.SIGTERM, _stop)
    settings = load()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(settings.dream.seconds + _SPARE_SECONDS)
    from orchestrator.dream.dreamer import carry_dream  # noqa: PLC0415  # As large as it is, only a dream pays for it.

    with connect(redis_url(settings)) as client:
        carry(client, settings, job_id, carry_dream)


def carry(client: Redis, settings: Settings, job_id: str, dream: Callable[[Redis, Settings, str], Any]) -> None:
    """Dream of a job's project, and say in Redis how it went; what can't be said a keeper finds.

    Raises DeniedError for a job that no keeper has enqueued, or that is begun already; RedisAwayError at its beginning,
    and whatever it doesn't know.
    """
    found = DREAM_ID.match(job_id)
    if found is None or not began(client, job_id, platform.node()):
        cause = "no keeper has enqueued it, or it's begun already"
        raise DeniedError(f"queue entry {job_id!r} is no dream's", cause=cause, hint="see who writes to this Redis")
    project = found[1]
    state, why, counts = DreamState.FAILED, "", True
    _log.info("a dream begins", project=project)
    try:
        dream(client, settings, project)
        state = DreamState.DONE
    except Interrupted as end:
        state, why, counts = end.state, end.why, end.state is not DreamState.AGAIN
    except (DreamdockError, SandboxError) as error:
        state = DreamState.AGAIN if error.exit_code == UnavailableError.exit_code else state
        why = f"{error.message}: {error.cause}" if error.cause else error.message
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise
    finally:
        signal.alarm(0)
        _log.info("a dream has ended", project=project, state=state.value, why=why)
        with suppress(UnavailableError):
            ended(client, job_id, state, why, counts=counts)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Interrupted("its worker was shut down", DreamState.AGAIN)


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise Interrupted("it took longer than dream.seconds", DreamState.FAILED)
