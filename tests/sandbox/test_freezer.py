"""A container that is frozen from the host: nothing that the job has prepared wakes it, and it can be removed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import cgroup, engine
from sandbox.attack.opening import opened
from sandbox.container import Container, leftovers
from sandbox.errors import ChannelLost, WorkspaceError
from sandbox.freezer import control, freeze, thaw
from sandbox.images import base_image
from sandbox.policy import RUN_LABEL
from sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = Path("/proc/self/cgroup").read_text()
WAKES_ITSELF = """
import ctypes, itertools, os, struct
libc = ctypes.CDLL(None, use_errno=True)
event = struct.pack("qii48x", 0, 18, 0)  # SIGCONT, as a signal to the process.
timer = ctypes.c_void_p()
assert libc.timer_create(1, event, ctypes.byref(timer)) == 0, ctypes.get_errno()
soon = struct.pack("qqqq", 0, 0, 0, 10_000_000)  # Put off while it runs: a stop would take a signal along.
file = os.open("/workspace/count", os.O_WRONLY | os.O_CREAT)
for number in itertools.count():
    libc.timer_settime(timer, 0, soon, None)
    os.pwrite(file, b"%020d" % number, 0)
"""

NAMES = {"v1": "freezer", "v2": cgroup.UNIFIED}
FREEZERS = sorted(
    which for which, name in NAMES.items() for line in OWN.splitlines() if name in line.split(":")[1].split(",")
)
"""What this machine's kernel has: both, or one."""


@pytest.fixture
def box(slot: Path) -> Iterator[Container]:
    with contextlib.closing(Container.start(SandboxSpec(image=base_image()), workspace=slot)) as made:
        yield made


def pid_of(box: Container) -> int:
    pid: int = state_of(box)["Pid"]
    return pid


def state_of(box: Container) -> dict[str, Any]:
    with contextlib.closing(engine.client()) as client:
        state: dict[str, Any] = client.api.inspect_container(box.id)["State"]
    return state


def is_still(file: Path, seconds: float = 0.1) -> bool:
    before = file.read_text()
    time.sleep(seconds)
    return file.read_text() == before


def moves(file: Path, longest_s: float = 5.0) -> bool:
    """Whether a file changes within some time; a busy machine takes its own."""
    before, until = file.read_text(), time.monotonic() + longest_s
    while file.read_text() == before:
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True


def is_undone(box: Container, file: Path) -> bool:
    """Whether a job wakes while it's held, in one of some tries: where it is woken too early the stop comes after."""
    for _ in range(30):
        with box.shell.held():
            if moves(file, 0.2):
                return True
    return False


def control_of(box: Container, which: str) -> Path:
    """Return the file of one of the two hierarchies, whichever would be taken."""
    found = cgroup.folders(pid_of(box), box.id)
    return found[NAMES[which]] / {"v1": "freezer.state", "v2": "cgroup.freeze"}[which]


@pytest.mark.needs_engine
@pytest.mark.needs_root
@pytest.mark.parametrize("which", FREEZERS)
def test_a_job_that_wakes_itself_sleeps_on_while_it_is_held(which: str, box: Container, slot: Path) -> None:
    box.shell.write("/tmp/wakes.py", WAKES_ITSELF.encode())  # noqa: S108  # A path inside.
    box.shell.run("python3 /tmp/wakes.py & sleep 0.5")
    with box.shell.held():
        assert is_still(slot / "count", 0.2)
    assert moves(slot / "count")
    box._freezer.control = None
    assert is_undone(box, slot / "count"), "the runner's stop alone is: else this shows nothing"
    box._freezer.control = control_of(box, which)
    for _ in range(20):
        with box.shell.held():
            assert is_still(slot / "count", 0.01)
        assert moves(slot / "count")
    assert box.shell.run("echo lives").output == b"lives\n"


@pytest.mark.needs_engine
@pytest.mark.needs_root
@pytest.mark.parametrize("which", FREEZERS)
def test_who_forks_without_end_is_held(which: str, box: Container, slot: Path) -> None:
    box._freezer.control = control_of(box, which)
    bomb = "import os\nwhile True:\n try:\n  if os.fork():\n   os._exit(0)\n except OSError: pass\n"
    bomb += ' open("/workspace/count", "w").write(str(os.getpid()))\n'
    box.shell.write("/tmp/bomb.py", bomb.encode())  # noqa: S108  # A path inside.
    box.shell.run("for i in 1 2 3 4; do python3 /tmp/bomb.py & done; sleep 0.3")
    for _ in range(10):
        with box.shell.held():
            assert is_still(slot / "count", 0.01)
    assert moves(slot / "count")


@pytest.mark.needs_engine
@pytest.mark.needs_root
@pytest.mark.parametrize("which", FREEZERS)
def test_whoever_holds_it_may_be_killed(which: str, slot: Path, box: Container) -> None:
    control_of(box, which)
    program = """
        import sys, time
        from pathlib import Path
        from sandbox.container import Container
        from sandbox.freezer import freeze
        from sandbox.spec import SandboxSpec
        from sandbox import cgroup
        spec = SandboxSpec(image=sys.argv[1], labels={sys.argv[2]: "r"})
        box = Container.start(spec, workspace=Path(sys.argv[3]))
        found = cgroup.folders(box._pid, box.id)
        names = {"v1": ("freezer", "freezer.state"), "v2": ("", "cgroup.freeze")}
        box._freezer.control = found[names[sys.argv[4]][0]] / names[sys.argv[4]][1]
        box.shell.run("sleep 1000 &")
        with box.shell.held():
            print(box.id, flush=True)
            time.sleep(1000)
    """
    argv = [sys.executable, "-c", textwrap.dedent(program), base_image(), RUN_LABEL, str(slot), which]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        started = worker.stdout.readline().strip()
        worker.kill()
    (left,) = [left for left in leftovers() if left.id == started]
    began = time.monotonic()
    left.remove()
    assert time.monotonic() - began < 5
    assert started not in [left.id for left in leftovers()]


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_a_pause_and_a_hold_leave_each_other_alone(box: Container, slot: Path) -> None:
    box.shell.run("(while :; do date +%s%N >/workspace/count; done) & sleep 0.2")
    with box.shell.held():
        box.pause()
        assert not state_of(box)["Paused"], "later: it's frozen already"
        assert is_still(slot / "count")
    assert state_of(box)["Paused"]
    assert is_still(slot / "count")
    with box._freezer.held(always=False):
        box.resume()
        assert is_still(slot / "count"), "it goes on only when the workspace was read"
    assert not state_of(box)["Paused"]
    assert moves(slot / "count")
    with box.shell.held():
        box.pause()
        box.resume()
        assert is_still(slot / "count")
    assert not state_of(box)["Paused"]
    assert moves(slot / "count")


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_a_kill_during_a_checkpoint_ends_it(tmp_path: Path) -> None:
    with opened(base_image(), tmp_path) as box:
        box.run("sleep 1000 &")

        def checkpoint() -> None:
            with box._container.shell.held():
                box.kill()

        with pytest.raises(ChannelLost):
            checkpoint()


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_only_a_cgroup_that_bears_the_containers_name_counts(box: Container) -> None:
    pid = pid_of(box)
    assert control(pid, box.id) == box.freezer is not None
    assert cgroup.folders(pid, "0" * 64) == cgroup.folders(pid, "") == {}
    assert control(os.getpid(), box.id) is control(0, box.id) is control(1 << 30, box.id) is None


NAMELESS = """
import ctypes, sys
from sandbox.cgroup import folders
assert ctypes.CDLL(None).mount(b"", sys.argv[1].encode(), b"tmpfs", 0, None) == 0
assert folders(1, "nobody's") == {}
"""


@pytest.mark.needs_root
def test_a_mount_without_a_name_is_no_trouble(tmp_path: Path) -> None:
    subprocess.run(["unshare", "--mount", sys.executable, "-c", NAMELESS, tmp_path], check=True)


def test_what_does_not_freeze_is_an_error_and_so_is_what_is_gone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.freeze").touch()
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    with pytest.raises(WorkspaceError, match="hold still"):
        freeze(tmp_path / "cgroup.freeze", timeout_s=0.1)
    with pytest.raises(ChannelLost):
        freeze(tmp_path / "gone" / "freezer.state")
    thaw(tmp_path / "gone" / "freezer.state")
