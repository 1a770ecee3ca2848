"""A dream as a job of the queue: carried by a work-horse of the dream worker, and told in Redis how it went.

Nothing here is imported by the worker itself: what a dream needs takes memory, and most of the time there's none.
"""

from __future__ import annotations

import platform
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from orchestrator.errors import DeniedError, DreamdockError, UnavailableError
from orchestrator.horse import die_with_parent
from orchestrator.journal.connection import connect, redis_url
from orchestrator.runs import DREAM_ID
from orchestrator.schedule import DreamState, began, ended
from orchestrator.settings import load
from orchestrator.stop import SHUTDOWN, Stop, Stopped
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from redis import Redis

    from orchestrator.dream.report import Report
    from orchestrator.settings import Settings

_log = structlog.get_logger(__name__)
_SPARE_SECONDS: Final = 60
"""How long after its longest time a dream is ended from outside: it should have ended by itself."""


class TooLong(BaseException):
    """The dream hangs, and is to end at once. Nothing in it may catch that."""


def run_dream(job_id: str) -> None:
    """Dream of one project: the entry point of the queue of dreams, in the work-horse."""
    die_with_parent()
    stop = Stop()

    def shut_down(_signal: int, _frame: FrameType | None) -> None:
        threading.Thread(target=stop.set, args=(SHUTDOWN,)).start()  # A handler must not block.

    signal.signal(signal.SIGTERM, shut_down)
    settings = load()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(settings.dream.seconds + _SPARE_SECONDS)
    from orchestrator.dream.dreamer import carry_dream  # noqa: PLC0415  # As large as it is, only a dream pays for it.

    with connect(redis_url(settings)) as client:
        carry(client, settings, job_id, partial(carry_dream, stop=stop))


def carry(client: Redis, settings: Settings, job_id: str, dream: Callable[[Redis, Settings, str], Report]) -> None:
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
        report = dream(client, settings, project)
        state, why = DreamState.DONE, report.words
    except Stopped as end:  # Its worker is to end; that is no try.
        state, why, counts = DreamState.AGAIN, end.reason, False
    except TooLong:
        why = f"it took longer than {settings.dream.seconds} s (dream.seconds)"
    except (DreamdockError, SandboxError) as error:
        state = DreamState.AGAIN if error.exit_code == UnavailableError.exit_code else state
        why = error.words
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise
    finally:
        signal.alarm(0)
        _log.info("a dream has ended", project=project, state=state.value, why=why)
        with suppress(UnavailableError):
            ended(client, job_id, state, why, counts=counts)


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TooLong
