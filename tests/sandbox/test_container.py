from __future__ import annotations

import contextlib
import gc
import io
import subprocess
import sys
import tarfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import engine
from sandbox.attack.opening import opened
from sandbox.container import Container, leftovers, runner_source, seccomp_profile
from sandbox.errors import ChannelLost, EngineUnavailable, ImageMissing, ImageUnusable, PolicyRefused, WorkspaceError
from sandbox.images import base_image
from sandbox.policy import container_settings
from sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]


@pytest.fixture
def api() -> Iterator[Any]:
    with contextlib.closing(engine.client()) as client:
        yield client.api


@pytest.fixture
def spec(request: pytest.FixtureRequest) -> SandboxSpec:
    return SandboxSpec(image=base_image(), labels={"test": request.node.name[:60]})


def containers(api: Any, spec: SandboxSpec) -> list[str]:
    label = f"test={spec.labels['test']}"
    return [item["State"] for item in api.containers(all=True, filters={"label": label})]


def tampered(spec: SandboxSpec, slot: Path) -> dict[str, Any]:
    return container_settings(spec, workspace=slot, runner_source=runner_source(), seccomp=seccomp_profile())


def until(what: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killing_from_another_thread_ends_the_call_and_the_container_at_once(
    api: Any, spec: SandboxSpec, slot: Path
) -> None:
    container = Container.start(spec, workspace=slot)
    killer = threading.Timer(0.3, container.kill)
    killer.start()
    began = time.monotonic()
    with pytest.raises(ChannelLost, match="gone"):
        container.shell.run("sleep 60")
    assert time.monotonic() - began < 2
    killer.join()
    assert containers(api, spec) == []
    with pytest.raises(ChannelLost):
        container.shell.run("true")
    container.kill()
    container.close()


def test_a_container_removed_by_hand_is_one_clear_error(api: Any, spec: SandboxSpec, slot: Path) -> None:
    container = Container.start(spec, workspace=slot)
    threading.Timer(0.2, api.remove_container, (container.id,), {"force": True}).start()
    with pytest.raises(ChannelLost) as lost:
        container.shell.run("sleep 60")
    assert lost.value.exit_code == 5
    assert "container" in lost.value.cause
    container.close()


def test_a_worker_that_is_killed_takes_its_container_with_it_and_the_rest_is_swept(api: Any, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from sandbox.attack.opening import opened\n"
        "with opened(sys.argv[1], Path(sys.argv[2])) as box:\n"
        "    box.run('sleep 1000 &'); print(box.container_id, flush=True); box.run('sleep 1000')\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, base_image(), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    container_id = worker.stdout.readline().strip()
    worker.kill()
    worker.communicate()
    until(lambda: api.inspect_container(container_id)["State"]["Status"] == "exited")
    (left,) = [left for left in leftovers() if left.id == container_id]
    assert left.workspace.is_mount()
    left.remove()
    assert not left.workspace.parent.exists()
    left.remove()


def test_a_running_sandbox_of_nobodys_run_is_no_leftover(spec: SandboxSpec, slot: Path) -> None:
    with contextlib.closing(Container.start(spec, workspace=slot)) as mine:
        assert mine.id not in [left.id for left in leftovers()]
    run = spec.model_copy(update={"labels": spec.labels | {"dreamdock.run": "r"}})
    with contextlib.closing(Container.start(run, workspace=slot)) as theirs:
        (left,) = [left for left in leftovers() if left.id == theirs.id]
        assert left.labels["dreamdock.run"] == "r"


def test_a_missing_image_says_so(spec: SandboxSpec, slot: Path) -> None:
    with pytest.raises(ImageMissing, match="no-such-image") as error:
        Container.start(spec.model_copy(update={"image": "no-such-image:1"}), workspace=slot)
    assert error.value.exit_code == 4
    assert error.value.hint


def test_an_image_without_python_and_shell_says_so_and_leaves_nothing(api: Any, spec: SandboxSpec, slot: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    api.import_image_from_data(data.getvalue(), repository="dreamdock-test/empty", tag="1")
    try:
        with pytest.raises(ImageUnusable, match="dreamdock-test/empty:1") as unusable:
            Container.start(spec.model_copy(update={"image": "dreamdock-test/empty:1"}), workspace=slot)
        assert unusable.value.cause.startswith("no python3 in the image, and no shell for the fallback: ")
        assert containers(api, spec) == []
    finally:
        api.remove_image("dreamdock-test/empty:1")


def test_the_volumes_and_health_checks_of_an_image_do_nothing(api: Any, spec: SandboxSpec, slot: Path) -> None:
    made = api.create_container(base_image(), ["true"])
    changes = ["VOLUME /data", "HEALTHCHECK --interval=1s CMD touch /workspace/checked", 'ENTRYPOINT ["/bin/false"]']
    api.commit(made["Id"], repository="dreamdock-test/volume", tag="1", changes=changes)
    api.remove_container(made["Id"])
    try:
        image = spec.model_copy(update={"image": "dreamdock-test/volume:1"})
        with contextlib.closing(Container.start(image, workspace=slot)) as container:
            assert container.shell.run("stat -f -c %T /data; sleep 1.5; ls /workspace").output == b"tmpfs\n"
    finally:
        api.remove_image("dreamdock-test/volume:1")


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [("CpuPeriod", 1, "cpu"), ("Memory", 1024, "memory"), ("SecurityOpt", ["seccomp={"], "seccomp")],
)
def test_a_rule_that_the_engine_refuses_is_named(
    api: Any, spec: SandboxSpec, slot: Path, key: str, value: object, rule: str
) -> None:
    settings = tampered(spec, slot)
    settings["HostConfig"][key] = value
    with pytest.raises(PolicyRefused) as refused:
        Container.launch(settings, spec)
    assert (refused.value.rule, refused.value.exit_code) == (rule, 6)
    assert containers(api, spec) == []


def test_a_workspace_that_cant_be_mounted_says_so(api: Any, spec: SandboxSpec, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError):
        Container.start(spec, workspace=tmp_path / "missing")
    assert containers(api, spec) == []


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # The SDK leaves it when it can't connect.
def test_an_engine_that_isnt_there_says_what_to_type(
    spec: SandboxSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    for attempt in (lambda: Container.start(spec, workspace=tmp_path), leftovers):
        with pytest.raises(EngineUnavailable) as error:
            attempt()
        assert error.value.hint == "start it, or unset DOCKER_HOST"
        del error
    gc.collect()


def test_output_of_any_size_leaves_the_workers_memory_flat(tmp_path: Path) -> None:
    def resident_mb() -> float:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # One number of the kernel's.
            return int(file.read().split()[1]) * 4096 / 1e6

    with opened(base_image(), tmp_path) as box:
        box.run("head -c 10000000 /dev/zero")
        before = resident_mb()
        box.run("head -c 300000000 /dev/zero", timeout_s=30)
        assert resident_mb() - before < 20
