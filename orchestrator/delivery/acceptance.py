"""Proof: the acceptance command in a fresh sealed container, on the final tree.

If the run changed tests, the command runs once more with the base's test files put back.
Both results are recorded; the work is accepted when every one of them passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from orchestrator import events as e
from orchestrator.delivery.testcode import is_test
from orchestrator.delivery.weakened import weakened
from orchestrator.runs import Acceptance, Verdict, Weakening, Weakness
from sandbox.trees import COMPARED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from orchestrator.journal.writer import Writer
    from orchestrator.runs import RunSpec
    from sandbox.open import Sandbox
    from sandbox.store import Store

_KEPT_OUTPUT: Final = 8000
_NEVER_RAN: Final = {
    126: "the acceptance command, or one that it calls, is no executable file (chmod +x it, or name its interpreter)",
    127: "the acceptance command, or one that it calls, isn't in the sandbox",
}
"""What a shell says with these exit codes."""
_OTHERWISE: Final = "name another by run --accept or in dreamdock.toml, or an image that has it by run --image"


class Opener(Protocol):
    """Opens a fresh sandbox on a tree."""

    def __call__(self, tree: str) -> AbstractContextManager[Sandbox]:
        """Return the sandbox as a context."""


def look_through(spec: RunSpec, journal: Writer, store: Store) -> None:
    """Record what the run's changes may have weakened of what is to prove it, where there is something."""
    repo = spec.repo
    patch = store.diff(repo.project, repo.tree, journal.view.tree, most=COMPARED)
    found = weakened(patch, accept=spec.accept.command if spec.accept else "")
    if not patch and journal.view.tree != repo.tree:
        found = (Weakness(kind=Weakening.UNREAD, path=".", line=0, text="the changes are too large"),)
    if found:
        journal.append(e.Weakened(found=found))


def prove(spec: RunSpec, accept: Acceptance, journal: Writer, store: Store, opened: Opener) -> tuple[Verdict, ...]:
    """Run the acceptance command on the run's tree; record and return what it said."""
    project, base, final = spec.repo.project, spec.repo.tree, journal.view.tree
    trees = [(final, False)]
    changed = [change.path for change in store.changed(project, base, final) if change.status != "A"]
    if tests := [path for path in changed if is_test(path)]:
        trees.append((store.with_paths_from(project, final, base, tests), True))
    journal.append(e.FinishStarted(command=accept.command, origin=accept.origin))
    verdicts = []
    for tree, base_tests in trees:
        with opened(tree) as box:
            verdict = _judge(accept.command, box, tree, base_tests=base_tests)
        journal.append(e.Judged(verdict=verdict))
        verdicts.append(verdict)
    return tuple(verdicts)


def why_failed(verdicts: Sequence[Verdict]) -> str:
    """Return why the work isn't accepted; a command that can't be run there is told from one that says no."""
    first = verdicts[0]
    if first.passed:
        return "the acceptance command passes only with the run's own changes to the tests"
    if first.exit_code in _NEVER_RAN:
        return f"exit {first.exit_code}: {_NEVER_RAN[first.exit_code]}; {_OTHERWISE}"
    return "the acceptance command fails on the final tree"


def _judge(command: str, box: Sandbox, tree: str, *, base_tests: bool) -> Verdict:
    result = box.run(command)
    return Verdict(
        command=command,
        exit_code=result.exit_code,
        timed_out=result.timed_out,
        output=result.output[-_KEPT_OUTPUT:].decode(errors="replace"),
        duration_s=result.duration_s,
        tree=tree,
        base_tests=base_tests,
    )


def guess(files: Sequence[str], read: Callable[[str], bytes | None]) -> Acceptance | None:
    """Guess the acceptance command from the base's files; None where nothing is known to be right."""
    tops = set(files)
    pyproject = (read("pyproject.toml") or b"") if "pyproject.toml" in tops else b""
    python_tests = any(is_test(path) and path.endswith(".py") for path in files)
    if b"[tool.pytest" in pyproject or "pytest.ini" in tops or python_tests:
        return Acceptance(command="python3 -m pytest -q", origin="guess")
    return None
