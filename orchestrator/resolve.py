"""From a request to a run's specification: the base commit, the model, the acceptance command and the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from orchestrator.delivery.acceptance import guess
from orchestrator.errors import ConfigError, NotFoundError, UsageError
from orchestrator.models import SCRIPTED, Price, catalog, is_scripted, read_script
from orchestrator.models.prices import is_known
from orchestrator.runs import Acceptance, RunSpec
from orchestrator.settings import ProjectFile, changed, narrowed, parse_project_file, reasons
from sandbox import images

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.models import Catalog
    from orchestrator.requests import RunRequest
    from orchestrator.settings import Settings
    from sandbox.spec import Base, Limits
    from sandbox.store import Store

_NAMED: Final = 100
_UNKNOWN: Final = "unknown"
_NO_MODEL: Final = frozenset({"auto", "off"})
_DEAREST: Final = 1_000_000.0  # US dollars per million tokens.


def resolve(request: RunRequest, settings: Settings, store: Store, environ: Mapping[str, str]) -> RunSpec:
    """Resolve a request; copies the base commit into the store under the caller's own rights.

    Raises UsageError for a task or command that can't be, ConfigError for an unknown model or a bad project file, and
    the store's errors.
    """
    task = request.task.strip()
    if not task:
        raise UsageError("the task is empty", hint='dreamdock run "fix the failing tests"')
    known = catalog(settings.families)
    model = request.model or settings.model or known.default(environ)
    models = _models(request, settings, known, model)
    left_out = () if request.dirty else tuple(store.is_dirty(request.repo))
    base = store.import_commit(request.repo, request.rev, dirty=request.dirty)
    foreign = store.foreign(base.project, base.tree, most=_NAMED)
    project = _project_file(store, base)
    limits = changed(settings.limits, request.limits, who="the request")
    limits = narrowed(limits, project.limits, who="dreamdock.toml")
    sandbox = narrowed(_roomy(request, settings), project.sandbox, who="dreamdock.toml")
    image = _image(request, settings, store, base)
    try:
        return RunSpec(
            task=task,
            repo=base,
            accept=_accept(request, project, store, base),
            limits=limits,
            sandbox=sandbox,
            image=image,
            build=request.build,
            approvals=settings.approvals,
            recall_tokens=_recall_tokens(request, settings),
            priority=request.priority,
            requires=request.requires.model_copy(update={"image": "" if request.build else image}),
            left_out=left_out,
            submodules=foreign.submodules[:_NAMED],
            lfs_pointers=foreign.lfs_pointers,
            setup=tuple(filter(str.strip, project.setup if request.setup is None else request.setup)),
            **models,
        )
    except ValidationError as error:
        raise UsageError("the request can't be a run", cause=reasons(error), hint="dreamdock run --help") from error


def _roomy(request: RunRequest, settings: Settings) -> Limits:
    """Return the sandbox's limits as asked for; what the run requires of its worker it is also given."""
    limits = changed(settings.sandbox, request.sandbox, who="the request")
    wanted = {"memory_mb": request.requires.memory_mb, "cpus": request.requires.cpus}
    raised = {key: value for key, value in wanted.items() if value > getattr(limits, key)}
    return changed(limits, raised, who="the request")


def _recall_tokens(request: RunRequest, settings: Settings) -> int:
    """Return how much of long-term memory the run is given at once: as asked for, or as the settings say."""
    return settings.library.recall_tokens if request.recall is None else request.recall


def _image(request: RunRequest, settings: Settings, store: Store, base: Base) -> str:
    """Return the name of the image, or nothing for the base image; the one of a Dockerfile is built by the worker."""
    path = request.build
    if not path:
        return images.named(request.image or settings.image or "")
    if request.image:
        raise UsageError("there are two images", cause=f"one is {request.image}, one of {path}", hint="leave one out")
    if store.read_file(base.project, base.tree, path) is None:
        cause = f"{base.commit[:10]} has no such file"
        raise NotFoundError(f"there is no Dockerfile {path}", cause=cause, hint="name its path in the repository")
    return images.repo_image(base, path)


def _models(request: RunRequest, settings: Settings, known: Catalog, model: str) -> dict[str, Any]:
    """Return what the specification says of models. Raises ConfigError where the money limit couldn't be kept."""
    if is_scripted(model):
        return {"model": SCRIPTED, "script": read_script(model), **_judge(request, settings, known, "")}
    price, unpriced = _price(request.price)
    chosen = known.choose(model, base_url=request.base_url)
    if price and is_known(chosen):
        cause = "its price is known, and can be changed in the settings alone"
        raise UsageError(f"{model} takes no --price", cause=cause, hint="leave it out; dreamdock models shows it")
    fallback = settings.fallback if request.fallback is None else request.fallback
    for choice in (chosen, known.choose(fallback)) if fallback else (chosen,):
        if not (unpriced or (price and choice is chosen) or is_known(choice)):
            cause = f"the price of {choice.name} isn't known"
            hint = (
                "--price IN,CACHED,OUT in USD per million tokens, --price 0 for your own hardware, or --price unknown"
            )
            raise ConfigError("the money limit couldn't be kept", cause=cause, hint=hint)
    return {
        "model": model,
        "base_url": request.base_url,
        "price": price,
        "unpriced": unpriced,
        "fallback": fallback or "",
        **_judge(request, settings, known, model),
    }


def _judge(request: RunRequest, settings: Settings, known: Catalog, own: str) -> dict[str, Any]:
    """Return who rules on what no command can check, and whether on all the rest, too; `own` is the run's model.

    Raises ConfigError where there is no such model, or its price isn't known.
    """
    asked = request.judge or settings.judge
    if asked in _NO_MODEL:
        return {"judge": own if asked == "auto" else ""}
    if asked != own and not is_known(known.choose(asked)) and _price(request.price) != (None, True):
        cause = f"the price of the judge {asked} isn't known"
        raise ConfigError(
            "the money limit couldn't be kept", cause=cause, hint="name another --judge, or --price unknown"
        )
    return {"judge": asked, "judge_always": True}


def _price(text: str) -> tuple[Price | None, bool]:
    """Read a price as given with a run: three figures, one zero, or that it is unknown. Raises UsageError."""
    if text in {"", _UNKNOWN}:
        return None, text == _UNKNOWN
    try:
        figures = [float(part) for part in text.split(",")]
    except ValueError:
        figures = []
    if figures == [0.0]:
        return Price(0.0, 0.0, 0.0), False
    if len(figures) != len(Price._fields) or not all(0 <= figure <= _DEAREST for figure in figures):
        cause = "it has to be IN,CACHED,OUT in US dollars per million tokens, 0, or unknown"
        raise UsageError(f"{text!r} is no price", cause=cause, hint="--price 0.60,0.10,2.20")
    return Price(*figures), False


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
