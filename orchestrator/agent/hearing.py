"""What the agent makes of what it hears while a reply is coming: a preview for people, and failures for the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e

if TYPE_CHECKING:
    from orchestrator.agent.journal import Journal
    from orchestrator.dialogue import FailedRequest
    from orchestrator.models.port import Kind


class Hearing:
    """Listens to the model for one step."""

    def __init__(self, journal: Journal, step: int) -> None:
        self._journal = journal
        self._step = step
        journal.preview.begin(step)

    def said(self, kind: Kind, piece: str) -> None:
        """Show a piece of the reply."""
        self._journal.preview.said(kind, piece)

    def failed(self, failure: FailedRequest) -> None:
        """Journal a failed request, and take back what it said."""
        self._journal.append(e.RequestFailed(step=self._step, failure=failure))
        self._journal.preview.begin(self._step)
