"""Runs that move between hosts which share a Redis and a checkpoint remote; journals are written as attempts would."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from git_servers import bare, daemon, on_server, refs, refuse_pushes, silent
from repos import Repo
from steps import Steps

from orchestrator import events as e
from orchestrator.agent.context import Projection
from orchestrator.api import connect
from orchestrator.catchup import catch_up, look_again
from orchestrator.dialogue import Reply, ToolCall, ToolResult, Turn
from orchestrator.errors import NotFoundError, PrunedError, UnavailableError
from orchestrator.holdings import Holdings
from orchestrator.journal import index
from orchestrator.journal.lease import claim
from orchestrator.journal.writer import Writer
from orchestrator.restoring import restore
from orchestrator.runs import Outcome
from orchestrator.settings import Settings
from orchestrator.stop import Stop, Stopped
from orchestrator.timeline import Timeline
from sandbox.errors import RemoteUnavailable
from sandbox.spec import FileChange

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from orchestrator.runs import RunSpec

pytestmark = pytest.mark.needs_redis


class Host:
    """A state folder and a store of its own."""

    def __init__(self, client: Redis, url: str, state: Path, remote: str | None) -> None:
        self.client = client
        self.settings = Settings(redis_url=url, state_dir=state, checkpoint_remote=remote)
        self.holdings = Holdings(self.settings)
        self.door = connect(self.settings)
        self.steps: Steps | None = None

    def claim(self, run_id: str) -> Writer:
        number = index.record(self.client, run_id).attempt
        fence = claim(self.client, run_id, number, lease_seconds=60)
        assert isinstance(fence, int), fence
        self.journal = Writer(self.client, run_id, who="w", fence=fence, lease_seconds=60)
        self.journal.append(e.Claimed(attempt=number, fence=fence, worker="w", host="h"))
        return self.journal

    def restore(self, stop: Stop | None = None) -> None:
        restore(self.journal, self.holdings, stop or Stop())
        ready = e.SandboxReady(image="i", image_id="i", container="c", tree="t", policy={})
        self.journal.append(ready)
        if not any(isinstance(event.body, e.Prompted) for event in self.journal.events):
            self.journal.append(e.Prompted(system="You are tested.", text="Do it."))

    def work(self, *contents: bytes, push: bool = True) -> None:
        """Take steps; each makes a checkpoint, and is pushed or not."""
        view = self.journal.view
        project = view.spec.repo.project
        for content in contents:
            step = self.journal.view.step + 1
            call = ToolCall(id=f"c{step}", name="bash", arguments={"command": content.decode()})
            self.journal.append(e.Replied(step=step, reply=Reply(calls=(call,), cost_usd=0.0)))
            self.journal.append(e.CallStarted(step=step, call=call))
            done = ToolResult(call_id=call.id, name="bash", content=content.decode())
            self.journal.append(e.CallFinished(step=step, result=done, exit_code=0))
            maker = Steps(self.holdings.store, view.spec.repo)
            commit = maker.take(content, parent=self.journal.view.checkpoint or view.spec.repo.commit)
            tree = maker.objects.read(commit)[5:45].decode()
            self.holdings.store.keep(project, view.id, commit)
            files = (FileChange(path="src/7", status="M", added=1, removed=1),)  # Without a patch: as of a large step.
            self.journal.append(e.Checkpointed(step=step, commit=commit, tree=tree, files=files))
            if push:
                assert self.holdings.remote is not None
                self.holdings.remote.push_run(project, view.id, overwrite=lambda _: self.journal.owns())

    def give_up(self) -> None:
        """End the attempt, as a keeper does whose worker died."""
        view = self.journal.view
        lost = e.AttemptLost(attempt=view.attempt, reason="its worker died")
        again = e.Dispatched(attempt=view.attempt + 1, reason="its worker died")
        self.journal.append(lost, again, operation="requeue")

    def finish(self) -> None:
        self.journal.append(e.Finished(outcome=Outcome.SUCCEEDED, tree=self.journal.view.tree), operation="finish")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return bare(tmp_path / "remote/all.git")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "code")
    made.commit({"README.md": "hello\n"})
    return made


class Team:
    """Hosts by name, made when they are asked for."""

    def __init__(self, client: Redis, url: str, folder: Path, remote: str | None, spec: RunSpec, repo: Repo) -> None:
        self._told: tuple[Any, ...] = (client, url)
        self._folder = folder
        self.remote = remote
        self._spec = spec
        self._repo = repo

    def host(self, name: str) -> Host:
        return Host(*self._told, self._folder / name, self.remote)

    def submit(self, host: Host) -> str:
        base = host.holdings.store.import_commit(self._repo.path)
        return host.door.submit(self._spec.model_copy(update={"repo": base})).id


@pytest.fixture
def team(client: Redis, redis_server: str, tmp_path: Path, there: Path, spec: RunSpec, repo: Repo) -> Team:
    return Team(client, redis_server, tmp_path, str(there), spec, repo)


def test_a_run_is_queued_once_its_base_is_on_the_remote_and_says_what_it_requires(team: Team, there: Path) -> None:
    laptop = team.host("laptop")
    run_id = team.submit(laptop)
    view = laptop.door.show(run_id).view
    assert view.spec.requires.store == "remote"
    base = view.spec.repo
    assert set(refs(there)) == {f"refs/dreamdock/{base.project}/base/{base.commit}"}
    team.remote = None
    alone = team.host("alone")
    assert alone.door.show(team.submit(alone)).view.spec.requires.store == alone.holdings.store.id
    assert alone.holdings.offered == (alone.holdings.store.id,)
    assert laptop.holdings.offered == (laptop.holdings.store.id, "remote")


@pytest.mark.parametrize("remote", ["nowhere", "refuses"])
def test_where_the_base_cannot_be_pushed_nothing_is_queued(
    team: Team, client: Redis, there: Path, tmp_path: Path, remote: str
) -> None:
    before = index.newest(client, live=False, limit=10_000)
    if remote == "refuses":
        refuse_pushes(there, "no")
        with daemon(there.parent) as address:
            team.remote = f"{address}/all.git"
            with pytest.raises(UnavailableError, match="nothing was queued"):
                team.submit(team.host("laptop"))
    else:
        team.remote = str(tmp_path / "nowhere.git")
        with pytest.raises(UnavailableError) as caught:
            team.submit(team.host("laptop"))
        assert "git init --bare" in caught.value.hint
    assert index.newest(client, live=False, limit=10_000) == before
    store = team.host("laptop").holdings.store
    assert [store.kept(project) for project in store.projects()] == [{}]


def test_another_host_goes_on_from_the_last_step(team: Team) -> None:
    first, second = team.host("a"), team.host("b")
    run_id = team.submit(first)
    first.claim(run_id)
    first.restore()
    first.work(b"one", b"two")
    first.give_up()
    second.claim(run_id)
    second.restore()
    assert not any(isinstance(event.body, e.Rewound) for event in second.journal.events)
    second.work(b"three")
    second.finish()
    laptop = team.host("laptop")
    patch = laptop.door.diff(run_id, old=2, new=3)
    assert b"+three" in patch
    assert b"-two" in patch
    assert laptop.door.diff(run_id, old=0, new=1).count(b"+one") == 20
    assert laptop.door.timeline(run_id).now.step == 3


def test_steps_that_are_nowhere_are_told_and_done_again(team: Team) -> None:
    first, second = team.host("a"), team.host("b")
    run_id = team.submit(first)
    first.claim(run_id)
    first.restore()
    first.work(b"one", b"two")
    first.work(b"three", b"four", push=False)
    first.give_up()
    second.claim(run_id)
    second.restore()
    (lost,) = [event.body for event in second.journal.events if isinstance(event.body, e.Rewound)]
    assert (lost.why, lost.step, lost.to, lost.depth) == ("lost", 5, 2, 2)
    assert "steps 3 to 4 went with it" in lost.message
    context = Projection().follow(second.journal.events)
    assert isinstance(context.dialogue[-1], Turn)
    assert context.dialogue[-1].text.endswith(lost.message)
    assert [said.calls[0].id for said in context.dialogue if isinstance(said, Reply)] == ["c1", "c2"]
    second.work(b"three again")
    timeline = second.door.timeline(run_id)
    assert [step for step, moment in timeline.moments.items() if moment.lost] == [3, 4]
    assert [moment.step for moment in timeline.line(timeline.now)] == [1, 2, 6]
    assert timeline.undo == 5
    for ask in (second.door.rewind, second.door.fork):
        with pytest.raises(NotFoundError, match="was lost"):
            ask(run_id, 4)
    second.give_up()

    # The host that has them all comes back: it lacks what came after, and overwrites nothing.
    assert second.holdings.remote is not None
    project = second.journal.view.spec.repo.project
    before = second.holdings.remote.where(project)
    catch_up(first.client, first.settings)
    assert second.holdings.remote.where(project) == before
    first.claim(run_id)
    first.restore()
    assert first.holdings.store.leads_to(project, run_id, [timeline.now.commit])


def test_where_no_step_was_pushed_a_run_begins_again_at_its_base(team: Team) -> None:
    first, second = team.host("a"), team.host("b")
    run_id = team.submit(first)
    first.claim(run_id)
    first.restore()
    first.work(b"one", b"two", push=False)
    first.give_up()
    second.claim(run_id)
    second.restore()
    (lost,) = [event.body for event in second.journal.events if isinstance(event.body, e.Rewound)]
    assert (lost.to, lost.tree, lost.depth) == (0, second.journal.view.spec.repo.tree, 0)
    assert [said.text for said in Projection().follow(second.journal.events).dialogue if isinstance(said, Turn)] == [
        f"Do it.\n\n{lost.message}"
    ]
    second.work(b"one")
    assert [moment.step for moment in second.door.timeline(run_id).line(second.door.timeline(run_id).now)] == [4]


@pytest.mark.parametrize(("step", "kept"), [(3, False), (1, True)])
def test_a_request_to_go_back_outlives_the_loss_unless_its_step_is_lost(team: Team, step: int, kept: bool) -> None:
    first, second = team.host("a"), team.host("b")
    run_id = team.submit(first)
    first.claim(run_id)
    first.restore()
    first.work(b"one", b"two")
    first.work(b"three", push=False)
    first.door.rewind(run_id, step)
    first.journal.refresh()
    first.give_up()
    second.claim(run_id)
    second.restore()
    assert bool(Projection().follow(second.journal.events).rewind) is kept
    assert bool(second.journal.view.rewinding) is kept


def test_a_host_that_can_have_nothing_of_a_run_says_what_to_do(team: Team, client: Redis, there: Path) -> None:
    team.remote = None
    first, second = team.host("a"), team.host("b")
    run_id = team.submit(first)
    first.claim(run_id)
    first.restore()
    first.give_up()
    second.claim(run_id)
    with pytest.raises(NotFoundError) as caught:
        second.restore()
    assert "checkpoint_remote" in caught.value.hint
    team.remote = str(there)  # It never had it.
    third = team.host("c")
    third.journal = second.journal
    with pytest.raises(NotFoundError, match="neither"):
        third.restore()
    assert index.record(client, run_id).view.step == 0


def test_an_attempt_whose_remote_says_nothing_can_be_stopped(team: Team) -> None:
    first = team.host("a")
    run_id = team.submit(first)
    with silent() as url:
        team.remote = url
        second = team.host("b")
        second.claim(run_id)
        stop = Stop()
        threading.Timer(0.5, stop.set, ("cancelled",)).start()
        with pytest.raises((Stopped, RemoteUnavailable)):
            second.restore(stop)


def test_what_was_left_behind_is_pushed_later_and_deleted_once_it_is_given_up(team: Team, there: Path) -> None:
    host = team.host("a")
    run_id = team.submit(host)
    host.claim(run_id)
    host.restore()
    host.work(b"one", push=False)
    project = host.journal.view.spec.repo.project
    ref = f"refs/dreamdock/{project}/run/{run_id}"
    catch_up(host.client, host.settings)
    assert ref not in refs(there), "it is under way, and its attempt's"
    host.finish()
    catch_up(host.client, host.settings)
    pushed = refs(there)[ref]
    assert host.holdings.store.behind(project) == []

    on_server(there, "update-ref", "-d", ref)
    look_again(host.settings)
    catch_up(host.client, host.settings)
    assert refs(there)[ref] == pushed

    empty = on_server(there, "hash-object", "-t", "tree", "-w", "/dev/null")
    foreign = on_server(there, "-c", "user.name=x", "-c", "user.email=x", "commit-tree", empty, "-m", "x")
    on_server(there, "update-ref", ref, foreign)
    host.holdings.store.keep(project, run_id, host.journal.view.checkpoint)
    catch_up(host.client, host.settings)
    repaired = refs(there)[ref]
    assert repaired not in {foreign, pushed}

    gone = team.host("gone")
    gone.door.diff(run_id, old=0, new=1)
    host.door.prune(days=1)  # Not over for long enough.
    assert ref in refs(there)
    host.holdings.store.drop(project, run_id)
    there.rename(there.with_suffix(".away"))
    catch_up(host.client, host.settings)
    there.with_suffix(".away").rename(there)
    assert refs(there)[ref] == repaired
    catch_up(host.client, host.settings)
    assert ref not in refs(there)
    with closing(team.host("late").door) as late, pytest.raises(PrunedError):
        late.diff(run_id, old=0, new=1)


def test_a_fork_of_another_hosts_run_can_be_made_and_carried_anywhere(team: Team, there: Path) -> None:
    first = team.host("a")
    run_id = team.submit(first)
    first.claim(run_id)
    first.restore()
    first.work(b"one", b"two")
    first.finish()
    laptop, second = team.host("laptop"), team.host("b")
    child = laptop.door.fork(run_id, 1).id
    assert f"refs/dreamdock/{first.journal.view.spec.repo.project}/run/{child}" in refs(there)
    second.claim(child)
    second.restore()
    second.work(b"another way")
    assert b"-one" in team.host("reader").door.diff(child, old=1, new=2)
    assert Timeline(second.journal.events).begin.step == 1
