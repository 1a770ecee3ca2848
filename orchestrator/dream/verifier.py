"""What a dream verifies against: the head of a project's repository, as far as this host has it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator.dream.history import History
from orchestrator.dream.sealed import DREAM_LABEL, Sealed
from orchestrator.runs import STACK_LABEL
from orchestrator.settings import narrowed
from sandbox.errors import RemoteUnavailable, SandboxError
from sandbox.git import git
from sandbox.images import base_image
from sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.dream.sealed import Sealing
    from orchestrator.holdings import Holdings
    from orchestrator.runs import RunSpec
    from orchestrator.settings import Settings

_LONGEST_COMMAND_S: Final = 300.0


@dataclass(frozen=True)
class Verifier:
    """A repository at its head. `sealing` is where commands are tried, None for nowhere.

    `command_seconds` is the longest time of one command, `until` the end of all of it by the monotonic clock.
    """

    git_dir: Path
    head: str
    sealing: Sealing | None
    command_seconds: float
    until: float
    history: History = field(init=False)

    def __post_init__(self) -> None:
        """Open its history."""
        object.__setattr__(self, "history", History(self.git_dir, self.head))

    @property
    def seconds_left(self) -> float:
        """How much time there is yet; 0 for none."""
        return max(self.until - time.monotonic(), 0.0)


def verifier(
    settings: Settings, holdings: Holdings, runs: Iterable[tuple[str, RunSpec]], *, seconds: float | None = None
) -> Verifier | None:
    """Return what a project is verified against; None where this host has and gets no commit of its repository.

    `runs` are the project's, with their ids, the newest first. Its head is the newest base commit that no other one
    goes on from, and its commands are tried as that run's. `seconds` is how long it may take, without it a whole dream.
    """
    spec = _newest(holdings, runs)
    if spec is None:
        return None
    return Verifier(
        git_dir=holdings.store.git_dir(spec.repo.project),
        head=spec.repo.commit,
        sealing=sealed(settings, holdings, spec) if settings.dream.commands == "on" else None,
        command_seconds=min(settings.sandbox.command_seconds, spec.sandbox.command_seconds, _LONGEST_COMMAND_S),
        until=time.monotonic() + (settings.dream.seconds if seconds is None else seconds),
    )


def sealed(settings: Settings, holdings: Holdings, spec: RunSpec) -> Sealed:
    """Return where commands are tried as a run's: within this host's own limits, and without its network."""
    limits = narrowed(settings.sandbox, spec.sandbox.model_dump(), who="the run's record")
    labels = {STACK_LABEL: settings.stack_id, DREAM_LABEL: spec.repo.project}
    box = SandboxSpec(image=spec.image or base_image(), limits=limits, labels=labels)
    setup = settings.setup.container(spec.setup, image=box.image, limits=limits, labels=labels) if spec.setup else None
    root = settings.state_dir / "workspaces"
    return Sealed(holdings.store, spec.repo, root, box, setup=setup, build=spec.build)


def _newest(holdings: Holdings, runs: Iterable[tuple[str, RunSpec]]) -> RunSpec | None:
    """Return the newest of the runs whose base no other's goes on from: somebody may have asked for an old commit."""
    bases: dict[str, RunSpec] = {}
    away = False
    for run_id, spec in runs:
        repo = spec.repo
        if repo.commit in bases:
            continue
        try:
            here = holdings.store.leads_to(repo.project, run_id, [repo.commit])
            if here or (not away and holdings.bring(run_id, repo, [repo.commit])):
                bases[repo.commit] = spec
        except RemoteUnavailable:  # It may take a minute to find that out: once is enough.
            away = True
        except SandboxError:
            continue
    if not bases:
        return None
    first = next(iter(bases.values()))
    git_dir = holdings.store.git_dir(first.repo.project)
    with suppress(SandboxError):
        tips = git("merge-base", "--independent", *bases, git_dir=git_dir).out.decode().split()
        return next((spec for commit, spec in bases.items() if commit in tips), first)
    return first
