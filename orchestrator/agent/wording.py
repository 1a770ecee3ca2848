"""The prompts: the files in prompts/, filled in here and nowhere else."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Final

from orchestrator.agent.guards.judge import SILENT

if TYPE_CHECKING:
    from orchestrator.agent.role import Role
    from orchestrator.events import Guarded
    from orchestrator.runs import RunSpec


_SHARED: Final = ("container", "shell", "notes", "changes", "data")
"""What the system texts of several roles say alike."""


def system(role: Role, notes: str = "") -> str:
    """Return the system text of a role: the same for every run of this version; `notes` are for one model family."""
    text = fill(role.system, **{name: _text(name) for name in _SHARED})
    return f"{text}\n\n{notes}" if notes else text


def task(role: Role, spec: RunSpec, repo_notes: str) -> str:
    """Return what the work begins with: the task as given, where it is, what decides, and the repository's notes."""
    acceptance = fill("accept", command=spec.accept.command) if spec.accept else _text("no_accept")
    text = fill(role.task, task=spec.task, name=spec.repo.name, commit=spec.repo.commit[:12], acceptance=acceptance)
    return f"{text}\n\n{fill('repo_notes', notes=repo_notes)}" if repo_notes else text


def guarded(found: Guarded) -> str:
    """Return what the model is told of a loop that it is in."""
    if found.kind == SILENT:
        return _text("reminder")
    return fill(f"guard_{found.level}", reason=found.reason, step=str(found.since))


def fill(name: str, /, **values: str) -> str:
    """Return the prompt of that name with its `$names` filled in; a value is never read for further names."""
    return Template(_text(name)).substitute(values)


@cache
def _text(name: str) -> str:
    return files("orchestrator.agent").joinpath("prompts", f"{name}.md").read_text(encoding="utf-8").strip()
