"""The court: whether what was submitted is accepted, by the evidence alone, while the work's own sandbox stays open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.agent.diagnosed import diagnosed, kept
from orchestrator.delivery.acceptance import look_through, prove, why_failed

if TYPE_CHECKING:
    from orchestrator.agent.around import Fork
    from orchestrator.agent.context import Context
    from orchestrator.diagnostic import Diagnostic
    from orchestrator.journal.writer import Writer
    from orchestrator.runs import RunSpec, RunView
    from sandbox.spec import CommandResult
    from sandbox.store import Store


@dataclass(frozen=True)
class Court:
    """What an attempt has for it: where the run's files are, and what opens a fresh sandbox on a tree."""

    spec: RunSpec
    journal: Writer
    store: Store
    opened: Fork

    def refuses(self, context: Context) -> e.Refused | None:
        """Return why the run's tree isn't accepted, None where it is. What is found on the way is journalled.

        What the acceptance command said of this very tree, in this attempt, holds: it isn't run again.
        Raises SandboxError, Stopped.
        """
        look_through(self.spec, self.journal, self.store)
        verdicts = self.journal.view.verdicts
        if self.spec.accept is not None and not verdicts:
            verdicts = prove(self.spec, self.spec.accept, self.journal, self.store, self._ran)
            again = False
        else:
            again = bool(verdicts)
        if all(verdict.passed for verdict in verdicts):
            return None
        return e.Refused(step=context.step, why=why_failed(verdicts), again=again)

    def _ran(self, tree: str, command: str) -> tuple[CommandResult, tuple[Diagnostic, ...]]:
        with self.opened(tree) as box:
            result = box.run(command)
            return result, kept(diagnosed(box, result))


def accepted(view: RunView) -> str:
    """Return what to say of a run that is accepted: what its proof leaves open, if anything."""
    if not view.verdicts:
        return "no acceptance command: nothing proves it"
    return "; ".join(verdict.flaky for verdict in view.verdicts if verdict.flaky)
