"""What the checkpoint remote still lacks of this host's runs, or has of those that were given up: put right later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from orchestrator.errors import JournalError, NotFoundError
from orchestrator.holdings import Holdings
from orchestrator.journal import index
from sandbox import packs
from sandbox.errors import RemoteUnavailable
from sandbox.remote import Moved

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.settings import Settings
    from sandbox.remote import Remote

_MOST_FAILED: Final = 3
"""Runs that may fail one after the other before the rest waits for the next time: the remote is probably away."""
_log = structlog.get_logger(__name__)


def catch_up(client: Redis, settings: Settings) -> None:
    """Push what is kept here of runs that nobody carries, and delete what was given up.

    A worker may have been killed, or the remote was away. What fails is told, and tried again the next time.
    Raises RedisAwayError, WorkspaceError.
    """
    holdings, failed = Holdings(settings), 0
    if holdings.remote is None:
        return
    for project in holdings.store.projects():
        for run_id in holdings.store.behind(project):
            try:
                if _push(client, holdings, holdings.remote, project, run_id):
                    _log.info("pushed what was left behind", run=run_id)
                failed = 0
            except RemoteUnavailable as error:
                failed += 1
                _log.warning("checkpoints can't be pushed", run=run_id, why=f"{error.message}: {error.cause}")
                if failed >= _MOST_FAILED:
                    return
        if given_up := holdings.store.to_delete(project):
            try:
                holdings.remote.delete(project, given_up)
            except RemoteUnavailable as error:
                _log.warning("given up checkpoints can't be deleted", why=f"{error.message}: {error.cause}")
                return


def look_again(settings: Settings) -> None:
    """Take note of what the remote has lost of what was pushed from here: `catch_up` pushes it again."""
    holdings = Holdings(settings)
    if holdings.remote is None:
        return
    for project in holdings.store.projects():
        git_dir = holdings.store.git_dir(project)
        try:
            there = holdings.remote.where(project)
        except RemoteUnavailable as error:
            _log.warning("the checkpoint remote can't be looked through", why=f"{error.message}: {error.cause}")
            return
        for run_id in packs.kept(git_dir):
            if run_id not in there:
                packs.note_pushed(git_dir, run_id, "")


def _push(client: Redis, holdings: Holdings, remote: Remote, project: str, run_id: str) -> bool:
    """Push what is behind of one run, where this host has its last checkpoint; whether that was done.

    A run that is under way is its attempt's. Where the remote has something else, both are put together first: what
    another host has pushed is never overwritten with an older state.
    """
    try:
        record = index.record(client, run_id)
    except (NotFoundError, JournalError):
        return False
    commit, base = record.view.checkpoint, record.view.spec.repo.commit
    if record.lease_until > index.now_ms(client) or not commit:
        return False
    if not holdings.store.leads_to(project, run_id, [commit]):
        return False  # It went on elsewhere.
    try:
        remote.push_run(project, run_id, overwrite=lambda there: not there)
    except Moved:
        remote.fetch_run(project, run_id, base)
        remote.push_run(project, run_id, overwrite=lambda _: True)  # Fetched, or none of ours.
    return True
