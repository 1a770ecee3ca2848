"""Proof: the acceptance command in a fresh sealed container, on the final tree.

If the run changed tests, the command runs once more with the base's test files put back.
Both results are recorded; the work is accepted when every one of them passed.
One that fails runs again at once, and a third time where the two differ: what most of them say counts. That may double
the time of a failure, and it's told apart from a flaky test before the model is: it can mend the one, and would look
for hours for the other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator import events as e
from orchestrator.delivery.testcode import is_test
from orchestrator.delivery.weakened import weakened
from orchestrator.runs import Acceptance, Verdict, Weakening, Weakness
from sandbox.trees import COMPARED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.diagnostic import Diagnostic
    from orchestrator.journal.writer import Writer
    from orchestrator.runs import RunSpec
    from sandbox.spec import CommandResult
    from sandbox.store import Store

_KEPT_OUTPUT: Final = 8000
_NEVER_RAN: Final = {
    126: "the acceptance command, or one that it calls, is no executable file (chmod +x it, or name its interpreter)",
    127: "the acceptance command, or one that it calls, isn't in the sandbox",
}
"""What a shell says with these exit codes."""
_OTHERWISE: Final = "name another by run --accept or in dreamdock.toml, or an image that has it by run --image"


class Ran(Protocol):
    """Runs a command on a tree, in a fresh sandbox."""

    def __call__(self, tree: str, command: str, /) -> tuple[CommandResult, tuple[Diagnostic, ...]]:
        """Return how it ended, and what its output says of places in the code where it failed."""


def look_through(spec: RunSpec, journal: Writer, store: Store) -> None:
    """Record what the run's changes may have weakened of what is to prove it, where there is something new."""
    repo, tree = spec.repo, journal.view.tree
    patch = store.diff(repo.project, repo.tree, tree, most=COMPARED)
    found = weakened(patch, accept=spec.accept.command if spec.accept else "")
    if tree == repo.tree:
        found = (Weakness(kind=Weakening.NOTHING, path=".", line=0, text="the tree is still the base commit's"),)
    elif not patch:
        found = (Weakness(kind=Weakening.UNREAD, path=".", line=0, text="the changes are too large"),)
    if found and found != journal.view.weakened:
        journal.append(e.Weakened(found=found))


def prove(spec: RunSpec, accept: Acceptance, journal: Writer, store: Store, ran: Ran) -> tuple[Verdict, ...]:
    """Run the acceptance command on the run's tree; record and return what it said."""
    project, base, final = spec.repo.project, spec.repo.tree, journal.view.tree
    trees = [(final, False)]
    changed = [change.path for change in store.changed(project, base, final) if change.status != "A"]
    if tests := [path for path in changed if is_test(path)]:
        trees.append((store.with_paths_from(project, final, base, tests), True))
    journal.append(e.FinishStarted(command=accept.command, origin=accept.origin))
    verdicts: list[Verdict] = []
    for tree, base_tests in trees:
        settled = any(not verdict.passed for verdict in verdicts)  # It's refused already, flaky or not.
        run = partial(_run, accept.command, ran, tree=tree, base_tests=base_tests)
        judged = run() if settled else _sure(run)
        journal.append(judged)
        verdicts.append(judged.verdict)
    return tuple(verdicts)


def why_failed(verdicts: Sequence[Verdict]) -> str:
    """Return why the work isn't accepted; a command that can't be run there is told from one that says no."""
    first = verdicts[0]
    flaky = next((f"; {verdict.flaky}" for verdict in verdicts if verdict.flaky), "")
    if first.passed:
        return "the acceptance command passes only with the run's own changes to the tests" + flaky
    if first.exit_code in _NEVER_RAN:
        return f"exit {first.exit_code}: {_NEVER_RAN[first.exit_code]}; {_OTHERWISE}"
    return "the acceptance command fails on the final tree" + flaky


def _sure(run: Callable[[], e.Judged]) -> e.Judged:
    """Run the command; one that fails again, and a third time where the two differ. Return what most of them say."""
    ran = [run()]
    if not ran[0].verdict.passed and not _hopeless(ran[0].verdict):
        ran.append(run())
        if ran[1].verdict.passed:
            ran.append(run())
    passes = sum(one.verdict.passed for one in ran)
    passed = passes * 2 > len(ran)
    decided = next(one for one in reversed(ran) if one.verdict.passed is passed)
    failed = next((one.verdict.output for one in ran if passed and not one.verdict.passed), "")
    counted = {"runs": len(ran), "passes": passes, "flake": failed}
    return decided.model_copy(update={"verdict": decided.verdict.model_copy(update=counted)})


def _hopeless(verdict: Verdict) -> bool:
    """Whether to run the command again would say the same, or take as long as it may once more."""
    return verdict.timed_out or verdict.exit_code in _NEVER_RAN


def _run(command: str, ran: Ran, *, tree: str, base_tests: bool) -> e.Judged:
    result, found = ran(tree, command)
    verdict = Verdict(
        command=command,
        exit_code=result.exit_code,
        timed_out=result.timed_out,
        output=result.output[-_KEPT_OUTPUT:].decode(errors="replace"),
        duration_s=result.duration_s,
        tree=tree,
        base_tests=base_tests,
    )
    return e.Judged(verdict=verdict, diagnostics=found)


def guess(files: Sequence[str], read: Callable[[str], bytes | None]) -> Acceptance | None:
    """Guess the acceptance command from the base's files; None where nothing is known to be right."""
    tops = set(files)
    pyproject = (read("pyproject.toml") or b"") if "pyproject.toml" in tops else b""
    python_tests = any(is_test(path) and path.endswith(".py") for path in files)
    if b"[tool.pytest" in pyproject or "pytest.ini" in tops or python_tests:
        return Acceptance(command="python3 -m pytest -q", origin="guess")
    return None
