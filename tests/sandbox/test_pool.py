from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import engine
from sandbox.container import POOL_LABEL, leftovers
from sandbox.images import base_image
from sandbox.mounts import unmount
from sandbox.open import open_sandbox
from sandbox.pool import Claimed, Pool
from sandbox.spec import Limits, SandboxSpec
from sandbox.warming import STARTS
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repos import NewRepo

    from sandbox.open import Sandbox
    from sandbox.spec import Base
    from sandbox.store import Store

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]

RUN = {"dreamdock.run": "r", "dreamdock.fence": "7"}


class Place:
    """A pool, and what can be seen of it from outside."""

    def __init__(self, pool: Pool, spec: SandboxSpec, root: Path, api: Any, base: Base, store: Store) -> None:
        self.pool, self.spec, self.root, self.api = pool, spec, root, api
        self.base, self.store = base, store

    def opened(self, spec: SandboxSpec | None = None) -> contextlib.AbstractContextManager[Sandbox]:
        return open_sandbox(spec or self.spec, self.store, self.base, self.root, pool=self.pool)

    def claimed(self, spec: SandboxSpec | None = None) -> Claimed:
        """Claim as soon as there is one."""
        found: Claimed = until(lambda: self.pool.claim(spec or self.spec))
        return found

    def ids(self, state: str = "") -> list[str]:
        """The pool's containers, claimed or not."""
        label = {"label": f"test={self.root.parent.name}"}
        found = self.api.containers(all=True, filters=label)
        return [item["Id"] for item in found if state in ("", item["State"])]

    def warm(self) -> str:
        """Wait for the one container that is ready."""
        (found,) = until(lambda: self.ids("running"))
        time.sleep(0.3)  # From its start to the runner's word.
        return str(found)

    def left(self) -> list[str]:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        rooms = list((self.root / "open").iterdir()) if (self.root / "open").is_dir() else []
        return self.ids() + [mount for mount in mounts if mount.startswith(f"{self.root}/")] + [str(r) for r in rooms]

    def reap(self) -> None:
        """Do what the keeper does."""
        for left in leftovers():
            if left.labels.get("test") == self.root.parent.name:
                left.remove()
        Workspace.sweep(self.root)


def until(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture
def place(tmp_path: Path, new_repo: NewRepo, store: Store, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Yield a place with a pool of one, or of as many as the test's parameter says."""
    repo = new_repo("source")
    repo.commit({"a.txt": "one\n"})
    spec = SandboxSpec(image=base_image(), labels=RUN)
    root, labels = tmp_path / "spaces", {"test": tmp_path.name}
    with (
        Pool(root, size=getattr(request, "param", 1), first=spec, labels=labels) as pool,
        contextlib.closing(engine.client()) as client,
    ):
        made = Place(pool, spec, root, client.api, store.import_commit(repo.path), store)
        yield made
        pool.close()
        assert made.left() == []


def test_a_sandbox_from_the_pool_does_what_any_does(place: Place) -> None:
    warm = place.warm()
    with place.opened() as box:
        assert box.container_id == warm
        assert box.run("cat a.txt; git status --short; echo two >a.txt; cd /tmp; pwd").output == b"one\n/tmp\n"
        first = box.checkpoint(note="step 1")
        box.run("rm /workspace/a.txt")
        box.checkpoint(note="step 2")
        box.rewind(first.commit, shell=first.shell)
        assert box.run("pwd; cat /workspace/a.txt").output == b"/tmp\ntwo\n"
    assert warm not in place.ids()
    with place.opened() as cold:
        assert cold.run("cat a.txt; ls -A /tmp").output == b"one\n"


def test_no_container_is_given_twice(place: Place) -> None:
    seen = []
    for _ in range(3):
        claimed = place.claimed()
        seen.append(claimed.container.id)
        assert claimed.container.freezer is not None
        assert claimed.container.id in str(claimed.container.freezer)
        assert claimed.container.shell.run("ls -A /tmp; echo x >/tmp/x").output == b""
        claimed.remove()
        assert seen[-1] not in place.ids()
    assert len(set(seen)) == 3


def test_the_policy_is_that_of_a_cold_one(place: Place) -> None:
    claimed = place.claimed()
    with open_sandbox(place.spec, place.store, place.base, place.root) as cold:
        found = [place.api.inspect_container(one) for one in (claimed.container.id, cold.container_id)]
        for item in found:
            assert item["Config"].pop("Labels")["dreamdock"] == "sandbox"
            (mount,) = item["Mounts"]
            (asked,) = item["HostConfig"]["Mounts"]
            assert mount.pop("Source") == asked.pop("Source")
        kept = (
            "Config",
            "HostConfig",
            "Mounts",
            "Image",
            "Path",
            "Args",
            "AppArmorProfile",
            "ProcessLabel",
            "MountLabel",
        )
        warm, plain = ({key: item[key] for key in kept} for item in found)
        assert warm == plain
    claimed.remove()


def test_one_that_ended_is_not_handed_out(place: Place) -> None:
    warm = place.warm()
    place.api.kill(warm)
    with place.opened() as box:
        assert box.container_id != warm
        assert box.run("cat a.txt").output == b"one\n"


def test_one_that_cant_see_the_workspace_makes_room_for_a_cold_one(place: Place) -> None:
    warm = place.warm()
    (room,) = (place.root / "open").iterdir()
    assert unmount(room / "merged")
    with place.opened() as box:
        assert box.container_id != warm
        assert box.run("cat a.txt").output == b"one\n"
        assert warm not in place.ids()
        assert not room.exists()


def test_one_of_an_image_that_was_built_anew_is_not_handed_out(place: Place) -> None:
    name = "dreamdock-test/pool:1"
    place.api.tag(base_image(), "dreamdock-test/pool", "1")
    try:
        spec = SandboxSpec(image=name)
        place.claimed(spec).remove()
        recipe = BytesIO(f"FROM {base_image()}\nLABEL anew=yes\n".encode())
        list(place.api.build(fileobj=recipe, tag=name, rm=True))
        wanted = place.api.inspect_image(name)["Id"]
        claimed = place.claimed(spec)
        assert claimed.container.image_id == wanted
        claimed.remove()
        place.pool.close()
    finally:
        place.api.remove_image(name, force=True)


def test_another_policy_is_cold_at_first_and_then_warm(place: Place) -> None:
    other = place.spec.model_copy(update={"limits": Limits(memory_mb=300)})
    assert place.pool.claim(other) is None
    claimed = place.claimed(other)
    assert place.api.inspect_container(claimed.container.id)["HostConfig"]["Memory"] == 300 << 20
    claimed.remove()
    place.claimed().remove()


def test_kinds_that_nobody_asks_for_any_more_are_given_up(place: Place) -> None:
    place.warm()
    kinds = [place.spec.model_copy(update={"limits": Limits(memory_mb=300 + n)}) for n in range(3)]
    for kind in kinds:
        place.claimed(kind).remove()
    memory = lambda: {place.api.inspect_container(i)["HostConfig"]["Memory"] >> 20 for i in place.ids("running")}  # noqa: E731  # Read twice.
    until(lambda: memory() == {2048, 301, 302})


def test_limits_that_the_engine_doesnt_enforce_are_those_of_the_claimer(place: Place) -> None:
    place.warm()
    claimed = place.claimed(place.spec.model_copy(update={"limits": Limits(output_kb=2, command_seconds=0.2)}))
    assert claimed.container.shell.run("sleep 5").timed_out
    claimed.remove()


@pytest.mark.parametrize("place", [2], indirect=True)
def test_of_many_who_ask_at_once_each_gets_its_own(place: Place) -> None:
    until(lambda: len(place.ids("running")) == 2)
    time.sleep(0.3)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(place.pool.claim, [place.spec] * 4))
    claimed = [answer for answer in answers if answer is not None]
    assert len({one.container.id for one in claimed}) == 2
    for one in claimed:
        assert one.container.shell.run("echo yes").output == b"yes\n"
        one.remove()


def test_what_lives_is_no_leftover_and_a_claimed_one_says_whose_it_is(place: Place) -> None:
    warm = place.warm()
    assert warm not in [left.id for left in leftovers()]
    nobodys = place.pool.claim(place.spec.model_copy(update={"labels": {}}))
    assert nobodys is not None
    assert warm not in [left.id for left in leftovers()]
    nobodys.remove()
    claimed = place.claimed()
    (left,) = [left for left in leftovers() if left.id == claimed.container.id]
    assert left.labels.items() > RUN.items()
    assert POOL_LABEL in left.labels
    assert Workspace.sweep(place.root) == []
    claimed.remove()


def test_a_killed_pool_is_reaped_and_replaced(place: Place) -> None:
    warm = place.warm()
    os.kill(place.pool.pid, signal.SIGKILL)
    until(lambda: place.ids("exited") == [warm])
    assert place.pool.claim(place.spec) is None
    assert warm in [left.id for left in leftovers()]
    place.reap()
    assert place.left() == []
    place.pool.ensure()
    place.claimed().remove()


def test_a_killed_claimer_takes_its_container_with_it_and_the_pool_lives(place: Place) -> None:
    warm = place.warm()
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        with place.opened() as box:
            box.run("sleep 1000 &")
            os.write(writes, box.container_id.encode())
            time.sleep(1000)
    assert os.read(reads, 64).decode() == warm
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: place.ids("exited") == [warm])
    (left,) = [left for left in leftovers() if left.id == warm]
    assert left.labels.items() > RUN.items()
    left.remove()
    place.claimed().remove()
    os.close(reads)
    os.close(writes)


def test_a_claimer_that_is_gone_before_the_answer_costs_one_container(place: Place) -> None:
    place.warm()
    os.kill(place.pool.pid, signal.SIGSTOP)
    assert place.pool.claim(place.spec) is None
    os.kill(place.pool.pid, signal.SIGCONT)
    until(lambda: not place.ids() or place.ids("exited"))
    place.reap()
    place.claimed().remove()


def test_a_pool_whose_worker_was_killed_removes_what_it_has(place: Place, tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from sandbox.pool import Pool; from sandbox.spec import SandboxSpec\n"
        "pool = Pool(Path(sys.argv[1]), size=2, first=SandboxSpec(image=sys.argv[2]), labels={'test': sys.argv[3]})\n"
        "pool.ensure(); print(pool.pid, flush=True); time.sleep(1000)\n"
    )
    place.pool.close()
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(place.root), base_image(), tmp_path.name], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    worker.stdout.readline()
    until(lambda: len(place.ids("running")) == 2)
    worker.kill()
    worker.communicate()
    until(lambda: place.left() == [])


def test_closing_removes_what_nobody_claimed_though_a_claimer_lives(place: Place) -> None:
    place.warm()
    pid = os.fork()
    if not pid:
        time.sleep(1000)
    place.pool.close()
    assert place.left() == []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("place", [0], indirect=True)
def test_a_pool_of_none_is_no_process(place: Place) -> None:
    assert place.pool.pid == 0
    assert place.pool.claim(place.spec) is None
    with place.opened() as box:
        assert box.run("cat a.txt").output == b"one\n"


@pytest.mark.parametrize("place", [4], indirect=True)
def test_few_are_started_at_once(place: Place) -> None:
    seen: list[int] = []

    def started() -> bool:
        seen.append(len(place.ids("created")))
        return len(place.ids("running")) == 4

    until(started)
    assert 0 < max(seen) <= STARTS


def test_a_sandbox_goes_on_from_a_step_with_its_shell(place: Place) -> None:
    warm = place.warm()
    with place.opened() as box:
        box.run("mkdir sub; cd sub; export KEPT=yes; echo x >file")
        step = box.checkpoint(note="step 1")
    until(lambda: place.ids("running") not in ([], [warm]))
    ahead = place.warm()
    at = {"tree": step.tree, "shell": step.shell, "pool": place.pool}
    with open_sandbox(place.spec, place.store, place.base, place.root, **at) as box:
        assert box.container_id == ahead
        assert box.run("pwd; cat file; echo $KEPT").output == b"/workspace/sub\nx\nyes\n"


def test_an_image_without_the_runners_needs_is_started_when_it_is_asked_for(place: Place) -> None:
    place.warm()
    recipe = BytesIO(f"FROM {base_image()}\nUSER 0:0\nRUN rm /usr/bin/python3*\n".encode())
    list(place.api.build(fileobj=recipe, tag="dreamdock-test/bare-pool:1", rm=True))
    try:
        spec = SandboxSpec(image="dreamdock-test/bare-pool:1")
        assert place.pool.claim(spec) is None
        until(lambda: len(place.ids()) == 2)
        until(lambda: len(place.ids()) == 1)
        with place.opened(spec) as box:
            assert box.fallback
            assert box.run("cat a.txt").output == b"one\n"
        assert len(place.ids()) == 1
    finally:
        place.api.remove_image("dreamdock-test/bare-pool:1", force=True)


def test_an_image_that_isnt_there_ends_nothing(place: Place) -> None:
    missing = SandboxSpec(image="no-such-image:1")
    assert place.pool.claim(missing) is None
    time.sleep(1)
    assert place.pool.claim(missing) is None
    place.claimed().remove()
