"""From a request to a run's specification: the base commit, the model, the acceptance command and the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.delivery.acceptance import guess
from orchestrator.errors import UsageError
from orchestrator.models import SCRIPTED, check_model, default_model, is_scripted, read_script
from orchestrator.runs import Acceptance, RunSpec
from orchestrator.settings import ProjectFile, changed, narrowed, parse_project_file, reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.requests import RunRequest
    from orchestrator.settings import Settings
    from sandbox.spec import Base
    from sandbox.store import Store


def resolve(request: RunRequest, settings: Settings, store: Store, environ: Mapping[str, str]) -> RunSpec:
    """Resolve a request; copies the base commit into the store under the caller's own rights.

    Raises UsageError for a task or command that can't be, ConfigError for an unknown model or a bad project file, and
    the store's errors.
    """
    task = request.task.strip()
    if not task:
        raise UsageError("the task is empty", hint='dreamdock run "fix the failing tests"')
    model = request.model or settings.model or default_model(environ)
    check_model(model, base_url=request.base_url)
    script = read_script(model) if is_scripted(model) else ""
    left_out = () if request.dirty else tuple(store.is_dirty(request.repo))
    base = store.import_commit(request.repo, request.rev, dirty=request.dirty)
    project = _project_file(store, base)
    limits = changed(settings.limits, request.limits, who="the request")
    limits = narrowed(limits, project.limits, who="dreamdock.toml")
    sandbox = changed(settings.sandbox, request.sandbox, who="the request")
    try:
        return RunSpec(
            task=task,
            repo=base,
            model=SCRIPTED if is_scripted(model) else model,
            base_url=request.base_url,
            accept=_accept(request, project, store, base),
            limits=limits,
            sandbox=narrowed(sandbox, project.sandbox, who="dreamdock.toml"),
            image=request.image or settings.image or "",
            script=script,
            left_out=left_out,
        )
    except ValidationError as error:
        raise UsageError("the request can't be a run", cause=reasons(error), hint="dreamdock run --help") from error


def _project_file(store: Store, base: Base) -> ProjectFile:
    data = store.read_file(base.project, base.tree, "dreamdock.toml")
    return parse_project_file(data.decode(errors="replace")) if data else ProjectFile()


def _accept(request: RunRequest, project: ProjectFile, store: Store, base: Base) -> Acceptance | None:
    """Return the acceptance command: asked for, else the project's, else guessed. An empty one asked for means none."""
    if request.accept is not None:
        return Acceptance(command=request.accept, origin=request.accept_origin) if request.accept.strip() else None
    if project.accept:
        return Acceptance(command=project.accept, origin="dreamdock.toml")
    files = store.list_files(base.project, base.tree)
    return guess(files, lambda path: store.read_file(base.project, base.tree, path))
