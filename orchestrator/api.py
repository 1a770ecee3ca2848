"""The one door: everything that people and programs can do with runs. Returns values, prints nothing."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator import answering, redaction, standing
from orchestrator import events as e
from orchestrator.audit import Audit, audit, gather
from orchestrator.errors import ConfigError, DreamdockError, HeadMovedError, NotFoundError, UsageError
from orchestrator.journal import bundle, connection, index, signing, stream
from orchestrator.journal.asks import user_of
from orchestrator.journal.presence import EXPIRE_SECONDS, Presence, alive, strangers
from orchestrator.journal.safety import dangers
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer, create
from orchestrator.models import catalog, secrets
from orchestrator.queue import drain, pause_queue, resume_queue
from orchestrator.reading import Reader
from orchestrator.runs import RunSpec, RunView, State, new_run_id
from orchestrator.steering import Steering
from orchestrator.timeline import Timeline
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis import Redis

    from orchestrator.delivery.patch import Applied
    from orchestrator.dreams import Dreams
    from orchestrator.librarian import Librarian
    from orchestrator.redaction import Typed
    from orchestrator.requests import RunRequest
    from orchestrator.results import Results
    from orchestrator.settings import Settings
    from orchestrator.standing import QueueState, WorkerState
    from orchestrator.steering import More
    from orchestrator.timeline import Moment
    from orchestrator.upkeep import Pruned


_REWIND_SECONDS: Final = 60.0


class Asked(NamedTuple):
    """A request to go back, its number in the journal, and whether it took up a run that was over."""

    request: e.RewindRequested
    seq: int
    reopened: bool = False


class LackingKey(NamedTuple):
    """A model's key that no worker has: its variable, and whether the model can't do without."""

    model: str
    variable: str
    needed: bool


def connect(settings: Settings) -> Door:
    """Return the door to the runs that these settings point at; nothing is sent yet."""
    return Door(connection.connect(connection.redis_url(settings)), settings)


def audit_bundle(settings: Settings, file: IO[bytes], keys: Sequence[str] = ()) -> Audit:
    """Return what the run in a bundle did, and whether that is as it was written, as far as these public keys vouch.

    Without `keys` those count that the settings pin. Raises JournalError for what is no bundle, ConfigError.
    """
    found = bundle.read(file)
    given = [signing.parse_key("the public key", key)._replace(name="the given key") for key in keys]
    known = {key.id: key for key in given} or signing.pinned(settings.state_dir, settings.signers)
    return audit(found.journal, found.evidence._replace(keys=known))._replace(
        named=tuple(found.keys.items()), bundled=True
    )


def librarian(settings: Settings, repo: Path | None = None, project: str = "") -> Librarian:
    """Return the library as this process's user sees it at work on a repository; no Redis is asked.

    That is the one at `repo`, else the current folder's, if there is one; or another one, by its id. Raises
    NotFoundError for a `repo` that is none, ConfigError.
    """
    from orchestrator.librarian import Librarian  # noqa: PLC0415  # Runs don't need it.

    user = user_of(connection.who(connection.redis_url(settings)))
    if project:
        return Librarian(settings, user, project)
    found = _project_at(settings, repo)
    return Librarian(settings, user, found, (repo or Path.cwd()) if found else None)


def _project_at(settings: Settings, repo: Path | None) -> str:
    """Return the id of the repository at `repo`, else of the current folder's; empty where that is none.

    Raises NotFoundError for a `repo` that is none.
    """
    from sandbox.store import Store  # noqa: PLC0415  # As in `Reader`.

    found = Store(settings.state_dir / "repos").project_of(repo or Path.cwd())
    if found is None and repo is not None:
        raise NotFoundError(f"{repo} is no git repository with a commit", hint="name another with --repo")
    return found or ""


def machine_key(settings: Settings) -> signing.Key:
    """Return the public key that this machine's workers sign with.

    Raises NotFoundError where no worker has made it yet, ConfigError.
    """
    key = signing.own_key(settings.state_dir)
    if key is None:
        cause = f"its first worker makes one; none has started with the state folder {settings.state_dir}"
        raise NotFoundError("this machine has no signing key yet", cause=cause, hint="dreamdock up")
    return key


class Door(Reader):
    """The runs of one Redis."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        super().__init__(client, settings)
        self._who = connection.who(connection.redis_url(settings))
        self._steering = Steering(client, self._who)
        self._answering = answering.Answering(client, self._who)

    @property
    def _results(self) -> Results:
        from orchestrator.results import Results  # noqa: PLC0415  # As above.

        return Results(self._client, self._settings)

    def resolve(self, request: RunRequest) -> RunSpec:
        """Resolve a request to a specification; its base commit is in the store afterwards.

        Raises LimitError where the store is full, and what `resolve` raises.
        """
        from orchestrator.resolve import resolve  # noqa: PLC0415  # `ps` doesn't need it.

        self._require_room()
        return resolve(request, self._settings, self._store, os.environ)

    def policy(self, spec: RunSpec) -> dict[str, Any]:
        """Return what the run's sandbox would be sealed with, printable."""
        from sandbox.policy import describe  # noqa: PLC0415  # Only --dry-run asks.
        from sandbox.spec import SandboxSpec  # noqa: PLC0415  # As above.

        return describe(SandboxSpec(image=spec.image or "dreamdock/base", limits=spec.sandbox))

    def setup_policy(self, spec: RunSpec) -> dict[str, Any]:
        """Return where the policy of the set-up's container differs, as this machine's settings are; empty for none."""
        from sandbox.policy import describe  # noqa: PLC0415  # As above.

        if not spec.setup:
            return {}
        setup, image = self._settings.setup, spec.image or "dreamdock/base"
        sealed, told = self.policy(spec), describe(setup.container(spec.setup, image=image, limits=spec.sandbox))
        return {"time": f"{setup.seconds} s for all commands"} | {
            rule: words for rule, words in told.items() if words != sealed[rule]
        }

    def typed(self, text: str) -> Typed:
        """Return what a person typed without this shell's model keys and what else is a credential beyond doubt.

        Whatever is submitted or said goes through this by itself; ask it to tell how many were left out.
        """
        return redaction.typed(text, secrets(catalog(self._settings.families), os.environ))

    def submit(self, spec: RunSpec) -> RunView:
        """Queue a run. Raises ConfigError where its model needs a key that no living worker has."""
        return self._submit(spec.model_copy(update={"task": self.typed(spec.task).text}))

    def _submit(self, spec: RunSpec, *begun: e.Body) -> RunView:
        for key in self.lacking(spec):
            if key.needed:
                hint = f"export {key.variable}=…; dreamdock down; dreamdock up"
                cause = f"{key.variable} isn't set where the workers run"
                raise ConfigError(f"no worker has a key for {key.model}", cause=cause, hint=hint)
        run_id = new_run_id()
        spec = self._results.prepare(run_id, self._with_keys(spec), *begun)
        bodies = [e.Submitted(spec=spec), *begun, e.Dispatched(attempt=1)]
        return create(self._client, run_id, self._who, bodies)

    def _with_keys(self, spec: RunSpec) -> RunSpec:
        """Have a run require a worker with the keys that its models can't do without."""
        known = catalog(self._settings.families).families
        asked = {model.partition("/")[0] for model in (spec.model, spec.fallback, spec.judge)} & known.keys()
        keys = sorted(name for name in asked if known[name].key and not known[name].key_optional)
        return spec.model_copy(update={"requires": spec.requires.model_copy(update={"keys": tuple(keys)})})

    def _require_room(self) -> None:
        from orchestrator.upkeep import require_room  # noqa: PLC0415  # It takes pygit2, as the store does.

        require_room(self._settings)

    def prune(self, *, days: float | None = None, dry_run: bool = False) -> Pruned:
        """Give up old runs' checkpoints and what is cached beyond its quota; see `upkeep.give_up`."""
        from orchestrator.upkeep import give_up  # noqa: PLC0415  # As above.

        return give_up(self._client, self._settings, days=days, dry_run=dry_run)

    def lacking(self, spec: RunSpec) -> list[LackingKey]:
        """Return the keys of a run's models that no living worker has; none where no worker lives."""
        known, workers = catalog(self._settings.families).families, self.workers()
        models = dict.fromkeys((spec.model, spec.fallback, spec.judge))  # A judge is often the run's own model.
        asked = [(model, model.partition("/")[0]) for model in models]
        return [
            LackingKey(model, known[family_id].key, needed=not known[family_id].key_optional)
            for model, family_id in asked
            if workers and family_id in known and known[family_id].key
            if not any(family_id in worker.models for worker in workers)
        ]

    def cancel(self, run_id: str) -> RunView:
        """Ask for a run's end; see `steering.cancel`."""
        return self._steering.cancel(run_id)

    def pause(self, run_id: str, *, now: bool = False) -> RunView:
        """Ask for a pause; see `steering.pause`."""
        return self._steering.pause(run_id, now=now)

    def resume(self, run_id: str) -> RunView:
        """Let a parked run go on; see `steering.resume`."""
        return self._steering.resume(run_id)

    def steer(self, run_id: str, text: str) -> RunView:
        """Tell the agent something at its next step; see `steering.steer`."""
        return self._steering.steer(run_id, self._said(run_id, text))

    def answer(self, run_id: str, text: str) -> RunView:
        """Answer a run's question; see `answering.answer`."""
        return self._answering.answer(run_id, self._said(run_id, text))

    def approve(self, run_id: str, asked_id: str = "") -> RunView:
        """Approve what a run waits with; see `answering.approve`."""
        return self._answering.approve(run_id, asked_id)

    def deny(self, run_id: str, why: str = "") -> RunView:
        """Deny what a run waits with; see `answering.deny`."""
        return self._answering.deny(run_id, self._said(run_id, why))

    def retry(self, run_id: str, more: More, *, message: str = "") -> RunView:
        """Take a run up again that is over; see `steering.retry`."""
        return self._steering.retry(run_id, more, message=self._said(run_id, message))

    def _said(self, run_id: str, text: str) -> str:
        """Return what a person says to a run as it's recorded. Raises UsageError for more than its model takes.

        What people say stays in view to the end of the run, so one message may have half of the window.
        """
        said, limit = self.typed(text).text, self.prompt_limit(run_id, {})
        if limit and (tokens := estimate(said)) > limit // 2:
            cause = f"it has about {tokens:,} tokens, and the run's model takes {limit:,} in all"
            raise UsageError("the message is too long", cause=cause, hint="say it shorter: it stays in view to the end")
        return said

    def rewind(self, run_id: str, step: int, *, message: str = "") -> Asked:
        """Ask for a return to an earlier step; `message` is told to the model. A run that is over is taken up again.

        Raises NotFoundError for a step that the run hasn't been at.
        """
        request = e.RewindRequested(step=step, message=self._said(run_id, message))
        return self._rewind(run_id, lambda at: at.kept(step).step, request)

    def undo(self, run_id: str) -> Asked:
        """Ask for a return to before the last step, or the last rewind.

        Raises UsageError at the beginning, or where the run is parked and is to go back already once it's resumed.
        """
        return self._rewind(run_id, lambda at: at.undo, e.RewindRequested(step=0, why="undo"))

    def redo(self, run_id: str) -> Asked:
        """Take back the last undo. Raises UsageError where nothing was undone, or as `undo` does."""
        return self._rewind(run_id, lambda at: at.redo, e.RewindRequested(step=0, why="redo"))

    def _rewind(self, run_id: str, find: Callable[[Timeline], int | None], asked: e.RewindRequested) -> Asked:
        self._results.require_kept(run_id)
        journal = Writer(self._client, run_id, who=self._who)
        while True:
            timeline = Timeline(journal.events, run_id)
            if asked.why != "rewind" and journal.view.state is State.WAITING and journal.view.rewinding:
                raise _asked_already(journal.view)
            step = find(timeline)
            if step is None:
                raise timeline.nothing_to(asked.why)
            request = asked.model_copy(update={"step": step})
            try:
                if journal.view.question is not None:
                    return Asked(request, answering.dropped(journal, request, f"{asked.why} to step {step}").seq)
                if journal.view.state is not State.DONE:
                    return Asked(request, journal.append(request, strict=True)[0].seq)
                again = e.Dispatched(attempt=journal.view.attempt + 1, reason=f"{asked.why} to step {step}")
                written = journal.append(request, again, operation="reopen")
            except HeadMovedError:
                journal.refresh()  # It ended, or was reopened, or waits for a person now, or has gone on.
                continue
            return Asked(request, written[0].seq, reopened=True)

    def rewound(self, run_id: str, asked: Asked) -> Moment | None:
        """Wait until a run went back as it was asked to; None where that takes longer than a minute, or it is parked.

        A run that ends before it came to it is asked once more, and taken up again by that. Raises DreamdockError where
        one that was taken up again ends so: it can't begin at all.
        """
        deadline = time.monotonic() + _REWIND_SECONDS
        while time.monotonic() < deadline and index.record(self._client, run_id).view.state is not State.WAITING:
            for event in stream.follow(self._client, run_id, after=asked.seq):
                if time.monotonic() >= deadline:
                    return None
                if event is not None and isinstance(event.body, e.Parked):
                    return None
                if event is not None and isinstance(event.body, e.Rewound) and event.body.asked >= asked.seq:
                    return self.timeline(run_id).at(event.body.step)
                if event is not None and isinstance(event.body, e.Finished):
                    if asked.reopened:
                        why, hint = f"{event.body.outcome}: {event.body.reason}", f"dreamdock logs {run_id}"
                        raise DreamdockError(f"run {run_id} ended before it could go back", cause=why, hint=hint)
                    step = asked.request.step
                    asked = self._rewind(run_id, lambda _: step, asked.request)  # noqa: B023  # Called at once.
                    break
        return None

    def fork(self, run_id: str, step: int, *, message: str = "") -> RunView:
        """Queue a new run that goes on from a step of another one, with its dialogue and at its tree.

        Raises NotFoundError for a step that the run hasn't been at, PrunedError, LimitError, ConfigError as `submit`.
        """
        from orchestrator.agent.context import Projection  # noqa: PLC0415  # `ps` doesn't need it.

        self._results.require_kept(run_id)
        self._require_room()
        events = list(stream.read(self._client, run_id))
        moment = Timeline(events, run_id).kept(step)
        context = Projection().follow(events[: moment.seq])
        forked = e.Forked(
            run=run_id,
            step=step,
            head=verify(self._client, run_id).head,
            commit=moment.commit,
            tree=moment.tree,
            shell=moment.shell,
            system=context.system,
            dialogue=context.dialogue,
            steps=context.sight.steps,
            window=context.sight.window,
            memory=context.memory,
            summary=context.sight.summary,
        )
        told = (e.Prompted(text=self.typed(message).text),) if message else ()
        return self._submit(index.record(self._client, run_id).view.spec, forked, *told)

    def diff(self, run_id: str, *, old: int | None = None, new: int | None = None) -> bytes:
        """Return a patch in git's format, from the base or the moment `old` to where the run is or the moment `new`.

        Raises NotFoundError for a moment that the run hasn't been at, PrunedError.
        """
        return self._results.diff(run_id, old=old, new=new)

    def apply(self, run_id: str, repo: Path, *, allow_elsewhere: bool = False) -> Applied:
        """Put the run's patch onto the working tree of `repo`, whole or not at all. See `delivery.patch`."""
        return self._results.apply(run_id, repo, allow_elsewhere=allow_elsewhere)

    def audit(self, run_id: str, *, export: IO[bytes] | None = None) -> Audit:
        """Return what the run did, and whether its journal is as it was written; `export` takes it as a bundle too.

        Raises NotFoundError, ConfigError for a signer that is no key.
        """
        journal, evidence = gather(self._client, self._settings, run_id, partial(self._results.commits, run_id))
        if export is not None:
            keys = {key.name: key.text for key in (evidence.keys or {}).values()}
            bundle.write(export, journal, evidence, keys=keys)
        return audit(journal, evidence)

    def dangers(self) -> list[str]:
        """Return why this Redis may lose what is written to it, and which workers are of another version, in words."""
        from importlib.metadata import version  # noqa: PLC0415  # It takes 30 ms that `ps` doesn't pay.

        return dangers(self._client) + strangers(self.workers(), version("dreamdock"))

    def dreams(self, repo: Path | None = None, project: str = "") -> Dreams:
        """Return the dreams of the repository at `repo`, else of the current folder's; or of another one, by its id.

        Raises NotFoundError where that is no repository.
        """
        from orchestrator.dreams import Dreams  # noqa: PLC0415  # Runs don't need it.

        project = project or _project_at(self._settings, repo)
        if not project:
            cause = "the current folder is in no git repository with a commit"
            hint = "go there, or name it with --repo PATH or --project ID"
            raise NotFoundError("a dream is of one repository", cause=cause, hint=hint)
        return Dreams(self._client, self._settings, project)

    def workers(self) -> list[Presence]:
        """Return the living workers."""
        return alive(self._client, "worker")

    def fleet(self) -> list[WorkerState]:
        """Return the living workers by name, with what they are at."""
        return [one for one in standing.workers(self._client) if one.seen_s <= EXPIRE_SECONDS]

    def queue(self) -> QueueState:
        """Return how the queue stands."""
        return standing.queue_state(self._client)

    def pause_queue(self) -> None:
        """Have nothing more begun, until it's resumed."""
        pause_queue(self._client, self._who)

    def drain(self, host: str = "") -> None:
        """Have runs give their workers up and nothing more begun, on one host or everywhere; see `queue.drain`."""
        drain(self._client, self._who, host)

    def resume_queue(self, host: str = "") -> None:
        """Have runs begun again; see `queue.resume_queue`."""
        resume_queue(self._client, host)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def _asked_already(view: RunView) -> UsageError:
    """Return why a parked run isn't asked to undo or redo something: what it is to go back to hasn't come yet."""
    cause = "it comes when the run is resumed; `rewind` to another step takes its place"
    return UsageError(f"{view.rewinding} is asked for already", cause=cause, hint=f"dreamdock resume {view.id}")
