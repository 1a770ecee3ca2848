"""The court: whether what was submitted is accepted, by the evidence alone, while the work's own sandbox stays open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.agent.diagnosed import diagnosed, kept
from orchestrator.agent.evidence import evidence
from orchestrator.agent.submitting import still_open
from orchestrator.delivery.acceptance import look_through, prove, why_failed
from sandbox.trees import COMPARED

if TYPE_CHECKING:
    from orchestrator.agent.around import Fork
    from orchestrator.agent.context import Context
    from orchestrator.agent.evidence import Evidence
    from orchestrator.agent.judging import Judge
    from orchestrator.diagnostic import Diagnostic
    from orchestrator.journal.writer import Writer
    from orchestrator.runs import RunSpec, RunView
    from sandbox.spec import CommandResult
    from sandbox.store import Store


@dataclass(frozen=True)
class Court:
    """What an attempt has for it: the run's files, what opens a fresh sandbox on a tree, and the judge, if any."""

    spec: RunSpec
    journal: Writer
    store: Store
    opened: Fork
    judge: Judge | None

    def refuses(self, context: Context) -> e.Refused | None:
        """Return why the run's tree isn't accepted, None where it is, and its plan is closed.

        What is found on the way is journalled.
        What the acceptance command said of this very tree, in this attempt, holds: it isn't run again; nor is a judge
        asked again. Raises ModelError where the judge gives no ruling, SandboxError, Stopped.
        """
        if left := still_open(context.memory):  # Another call of the reply that submits opened them.
            return e.Refused(step=context.step, why=f"items of its plan are open: {'; '.join(left)}")
        known = self.journal.view
        look_through(self.spec, self.journal, self.store)
        verdicts = known.verdicts
        if self.spec.accept is not None and not verdicts:
            verdicts = prove(self.spec, self.spec.accept, self.journal, self.store, self._ran)
        if not all(verdict.passed for verdict in verdicts):
            return e.Refused(step=context.step, why=why_failed(verdicts), again=bool(known.verdicts))
        if self.judge is None or not self._is_for_a_judge():
            return None
        ruling = self.judge.rule(self._evidence(context), context.step)
        why = f"{ruling.judge} rules that it isn't done: {ruling.why}"
        return None if ruling.verdict == "pass" else e.Refused(step=context.step, why=why, again=known.ruling == ruling)

    def _is_for_a_judge(self) -> bool:
        """Whether to ask a judge of what the acceptance command doesn't refuse: where that alone can't be trusted."""
        spec = self.spec
        return spec.judge_always or spec.accept is None or bool(self.journal.view.weakened)

    def _evidence(self, context: Context) -> Evidence:
        repo, view = self.spec.repo, self.journal.view
        files = self.store.changed(repo.project, repo.tree, view.tree)
        patch = self.store.diff(repo.project, repo.tree, view.tree, most=COMPARED)
        return evidence(view, context.memory, files, patch)

    def _ran(self, tree: str, command: str) -> tuple[CommandResult, tuple[Diagnostic, ...]]:
        with self.opened(tree) as box:
            result = box.run(command)
            return result, kept(diagnosed(box, result, command))


def accepted(view: RunView) -> str:
    """Return what to say of a run that is accepted: what its proof leaves open, if anything."""
    told = [verdict.flaky for verdict in view.verdicts if verdict.flaky]
    if not view.verdicts:
        by = f"{view.ruling.judge} rules that it's done" if view.ruling else "nothing proves it"
        told.append(f"no acceptance command: {by}")
    if view.weakened and view.ruling is None:
        told.append(f"flagged: {', '.join(dict.fromkeys(one.kind for one in view.weakened))}")
    return "; ".join(told)
