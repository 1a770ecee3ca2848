from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import engine
from sandbox.attack.check import LIMITS
from sandbox.container import Container
from sandbox.errors import ChannelLost, FileProblem
from sandbox.exec_scripts import KEEPER
from sandbox.exec_shell import ExecShell
from sandbox.images import base_image
from sandbox.mounts import share
from sandbox.spec import JOB_UID, SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.spec import CommandResult

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]


def bare_image(api: Any, gone: str, name: str) -> str:
    """Make an image of the base image without some of its programs."""
    made = api.create_container(base_image(), ["sh", "-c", f"rm {gone}"], user="0:0")
    api.start(made["Id"])
    assert api.wait(made["Id"])["StatusCode"] == 0
    api.commit(made["Id"], repository=f"dreamdock-test/{name}", tag="1")
    api.remove_container(made["Id"])
    return f"dreamdock-test/{name}:1"


@pytest.fixture(scope="module", params=["/usr/bin/python3*", "/usr/bin/python3* /bin/bash"], ids=["bash", "sh"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    slot = tmp_path_factory.mktemp("slot")
    with contextlib.closing(engine.client()) as client:
        image = bare_image(client.api, request.param, "bare")
        subprocess.run(["mount", "--bind", slot, slot], check=True)
        try:
            share(slot)
            os.chown(slot, JOB_UID, JOB_UID)
            with contextlib.closing(Container.start(SandboxSpec(image=image, limits=LIMITS), workspace=slot)) as made:
                yield made
        finally:
            subprocess.run(["umount", slot], check=True)
            client.api.remove_image(image)


@pytest.fixture
def shell(shared: Container) -> ExecShell:
    assert isinstance(shared.shell, ExecShell)
    shared.shell.kill_all()
    return shared.shell


def text(result: CommandResult) -> str:
    return result.output.decode()


def test_the_fallback_says_so(shared: Container, shell: ExecShell) -> None:
    assert shared.fallback.startswith("no python3 in the image: commands go through docker exec; slower")
    assert ("no bash" in shared.fallback) == (not shell._bash)


def test_the_first_command_tells_of_the_fallback(shared: Container) -> None:
    again = ExecShell(shared._client.api, shared.id, LIMITS, shared._freezer, why="no python3 in the image")
    assert again.run("true").notes == (again.fallback,)
    assert again.run("true").notes == ()


def test_directory_and_environment_persist(shell: ExecShell) -> None:
    shell.run('cd /tmp; export EXPORTED="a  b\'c"; umask 027; unset LANG')
    result = shell.run('pwd; printenv EXPORTED; umask; echo "${LANG-unset}"; cd - >/dev/null; pwd')
    assert text(result) == "/tmp\na  b'c\n0027\nunset\n/workspace\n"  # noqa: S108  # Paths inside.
    assert result.cwd == "/workspace"


def test_functions_persist_where_there_is_bash(shell: ExecShell) -> None:
    shell.run("greet() { echo hi; }; list='not exported'")
    assert text(shell.run("greet 2>/dev/null; echo $list")) == ("hi\nnot exported\n" if shell._bash else "\n")


@pytest.mark.parametrize(
    ("command", "code", "signal"),
    [("exit 3", 3, None), ("set -eu; false; echo no", 1, None), ("kill -9 $$", None, 9), ("nonexistent", 127, None)],
)
def test_no_command_costs_the_shell(shell: ExecShell, command: str, code: int | None, signal: int | None) -> None:
    shell.run("cd /tmp; export KEPT=yes")
    result = shell.run(command)
    assert (result.exit_code, result.signal, result.timed_out) == (code, signal, False)
    assert text(shell.run("echo $KEPT $PWD")) == "yes /tmp\n"


def test_output_is_binary_safe_merged_and_capped(shell: ExecShell) -> None:
    every = bytes(range(256)) * 3
    shell.write("/tmp/bytes", every)  # noqa: S108  # A path inside.
    assert shell.run("cat /tmp/bytes").output == every
    assert text(shell.run("echo 1; echo 2 >&2; echo 3")) == "1\n2\n3\n"
    result = shell.run("echo first; head -c 5000000 /dev/zero; echo; echo last")
    assert (result.total_bytes, result.whole) == (5_000_012, "")
    assert result.output.startswith(b"first\n")
    assert result.output.endswith(b"\nlast\n")
    assert len(result.output) <= LIMITS.output_kb * 1024 + 64


def test_standard_input_arrives_whole_and_is_empty_otherwise(shell: ExecShell) -> None:
    data = os.urandom(3_000_000)
    shell.run("cat >/tmp/in", stdin=data)
    assert shell.read("/tmp/in", limit=3_000_000) == data  # noqa: S108  # A path inside.
    assert shell.read("/tmp/in", limit=100, offset=2_999_990) == data[-10:]  # noqa: S108  # A path inside.
    assert text(shell.run("cat; rm -f /tmp/bytes; ls -A /tmp")) == "in\n"
    assert shell.exec(["cat"], stdin=b"x\0y").output == b"x\0y"


def test_a_program_alone_has_no_state(shell: ExecShell) -> None:
    shell.run("cd /tmp; export SEEN=1")
    result = shell.exec(["sh", "-c", 'pwd; echo "${SEEN-none} $1" >&2', "sh", "an argument; $(false)"])
    assert text(result) == "/workspace\nnone an argument; $(false)\n"
    assert shell.exec(["nonexistent"]).exit_code == 127


def test_when_time_is_up_everything_ends(shell: ExecShell) -> None:
    shell.run("cd /tmp")
    began = time.monotonic()
    result = shell.run("setsid sleep 1001 & (setsid env -i sleep 1002 &); sleep 1003", timeout_s=0.5)
    assert (result.timed_out, result.exit_code, result.signal) == (True, None, 9)
    assert time.monotonic() - began < 5
    assert shell.background() == ()
    assert text(shell.run("pwd")) == "/tmp\n"  # noqa: S108  # A path inside.


def test_what_the_engine_executes_is_sealed_as_well(shell: ExecShell) -> None:
    for status in (shell.run("cat /proc/self/status").output, shell.exec(["cat", "/proc/self/status"]).output):
        told = dict(line.split(":\t", 1) for line in status.decode().splitlines())
        assert (told["Seccomp"], told["NoNewPrivs"], int(told["CapBnd"], 16)) == ("2", "1", 0)
        assert set(told["Uid"].split()) == {str(JOB_UID)}


def test_a_background_process_neither_holds_the_call_nor_hides(shell: ExecShell) -> None:
    began = time.monotonic()
    first = shell.run("sleep 1004 & (setsid sleep 1005 &) ; echo started")
    assert text(first) == "started\n"
    assert time.monotonic() - began < 5
    shell.run("true")
    listed = {process.command: process for process in shell.background()}
    assert set(listed) == {"sleep 1004", "sleep 1005"}
    assert {process.number for process in listed.values()} == {first.number}
    assert shell.stop(listed["sleep 1005"].pid)
    assert not shell.stop(listed["sleep 1005"].pid)
    assert not shell.stop(1)
    assert [process.command for process in shell.background()] == ["sleep 1004"]


def test_a_stubborn_process_is_killed_with_its_descendants(shell: ExecShell) -> None:
    shell.run("(trap '' TERM; sleep 1006; sleep 1007) & sleep 0.2")
    pid = min(process.pid for process in shell.background())
    assert shell.stop(pid, grace_s=0.2)
    assert shell.background() == ()


def test_holding_stops_every_process(shell: ExecShell, shared: Container) -> None:
    shell.run("(while :; do echo tick; sleep 0.01; done >>/workspace/ticks) &")
    state = shared._client.api.inspect_container(shared.id)
    (mount,) = state["Mounts"]
    ticks = Path(mount["Source"]) / "ticks"
    with shell.held():
        before = ticks.stat().st_size
        time.sleep(0.05)
        assert ticks.stat().st_size == before
    time.sleep(0.3)
    assert ticks.stat().st_size > before


def test_a_reset_ends_everything_and_takes_up_a_state(shell: ExecShell, shared: Container) -> None:
    with shell.held() as state:
        assert state == b""
    shell.run("cd /tmp; export KEPT=1")
    with shell.held() as state:
        pass
    shell.run("cd /; export KEPT=2; touch /tmp/file; sleep 1008 &")
    shell.reset(state)
    assert text(shell.run("echo $KEPT $PWD; ls -A /tmp")) == "1 /tmp\n"
    assert shell.background() == ()
    (mount,) = shared._client.api.inspect_container(shared.id)["Mounts"]
    assert shell.sees(Path(mount["Source"]))
    assert not shell.sees(Path("/"))


def test_attacks_on_the_first_process_leave_a_session(shell: ExecShell) -> None:
    shell.run("cd /tmp; export KEPT=1")
    for command in ("kill -9 -1", "kill -STOP 1; kill -INT 1; kill -9 1", "for s in $(seq 64); do kill -$s 1; done"):
        shell.run(command)
    assert text(shell.run("echo $KEPT $PWD")) == "1 /tmp\n"


def test_orphans_are_reaped(shell: ExecShell) -> None:
    shell.run("i=0; while [ $i -lt 300 ]; do (setsid true &); i=$((i + 1)); done")
    assert text(shell.run("cat /proc/[0-9]*/stat | head -c 100000 | tr '\\n' ' ' | cat")).count(" Z ") == 0


@pytest.mark.parametrize("bomb", ["b() { b | b & }; b; sleep 0.3", "b() { b | b; }; b"])
def test_a_fork_bomb_ends_and_the_next_command_runs(shell: ExecShell, bomb: str) -> None:
    shell.run(bomb, timeout_s=2)
    results = [shell.run("/bin/echo alive", timeout_s=20) for _ in range(2)]
    assert text(results[-1]) == "alive\n"


@pytest.mark.parametrize("program", ["/bin/sh", "/bin/bash"])
def test_the_first_process_outlives_a_limit_that_leaves_it_no_child(program: str) -> None:
    with contextlib.closing(engine.client()) as client:
        made = client.containers.create(base_image(), entrypoint=[program, "-c", KEEPER], pids_limit=1, stdin_open=True)
        try:
            made.start()
            time.sleep(1)
            made.reload()
            assert made.status == "running", made.logs()
        finally:
            made.remove(force=True, v=True)


def test_memory_that_runs_out_ends_the_command_only(shell: ExecShell) -> None:
    assert shell.run("exec tail /dev/zero").signal == 9
    assert text(shell.run("echo alive")) == "alive\n"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing", "doesn't exist"),
        ("/workspace", "is a directory"),
        ("/dev/zero", "is not a regular file"),
        ("large", "is too large"),
        ("locked", "can't be opened"),
        ("loop", "failed"),
    ],
)
def test_what_cant_be_read_says_why(shell: ExecShell, path: str, words: str) -> None:
    shell.run("cd /workspace; head -c 2000 /dev/zero >large; echo x >locked; chmod 0 locked; ln -s loop loop")
    with pytest.raises(FileProblem, match=words):
        shell.read(path, limit=1000)


def test_files_are_written_with_their_directories_and_keep_their_mode(shell: ExecShell) -> None:
    shell.write("new/deep/file", b"one")
    shell.run("chmod 751 new/deep/file; ln -s deep/file new/link")
    shell.write("new/link", b"two\n\n")
    assert shell.read("new/deep/file", limit=10) == b"two\n\n"
    assert text(shell.run("stat -c '%a %u' new/deep/file; readlink new/link; ls -A new/deep")) == (
        "751 61357\ndeep/file\nfile\n"
    )
    name = "a\nb\x1b[31m\udcff\\0101%s\n"
    shell.write(name, b"x")
    assert shell.read(name, limit=1) == b"x"


@pytest.mark.parametrize("path", ["/etc/new", "/workspace", "", "nul\0byte"])
def test_what_cant_be_written_says_so(shell: ExecShell, path: str) -> None:
    with pytest.raises(FileProblem):
        shell.write(path, b"x")


def test_a_full_disk_says_so(shell: ExecShell) -> None:
    with pytest.raises(FileProblem, match="no space is left"):
        shell.write("/tmp/big", bytes(40 << 20))  # noqa: S108  # A path inside; it has 32 MiB.
    assert text(shell.run("ls -A /tmp")) == ""


def test_a_kill_from_another_thread_is_one_clear_error(shared: Container, slot: Path) -> None:
    spec = SandboxSpec(image=shared.image_id, limits=LIMITS)
    with contextlib.closing(Container.start(spec, workspace=slot)) as other:
        killer = threading.Timer(0.5, other.kill)
        killer.start()
        with pytest.raises(ChannelLost) as lost:
            other.shell.run("sleep 60")
        assert lost.value.cause == "it was ended on request"
        killer.join()
        with pytest.raises(ChannelLost):
            other.shell.run("true")


def test_the_container_ends_with_the_workers_end_of_its_stream(shared: Container, slot: Path) -> None:
    spec = SandboxSpec(image=shared.image_id, limits=LIMITS)
    with contextlib.closing(Container.start(spec, workspace=slot)) as other:
        other.shell.run("sleep 100 &")
        getattr(other._attached, "_sock", other._attached).shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 10
        while shared._client.api.inspect_container(other.id)["State"]["Running"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(ChannelLost):
            other.shell.run("true")


def test_an_image_with_python_but_without_bash_falls_back_too(slot: Path) -> None:
    with contextlib.closing(engine.client()) as client:
        image = bare_image(client.api, "/bin/bash", "python")
        try:
            with contextlib.closing(Container.start(SandboxSpec(image=image), workspace=slot)) as container:
                assert container.fallback.startswith("no bash in the image: ")
                assert container.shell.run("command -v python3").exit_code == 0
        finally:
            client.api.remove_image(image)
