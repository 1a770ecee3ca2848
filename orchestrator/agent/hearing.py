"""What the agent makes of what it hears while a reply is coming: a preview for people, and failures for the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e

if TYPE_CHECKING:
    from orchestrator.agent.journal import Journal
    from orchestrator.dialogue import FailedRequest
    from orchestrator.models.port import Kind


class Failures:
    """Listens to one of several models that are asked at once: what fails is journalled, what is said isn't shown."""

    def __init__(self, journal: Journal, step: int) -> None:
        """Take the journal, and the step that is asked for."""
        self._journal = journal
        self._step = step

    def said(self, kind: Kind, piece: str) -> None:
        """Show no piece: people would see several replies as one."""

    def failed(self, failure: FailedRequest) -> None:
        """Journal a failed request; another follows."""
        self._journal.append(e.RequestFailed(step=self._step, failure=failure))


class Hearing(Failures):
    """Listens to the one model of a step: people see what it says while it comes."""

    def __init__(self, journal: Journal, step: int) -> None:
        super().__init__(journal, step)
        journal.preview.begin(step)

    def said(self, kind: Kind, piece: str) -> None:
        """Show a piece of the reply."""
        self._journal.preview.said(kind, piece)

    def failed(self, failure: FailedRequest) -> None:
        """Journal a failed request, and take back what it said."""
        super().failed(failure)
        self._journal.preview.begin(self._step)
