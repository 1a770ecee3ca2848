"""What an agent is told of its sub-agents: what became of each, and its words as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.agent.shown import clean, cut
from orchestrator.agent.wording import fill
from orchestrator.memory.plain import fenced, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator import events as e

_FRAME: Final = 600
"""Characters of what is ours, for each of them."""
_LEAST: Final = 400
_PATHS: Final = 40
"""Files that are named, of each list."""
_LONGEST_PATH: Final = 200
_LONGEST_REASON: Final = 300


class Result(NamedTuple):
    """What became of one of them. `patch` is what it changed where that isn't in the workspace."""

    started: e.ChildStarted
    finished: e.ChildFinished
    merged: e.ChildMerged | None = None
    patch: bytes = b""


def told(results: Sequence[Result], longest: int) -> str:
    """Return what the agent reads, in about `longest` characters; each has its share."""
    share = max(longest // len(results) - _FRAME, _LEAST)
    return "\n\n".join(_one(result, share) for result in results)


def _one(result: Result, longest: int) -> str:
    started, finished = result.started, result.finished
    reason = f" ({one_line(finished.reason, _LONGEST_REASON)})" if finished.reason else ""
    head = {"name": started.child, "kind": started.kind, "steps": str(finished.steps)}
    head["ended"] = f"{finished.outcome.replace('_', ' ')}{reason}"
    text = fill("child_report", **head, became=fill(_became(result)))
    words = "\n\n".join(_words(result, longest))
    return f"{text}\n{fenced(words)}" if words else text


def _became(result: Result) -> str:
    """Return which prompt says what became of its changes."""
    if result.started.kind == "explore":
        return "child_explored"
    if result.finished.tree == result.started.tree:
        return "child_unchanged"
    if result.merged is None:
        return "child_offered"
    if result.merged.merged:
        return "child_merged"
    return "child_conflict" if result.merged.conflicts else "child_not_merged"


def _words(result: Result, longest: int) -> Iterator[str]:
    """Yield what comes from the sandbox: the summary, the names of files, the patch."""
    finished, merged = result.finished, result.merged
    patch = clean(result.patch)
    if summary := clean(finished.summary.encode(errors="replace")).strip():
        yield cut(summary, longest=longest // 2 if patch else longest)
    if merged is not None and merged.conflicts:
        yield _listed("Conflicts:", merged.conflicts)
    if merged is not None and merged.failure:
        yield f"Failure: {one_line(merged.failure, _LONGEST_REASON)}"
    if finished.files:
        yield _listed("Changed:", [f"{file.status} {file.path}" for file in finished.files])
    if finished.inexact:
        yield _listed("Not taken along:", finished.inexact)
    if patch:
        yield f"Patch:\n{cut(patch, longest=longest // 2)}"


def _listed(title: str, paths: Sequence[str]) -> str:
    named = [one_line(path, _LONGEST_PATH) for path in paths[:_PATHS]]
    more = [f"and {len(paths) - _PATHS} more"] if len(paths) > _PATHS else []
    return "\n".join([title, *named, *more])
