"""The sandbox over Podman and over a Docker daemon that remaps users: what holds on the machine's own holds here."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox import engine, images, outside, probe, sealed
from sandbox.attack.suite import CHECKS, attack
from sandbox.container import POOL_LABEL, Container, leftovers
from sandbox.errors import ChannelLost, ImageMissing
from sandbox.images import base_image
from sandbox.open import Sandbox, open_sandbox
from sandbox.pool import Pool
from sandbox.setup import SetUp
from sandbox.slot import Slot
from sandbox.spec import JOB_UID, SandboxSpec, SetupSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.spec import Base
    from sandbox.store import Store

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]


@pytest.fixture
def spec(request: pytest.FixtureRequest) -> SandboxSpec:
    return SandboxSpec(image=base_image(), labels={"test": request.node.name[:60]})


@pytest.fixture
def box(engine_at: str, store: Store, base: Base, spec: SandboxSpec, tmp_path: Path) -> Iterator[Sandbox]:
    assert engine_at
    with open_sandbox(spec, store, base, tmp_path / "spaces") as box:
        yield box


def out(box: Sandbox, command: str) -> str:
    return box.run(command).output.decode()


def left_behind(spec: SandboxSpec, root: Path) -> list[str]:
    with contextlib.closing(engine.client()) as client:
        label = f"test={spec.labels['test']}"
        found = [item["Id"] for item in client.api.containers(all=True, filters={"label": label})]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    rooms = list((root / "open").iterdir()) if (root / "open").is_dir() else []
    return found + [mount for mount in mounts if mount.startswith(str(root))] + [str(room) for room in rooms]


def test_the_engine_says_what_it_is(engine_at: str) -> None:
    info = engine.ping()
    assert info.name == ("Podman" if engine_at == "podman" else "Docker")
    assert engine.is_podman() == (engine_at == "podman")
    assert (info.shift > 0) == (engine_at == "remapping")


def test_every_promise_is_kept(engine_at: str, tmp_path: Path) -> None:
    assert engine_at
    verdicts = list(attack(base_image(), tmp_path / "root"))
    assert [f"{one.id}: {one.result}" for one in verdicts if not one.held] == []
    assert len(verdicts) == len(CHECKS)


def test_checkpoints_and_rewinds_are_exact(engine_at: str, box: Sandbox, base: Base, store: Store) -> None:
    box.run("echo more >>a.txt; rm -r src/deep; mkdir build; echo made >build/x; export WORD=kept; cd src")
    first = box.checkpoint(note="1")
    assert {(change.path, change.status) for change in first.changes} == {("a.txt", "M"), ("src/deep/c.txt", "D")}
    box.run("cd ..; rm -r src; mkdir src; echo new >src/n; mv a.txt b.txt; rm build/x")
    second = box.checkpoint(note="2")
    container = box.container_id
    assert box.rewind(first.commit, shell=first.shell).tree == first.tree
    assert out(box, "pwd; echo $WORD; ls; cat ../a.txt; ls ../build") == "/workspace/src\nkept\nb.txt\none\nmore\n"
    assert box.checkpoint(note="3").tree == first.tree
    box.rewind(second.commit)
    assert out(box, "cat src/n b.txt") == "new\none\nmore\n"
    assert box.checkpoint(note="4").tree == second.tree
    assert out(box, "find /workspace -not -user $(id -u) -o -not -group $(id -g)") == ""
    assert out(box, "git status --short") == " D a.txt\n D src/b.txt\n D src/deep/c.txt\n?? b.txt\n?? src/n\n"
    assert box.container_id == container
    assert store.read_file(base.project, second.tree, "src/n") == b"new\n"
    assert engine_at


def test_files_belong_to_the_user_that_the_job_is_on_the_host(
    engine_at: str, box: Sandbox, spec: SandboxSpec, store: Store, base: Base, tmp_path: Path
) -> None:
    uid = JOB_UID + engine.ping().shift
    out(box, "echo x >mine")
    (room,) = (tmp_path / "spaces" / "open").iterdir()
    upper = room / "disk" / "layer" / "upper"
    assert {path.lstat().st_uid for path in (upper, *upper.rglob("*"))} == {uid}
    (tree,) = (tmp_path / "spaces" / "pristine").glob("*/tree")
    assert {path.lstat().st_gid for path in (tree, *tree.rglob("*"))} == {uid}
    with open_sandbox(spec, store, base, tmp_path / "spaces") as other:
        assert out(other, "ls") == "a.txt\nsrc\n"
    assert list((tmp_path / "spaces" / "pristine").glob("*/tree")) == [tree], "the checkout is cached per user"
    assert engine_at


def test_a_kill_ends_the_step_and_nothing_stays(
    engine_at: str, store: Store, base: Base, spec: SandboxSpec, tmp_path: Path
) -> None:
    root = tmp_path / "spaces"
    with open_sandbox(spec, store, base, root) as box:
        box.kill()
        with pytest.raises(ChannelLost):
            box.run("true")
    assert left_behind(spec, root) == []
    assert engine_at


def test_a_killed_worker_ends_its_container_and_the_sweep_removes_the_rest(
    engine_at: str, spec: SandboxSpec, tmp_path: Path
) -> None:
    root = tmp_path / "spaces"
    program = """
        import sys, time
        from pathlib import Path
        from sandbox.container import Container
        from sandbox.slot import Slot
        from sandbox.spec import SandboxSpec
        spec = SandboxSpec.model_validate_json(sys.argv[1])
        box = Container.start(spec, workspace=Slot.make(Path(sys.argv[2]), "r", size_mb=64).merged)
        print(box.id, flush=True)
        box.shell.run("sleep 600")
    """
    labelled = spec.model_copy(update={"labels": {**spec.labels, "dreamdock.run": "r1"}})
    argv = [sys.executable, "-c", textwrap.dedent(program), labelled.model_dump_json(), str(root)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        started = worker.stdout.readline().strip()
        worker.send_signal(signal.SIGKILL)
    with contextlib.closing(engine.client()) as client:
        deadline = time.monotonic() + 20
        while client.api.inspect_container(started)["State"]["Running"]:
            assert time.monotonic() < deadline, "the container outlives its worker"
            time.sleep(0.1)
    (left,) = [left for left in leftovers() if left.id == started]
    assert left.labels["dreamdock.run"] == "r1"
    left.remove()
    assert left_behind(spec, root) == []
    assert engine_at


def test_it_is_looked_at_and_frozen_from_here(engine_at: str, box: Sandbox) -> None:
    container = box._container
    told = outside.seen(container._pid, container.id, dict.fromkeys(sealed.SEEN, "a lie"))
    assert [path for path, text in told.items() if text == "a lie"] == [sealed.SHM_FORCED]
    assert container.freezer is not None
    box.run("(while :; do echo tick >>/workspace/ticks; done) & sleep 0.2")
    ticks = box._workspace.upper / "ticks"
    with container.shell.held():
        first = ticks.stat().st_size
        time.sleep(0.1)
        assert ticks.stat().st_size == first
    deadline = time.monotonic() + 10
    while ticks.stat().st_size == first:
        assert time.monotonic() < deadline, "it doesn't go on"
    assert engine_at


def test_a_worker_that_is_killed_while_it_holds_leaves_one_that_can_be_removed(
    engine_at: str, spec: SandboxSpec, tmp_path: Path
) -> None:
    root = tmp_path / "spaces"
    program = """
        import sys, time
        from pathlib import Path
        from sandbox.container import Container
        from sandbox.slot import Slot
        from sandbox.spec import SandboxSpec
        spec = SandboxSpec.model_validate_json(sys.argv[1])
        box = Container.start(spec, workspace=Slot.make(Path(sys.argv[2]), "r", size_mb=64).merged)
        with box.shell.held():
            print(box.id, flush=True)
            time.sleep(600)
    """
    labelled = spec.model_copy(update={"labels": {**spec.labels, "dreamdock.run": "r1"}})
    argv = [sys.executable, "-c", textwrap.dedent(program), labelled.model_dump_json(), str(root)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        started = worker.stdout.readline().strip()
        worker.kill()
    (left,) = [left for left in leftovers() if left.id == started]
    left.remove()
    assert left_behind(spec, root) == []
    assert engine_at


def test_one_that_was_started_ahead_is_claimed(
    engine_at: str, store: Store, base: Base, spec: SandboxSpec, tmp_path: Path
) -> None:
    root = tmp_path / "spaces"
    with Pool(root, size=1, first=spec, labels=spec.labels) as pool:
        deadline = time.monotonic() + 30
        while (claimed := pool.claim(spec)) is None:
            assert time.monotonic() < deadline, "nothing was started ahead"
            time.sleep(0.1)
        assert claimed.container.uid == JOB_UID + engine.ping().shift
        claimed.remove()
        ids = set()
        while not ids and time.monotonic() < deadline:
            time.sleep(1)  # Until the next one is ready.
            with contextlib.closing(engine.client()) as client:
                label = {"label": [POOL_LABEL, f"test={spec.labels['test']}"]}
                ids = {item["Id"] for item in client.api.containers(filters=label)}
        time.sleep(1)  # From its start to the runner's word.
        with open_sandbox(spec, store, base, root, pool=pool) as box:
            assert box.container_id in ids
            box.run("echo x >x")
            assert [change.path for change in box.checkpoint(note="1").changes] == ["x"]
    assert left_behind(spec, root) == []
    assert engine_at


def test_what_set_up_made_is_the_jobs(
    engine_at: str, store: Store, base: Base, spec: SandboxSpec, tmp_path: Path
) -> None:
    root = tmp_path / "spaces"
    setup = SetupSpec(image=spec.image, labels=spec.labels, commands=("mkdir build; echo made >build/x",))
    layer = SetUp(setup, store, base, root).layer()
    with open_sandbox(spec, store, base, root, layer=layer) as box:
        assert (
            out(box, "cat build/x; echo more >>build/x; cat build/x; stat -c %u build/x")
            == f"made\nmade\nmore\n{JOB_UID}\n"
        )
        assert box.checkpoint(note="1").tree == base.tree
    layer.held.release()
    again = SetUp(setup, store, base, root).layer()
    again.held.release()
    assert again.cached
    assert engine_at


def test_images_are_found_built_and_looked_into(engine_at: str, tmp_path: Path) -> None:
    assert images.find("base") == base_image()
    images.check(base_image())
    with pytest.raises(ImageMissing):
        images.check("dreamdock-test/nowhere:1")
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE\nFROM $BASE\nVOLUME /data\nHEALTHCHECK --interval=1s CMD touch /tmp/hc\n"
    )
    name = "dreamdock-test/engines:1"
    with contextlib.closing(engine.client(timeout_s=120)) as client:
        images.build(client, tmp_path, name, base=base_image(), report=lambda _: None, network="none")
        try:
            assert probe.lacking_runner(name) == ""
            assert probe.lacking_limits(name) == ()
            slot = Slot.make(tmp_path / "spaces", "r", size_mb=64)
            with contextlib.closing(Container.start(SandboxSpec(image=name), workspace=slot.merged)) as made:
                time.sleep(2)
                result = made.shell.exec(["sh", "-c", "ls /tmp; grep ' /data ' /proc/self/mountinfo | grep -c tmpfs"])
                assert result.output == b"1\n"
            slot.remove()
        finally:
            client.api.remove_image(name, force=True)
    assert engine_at


def test_an_image_without_python_goes_through_the_engines_exec(
    engine_at: str, store: Store, base: Base, tmp_path: Path
) -> None:
    name = "dreamdock-test/engines-bare:1"
    (tmp_path / "Dockerfile").write_text("ARG BASE\nFROM $BASE\nRUN rm /usr/bin/python3*\n")
    with contextlib.closing(engine.client(timeout_s=120)) as client:
        # Without a network of its own: the remapping daemon has none.
        images.build(client, tmp_path, name, base=base_image(), report=lambda _: None, network="none")
        try:
            with open_sandbox(SandboxSpec(image=name), store, base, tmp_path / "spaces") as box:
                assert box.fallback.startswith("no python3 in the image")
                assert out(box, "cat a.txt; echo more >>a.txt; id -u") == f"one\n{JOB_UID}\n"
                assert [change.path for change in box.checkpoint(note="1").changes] == ["a.txt"]
                box.rewind(base.commit)
                assert out(box, "cat a.txt") == "one\n"
        finally:
            client.api.remove_image(name, force=True)
    assert engine_at
