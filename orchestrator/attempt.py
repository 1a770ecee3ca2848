"""One attempt: carries a run from its claim to its end, or to where the next attempt goes on."""

from __future__ import annotations

import os
import platform
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from orchestrator import events as e
from orchestrator import host
from orchestrator.agent import parking
from orchestrator.agent.around import Around
from orchestrator.agent.budget import Budget
from orchestrator.agent.judging import LONGEST_S, Judge
from orchestrator.agent.loop import Agent
from orchestrator.audit import gather
from orchestrator.court import Court, accepted
from orchestrator.errors import (
    DreamdockError,
    EndlessError,
    FencedError,
    HeadMovedError,
    JournalError,
    RedisAwayError,
    TooLongError,
)
from orchestrator.holdings import Holdings
from orchestrator.journal.asks import user_of
from orchestrator.journal.connection import redis_url
from orchestrator.journal.daily import Daily
from orchestrator.journal.handover import hand_over, park
from orchestrator.journal.lease import Lease, claim
from orchestrator.journal.signing import Signer
from orchestrator.journal.verify import check
from orchestrator.journal.writer import Writer
from orchestrator.library.lookup import Lookup
from orchestrator.models import Price, catalog, is_scripted, open_model, open_script, secrets
from orchestrator.models import chat as _chat  # noqa: F401  # Loaded before the worker forks; it connects nothing.
from orchestrator.models.client import Patience  # As above.
from orchestrator.models.fallback import FallbackModel
from orchestrator.pushing import NoCopies, Pushing
from orchestrator.restoring import restore
from orchestrator.runs import FENCE_LABEL, STACK_LABEL, Outcome
from orchestrator.settings import narrowed
from orchestrator.stop import ASKED, CANCELLED, LOST, PAUSED, PREEMPTED, Stop, Stopped
from orchestrator.watching import watched
from sandbox.errors import (
    ChannelLost,
    DiskFull,
    EngineUnavailable,
    ImageUnusable,
    QuotaFull,
    RemoteUnavailable,
    SandboxError,
    SetupFailed,
    WorkspaceFull,
)
from sandbox.images import base_image
from sandbox.mounts import may_mount
from sandbox.open import open_sandbox
from sandbox.policy import RUN_LABEL, describe
from sandbox.repo_image import RepoImage
from sandbox.setup import SetUp
from sandbox.spec import SandboxSpec
from sandbox.trees import COMPARED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from orchestrator.agent.condenser import Opener
    from orchestrator.agent.ending import Ending
    from orchestrator.models.port import Model
    from orchestrator.runs import RunSpec
    from orchestrator.settings import Settings
    from sandbox.layer import Layer
    from sandbox.open import Sandbox
    from sandbox.pool import Pool

_BUILD_SECONDS: Final = 1800.0
_SETTLE_SECONDS: Final = 10.0
_SETTLE_CANCELLED_SECONDS: Final = 1.0
"""How long an attempt waits at its end for the checkpoint remote to have its last step; a keeper pushes it later."""
_CONDENSERS: Final = Patience(first_token_s=60.0, total_s=120.0, attempts=2)
"""How long a summary is waited for; the work goes on meanwhile."""
_JUDGES: Final = Patience(first_token_s=120.0, total_s=LONGEST_S, attempts=2)
_PASSING: Final = (ChannelLost, EngineUnavailable, DiskFull, RemoteUnavailable)
"""Errors that another attempt may not meet."""
_LIMITS: Final = (TooLongError, EndlessError, QuotaFull, WorkspaceFull)
"""Errors that more of something would have spared."""
_NETWORK_OFF: Final = "setup.network is off on this worker; the operator may set it to on"
_NOT_CONTRADICTED: Final = frozenset({"unsigned", "unpinned", "blob"})
_log = structlog.get_logger(__name__)
_OUTCOMES: Final = {
    "steps": Outcome.LIMIT,
    "tokens": Outcome.LIMIT,
    "money": Outcome.LIMIT,
    "time": Outcome.TIMED_OUT,
    "gave_up": Outcome.FAILED,
    "looped": Outcome.LIMIT,
    "denied": Outcome.LIMIT,
}


def carry(
    client: Redis,
    settings: Settings,
    run_id: str,
    number: int,
    stop: Stop,
    *,
    pool: Pool | None = None,
    signer: Signer | None = None,
    given_to: str = "",
) -> None:
    """Claim the run and carry it forward. Returns quietly where another attempt has it, or it is done.

    `pool` is where its sandboxes come from, as far as it has them; `signer` is this machine's, if it's loaded already.
    `given_to` names the worker that the queue gave the run to.
    """
    worker = f"{platform.node()}:{os.getpid()}"
    fence = claim(client, run_id, number, lease_seconds=settings.lease_seconds, worker=given_to)
    if isinstance(fence, str):
        _log.info("not claimed", run=run_id, attempt=number, why=fence)
        return
    keys = secrets(catalog(settings.families), os.environ)
    seconds = settings.lease_seconds
    with Lease(client, run_id, fence, lease_seconds=seconds, stop=stop):  # From here on: a long journal takes its time.
        broken = _broken(client, settings, run_id)
        signer = None if broken else signer or Signer.load(settings.state_dir)
        told: dict[str, Any] = {"secrets": keys, "signer": signer, "stop": stop}
        try:
            journal = Writer(client, run_id, who=worker, fence=fence, lease_seconds=seconds, **told)
        except JournalError as error:  # Damaged, or a newer version's: left as it is.
            _log.error("a journal can't be read", run=run_id, why=error.message, cause=error.cause)
            return
        with watched(redis_url(settings), journal, stop):
            try:
                if broken:  # Whoever carried it on would sign what somebody else wrote.
                    reason = f"the journal isn't as it was written: {broken}"
                    journal.append(e.Finished(outcome=Outcome.ERROR, reason=reason), operation="finish")
                    return
                claimed = e.Claimed(attempt=number, fence=fence, worker=worker, host=platform.node())
                Attempt(journal, settings, fence, stop, pool).carry(claimed)
            except FencedError as error:
                _log.warning("fenced off", run=run_id, attempt=number, why=error.message)
            except (RedisAwayError, Stopped) as error:
                _log.warning("left to a keeper", run=run_id, attempt=number, why=str(error))


def _broken(client: Redis, settings: Settings, run_id: str) -> str:
    """Return what is wrong with a run's journal; empty where what this machine knows of it bears it out."""
    store = Holdings(settings).store
    found = check(*gather(client, settings, run_id, lambda repo, wanted: store.commits(repo.project, wanted)))
    return "" if found.ok or found.kind in _NOT_CONTRADICTED else found.why


class Attempt:
    """The way of a run, from the sandbox to the verdict."""

    def __init__(self, journal: Writer, settings: Settings, fence: int, stop: Stop, pool: Pool | None = None) -> None:
        self._journal = journal
        self._settings = settings
        self._fence = fence
        self._stop = stop
        self._pool = pool
        self._spec = capped(journal.view.spec, settings)
        self._holdings = Holdings(settings)
        self._store = self._holdings.store
        self._copies = self._pushing()
        self._root = settings.state_dir / "workspaces"
        self._daily = Daily(journal)
        self._layer: Layer | None = None

    def carry(self, claimed: e.Claimed) -> None:
        """Do the work, prove it, and end the run; or hand it over where this attempt can't end it.

        `claimed` is said once this host is fit to begin: until then the run is shown as queued.
        """
        if self._journal.view.pausing:  # Since before it was claimed: nothing is begun.
            self._stop.set(PAUSED)
        elif self._journal.view.preempting:  # As above.
            self._stop.set(PREEMPTED)
        with self._copies:
            self._carry(claimed)

    def _carry(self, claimed: e.Claimed) -> None:
        try:
            self._stop.check()
            host.wait_until_fit(self._settings, self._stop)
            self._journal.append(claimed)
            if claimed.attempt > 1:
                host.end_former(self._settings, self._journal.view.id, self._fence)
            restore(self._journal, self._holdings, self._stop)
            if self._journal.view.step:
                self._copies.committed(self._journal.view.step)  # What an attempt before left behind.
            self._build()
            with self._set_up():
                while not self._end(self._work()):
                    pass  # A person had something to say while it was being proven: the agent goes on.
        except Stopped as stopped:
            self._stopped(stopped.reason)
        except (JournalError, RedisAwayError):
            raise  # What isn't committed is the next attempt's; a keeper puts it in line when the lease has run out.
        except (DreamdockError, SandboxError) as error:
            self._failed(error)
        except Exception as error:
            _log.exception("an attempt failed", run=self._journal.view.id)
            self._finish(Outcome.ERROR, f"internal error: {type(error).__name__}: {error}")
            raise

    def _pushing(self) -> Pushing | NoCopies:
        """Return what sends committed steps to the checkpoint remote, where there is one."""
        remote, view = Holdings(self._settings).remote, self._journal.view  # One of its own: it is ended by itself.
        if remote is None:
            return NoCopies()
        project, run_id, owns = self._spec.repo.project, view.id, self._journal.owns

        def push() -> None:
            remote.push_run(project, run_id, overwrite=lambda _there: owns())

        return Pushing(push, remote.kill, self._stop, pushed=view.pushed)

    def _failed(self, error: DreamdockError | SandboxError) -> None:
        """Hand the run over where another attempt may do better, else end it."""
        passing = isinstance(error, _PASSING) and not isinstance(error, WorkspaceFull)
        if passing and self._stop.is_set:
            self._stopped(self._stop.reason)
        elif passing:
            self._copies.settle(_SETTLE_SECONDS)
            hand_over(self._journal, error.words)
        else:
            outcome = Outcome.LIMIT if isinstance(error, _LIMITS) else Outcome.ERROR
            self._finish(outcome, error.words)

    def _build(self) -> None:
        """Have the image of the repository's own Dockerfile where the run names one: from the engine, or built now."""
        if not self._spec.build:
            return
        self._stop.check()
        building = RepoImage(self._store, self._spec.repo, self._spec.build, self._settings.state_dir)
        event = e.Built(dockerfile=self._spec.build, image=self._spec.image)
        began, forget = time.monotonic(), self._stop.on_set(building.kill)
        try:
            image = building.name(
                allowed=self._settings.allow_weaker_repo_build,
                seconds=min(_BUILD_SECONDS, self._journal.view.limits.seconds),
                memory_mb=self._spec.sandbox.memory_mb,
            )
        except (ImageUnusable, DiskFull) as error:
            lost = {"failed": error.words, "log": building.log}
            self._journal.append(event.model_copy(update=lost))
            raise
        finally:
            forget()
        seconds = time.monotonic() - began
        told = {"image": image, "cached": not building.built, "seconds": seconds, "log": building.log}
        self._journal.append(event.model_copy(update=told))
        self._spec = self._spec.model_copy(update={"image": image})

    @contextmanager
    def _set_up(self) -> Iterator[None]:
        """Have what the run's set-up commands make, from the cache or made now, while the block runs."""
        if not self._spec.setup:
            yield
            return
        self._stop.check()
        sealed, setup = self._sandbox_spec(), self._settings.setup
        spec = setup.container(self._spec.setup, image=sealed.image, limits=sealed.limits, labels=sealed.labels)
        spec = spec.model_copy(update={"seconds": min(spec.seconds, self._journal.view.limits.seconds)})
        event = e.SetUp(commands=spec.commands, network=setup.network)
        making = SetUp(spec, self._store, self._spec.repo, self._root)
        forget = self._stop.on_set(making.kill)
        try:
            self._layer = layer = making.layer()
        except SetupFailed as error:
            self._journal.append(event.model_copy(update={"failed": error.message, "log": error.log}))
            if not spec.network:
                raise SandboxError(error.message, cause=f"{error.cause}; {_NETWORK_OFF}") from error
            raise
        finally:
            forget()
        try:
            told = {"cached": layer.cached, "seconds": layer.seconds, "log": layer.log}
            found = {"installs": layer.installs, "unlooked": layer.unlooked}
            self._journal.append(event.model_copy(update=told | found))
            yield
        finally:
            layer.held.release()

    def _work(self) -> Ending:
        model = self._open_model()
        try:
            view = self._journal.view
            with self._opened(view.tree, view.shell) as box:
                self._journal.append(self._ready(box))
                return Agent(model, box, self._journal, self._spec, self._stop, around=self._around()).run()
        finally:
            model.close()

    def _open_model(self) -> Model:
        """Return the run's model. Raises ConfigError for a model or a key that this worker doesn't have."""
        spec = self._spec
        if is_scripted(spec.model):
            return open_script(spec.model, spec.script, accept=spec.accept.command if spec.accept else "")
        if not spec.fallback:
            return self._opened_model(spec.model)
        second = self._opened_model(spec.fallback)
        return FallbackModel(self._opened_model(spec.model), second)

    def _opened_model(self, name: str, patience: Patience | None = None) -> Model:
        """Return one of the run's two models, with the run's settings."""
        spec, own = self._spec, name == self._spec.model
        price = Price(*spec.price) if own and spec.price else None
        known = catalog(self._settings.families)
        choice = known.choose(name, base_url=spec.base_url if own else "", price=price)
        return open_model(choice, os.environ, cache_key=self._journal.view.id, patience=patience)

    def _around(self) -> Around:
        budget = Budget.of(self._journal, self._daily)
        name, opener = self._spec.judge, partial(self._opened_model, patience=_JUDGES)
        judge = Judge(name, opener, self._journal, self._stop, budget) if name else None
        return Around(
            copies=self._copies,
            opener=self._condensers(),
            models=self._another_model,
            fork=self._opened,
            has=self._has,
            notes=self._notes(),
            budget=budget,
            court=Court(self._spec, self._journal, self._store, self._opened, judge),
            library=Lookup(self._settings, user_of(self._journal.view.who), self._spec.repo.project),
        )

    def _has(self, commit: str) -> bool:
        """Whether a checkpoint of the run is in this host's store."""
        return bool(self._store.leads_to(self._spec.repo.project, self._journal.view.id, [commit]))

    def _notes(self) -> str:
        """Return what the model's family wants in the system text."""
        model = self._spec.model
        if is_scripted(model):
            return ""
        return catalog(self._settings.families).choose(model, base_url=self._spec.base_url).family.notes

    def _another_model(self, name: str, *, agent: str = "") -> Model:
        """Return a model of the run for another thread; a scripted one follows the run's script for that sub-agent."""
        spec = self._spec
        if is_scripted(name):
            return open_script(name, spec.script, accept=spec.accept.command if spec.accept else "", agent=agent)
        return self._opened_model(name)

    def _condensers(self) -> Opener | None:
        """Return what opens a model that sums up: with the run's own settings, so that its cache is the same."""
        return None if is_scripted(self._spec.model) else partial(self._opened_model, patience=_CONDENSERS)

    def _end(self, ending: Ending) -> bool:
        """End the run as the work ended; false where there is something to tell the agent instead."""
        if ending.kind == "submitted":
            return self._submitted(Outcome.SUCCEEDED, accepted(self._journal.view), ending.summary)
        if ending.kind == "refused":
            return self._submitted(Outcome.FAILED, ending.reason, ending.summary)
        return self._finish(_OUTCOMES[ending.kind], ending.reason, ending.summary)

    def _submitted(self, outcome: Outcome, reason: str, summary: str) -> bool:
        """End a run whose agent is done, unless somebody had something to say to it meanwhile."""
        self._journal.refresh()
        while not self._journal.view.unheard:
            with suppress(HeadMovedError):  # Somebody wrote; if that is a message, the agent goes on.
                return self._finish(outcome, reason, summary, strict=True)
        return False

    def _stopped(self, reason: str) -> None:
        if reason == LOST:
            return
        # Before it's given on: whoever takes it on another host begins with what the remote has.
        self._copies.settle(_SETTLE_CANCELLED_SECONDS if reason == CANCELLED else _SETTLE_SECONDS)
        if reason == CANCELLED:
            self._finish(Outcome.CANCELLED, CANCELLED)
        elif reason == PAUSED:
            park(self._journal)
        elif reason == ASKED:
            parking.park(self._journal, self._spec.approvals)
        elif reason == PREEMPTED:
            hand_over(self._journal, self._journal.view.preempting or PREEMPTED, to_blame=False)
        else:
            hand_over(self._journal, reason, to_blame=False)

    def _finish(self, outcome: Outcome, reason: str, summary: str = "", *, strict: bool = False) -> bool:
        if outcome is not Outcome.CANCELLED:
            self._copies.settle(_SETTLE_SECONDS)
        repo, tree = self._spec.repo, self._journal.view.tree
        body = e.Finished(
            outcome=outcome,
            reason=reason,
            summary=summary,
            tree=tree,
            files=self._store.changed(repo.project, repo.tree, tree),
            patch=self._journal.blob(self._store.diff(repo.project, repo.tree, tree, most=COMPARED)),
        )
        self._journal.append(body, operation="finish", strict=strict)
        return True

    @contextmanager
    def _opened(self, tree: str, shell: str = "") -> Iterator[Sandbox]:
        """Open a fresh sandbox on a tree, with a state of the shell; a stop removes its container at once."""
        self._stop.check()
        at: dict[str, Any] = {"tree": tree, "shell": shell, "layer": self._layer, "pool": self._pool}
        at["run_id"] = self._journal.view.id
        with open_sandbox(self._sandbox_spec(), self._store, self._spec.repo, self._root, **at) as box:
            forget = self._stop.on_set(box.kill)
            try:
                with self._stop.holding(
                    lambda: self._freeze(box, frozen=True), lambda: self._freeze(box, frozen=False)
                ):
                    yield box
            finally:
                forget()

    def _freeze(self, box: Sandbox, *, frozen: bool) -> None:
        """Freeze a sandbox while it isn't sure whose run this is, or let it run on; one that can't is ended."""
        try:
            box.pause() if frozen else box.resume()
        except SandboxError as error:
            _log.warning("a sandbox can't be frozen, or run on", why=error.message, cause=error.cause)
            with suppress(SandboxError):  # Then its channel ends, and with it the attempt.
                box.kill()

    def _sandbox_spec(self) -> SandboxSpec:
        run_id = self._journal.view.id
        labels = {STACK_LABEL: self._settings.stack_id, RUN_LABEL: run_id, FENCE_LABEL: str(self._fence)}
        return SandboxSpec(image=self._spec.image or base_image(), limits=self._spec.sandbox, labels=labels)

    def _ready(self, box: Sandbox) -> e.SandboxReady:
        spec = self._sandbox_spec()
        return e.SandboxReady(
            image=spec.image,
            image_id=box.image_id,
            container=box.container_id,
            tree=self._journal.view.tree,
            policy=describe(spec, own_disk=may_mount()) | ({"commands": box.fallback} if box.fallback else {}),
        )


def capped(spec: RunSpec, settings: Settings) -> RunSpec:
    """Return what the record asks for, capped by this worker's own settings: limits, memory, what needs a person."""
    limits = narrowed(settings.sandbox, spec.sandbox.model_dump(), who="the run's record")
    recalled = min(spec.recall_tokens, settings.library.recall_tokens)
    own = {"sandbox": limits, "approvals": spec.approvals.stricter(settings.approvals), "recall_tokens": recalled}
    return spec.model_copy(update=own)
