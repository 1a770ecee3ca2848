"""A dream's phases in their order, from what was collected to the entries as they are to be; all in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.dream.batch import Batch, Phase
from orchestrator.dream.commands import Holds, Tried, in_turn
from orchestrator.dream.compress import compress
from orchestrator.dream.counting import count
from orchestrator.dream.deduplicate import deduplicate
from orchestrator.dream.draft import drafts
from orchestrator.dream.resolve import resolve
from orchestrator.dream.skills import Found, skills
from orchestrator.dream.verify import verify
from orchestrator.dream.wording import worded
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from orchestrator.dream.collect import Collected
    from orchestrator.dream.sealed import Box
    from orchestrator.dream.verifier import Verifier
    from orchestrator.library.shelf import Shelf
    from orchestrator.settings import Settings
    from orchestrator.stop import Stop


class Progress(NamedTuple):
    """How far a dream is: its phase, how much of that is done (of 0: nobody knows), and what it's at."""

    phase: Phase
    done: int = 0
    of: int = 0
    what: str = ""


@dataclass(frozen=True)
class Pipeline:
    """The phases for one project.

    `repo` is what entries are verified against, None for nothing. With `rehearsed` no command is run and no model is
    asked. `tell` is told how far it is, and may raise what ends the dream.
    """

    settings: Settings
    project: str
    shelf: Shelf
    repo: Verifier | None
    stop: Stop
    rehearsed: bool
    tell: Callable[[Progress], None]

    def entries(self, batch: Batch, collected: Collected, now: datetime, *, set_aside: Collection[str] = ()) -> Batch:
        """Return the entries as they are to be. Raises Stopped.

        `set_aside` are the ids of pages that can't be read: a person is at work on them, and they stay as they are.
        """
        self.tell(Progress(Phase.EXTRACT))
        found = [one for one in drafts(collected.findings, self.project, now=now) if one.id not in set_aside]
        known = set(batch.entries)
        batch = count(batch, collected.uses)
        self.tell(Progress(Phase.DEDUPLICATE))
        batch = deduplicate(batch, found)
        if self.settings.dream.model is not None and not self.rehearsed:
            batch = self._worded(batch, batch.entries.keys() - known, collected)
        self.tell(Progress(Phase.VERIFY))
        batch = verify(batch, self._repo, stop=self.stop, tell=self._tried)
        self.tell(Progress(Phase.RESOLVE))
        batch = resolve(batch, now)
        self.tell(Progress(Phase.COMPRESS))
        return compress(batch, self.settings.dream.keep, now)

    def skills(self, collected: Collected, now: datetime, head: str) -> Found:
        """Return what is to be written of skills on the library's commit `head`. Raises Stopped, LibraryError."""
        self.tell(Progress(Phase.COMPRESS, what="skills"))
        return skills(self.shelf, self.project, collected.workflows, now, head=head, try_out=self._try_out)

    def _worded(self, batch: Batch, fresh: set[str], collected: Collected) -> Batch:
        self.tell(Progress(Phase.WORD, what=str(self.settings.dream.model)))
        result = worded(self.settings, batch, fresh, collected.said, self.stop)
        cost = result.spent
        paid = [f"the model took {cost.tokens:,} tokens, ${cost.money_usd:.4f}"] if cost.tokens else []
        return result.batch.noted(*paid, *result.notes)

    @property
    def _repo(self) -> Verifier | None:
        if self.repo is None or self.repo.sealing is None or not self.rehearsed:
            return self.repo
        return replace(self.repo, sealing=_Rehearsed())

    def _try_out(self, commands: Sequence[str]) -> Tried:
        self.tell(Progress(Phase.COMPRESS, what="trying a skill"))
        repo = self._repo
        if repo is None:
            return Tried(Holds.UNKNOWN, "this host doesn't have the repository")
        return in_turn(commands, repo, self.stop)

    def _tried(self, done: int, of: int) -> None:
        self.tell(Progress(Phase.VERIFY, done, of, "commands" if of else ""))


class _Rehearsed:
    """What opens no box."""

    def ready(self, _stop: Stop, _seconds: float) -> AbstractContextManager[Callable[[], AbstractContextManager[Box]]]:
        raise SandboxError("a dry run tries no command")
