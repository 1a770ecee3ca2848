from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from sandbox.cache import Held, disk_bytes, evict, hold, is_mounted, size_of
from sandbox.errors import WorkspaceError

if TYPE_CHECKING:
    from pathlib import Path

    from repos import Opener, Repo

    from sandbox.store import Store

_KB = 1024


def filled(part: Path) -> None:
    (part / "data").write_bytes(os.urandom(100 * _KB))


def entry(root: Path, name: str, *, used: float) -> None:
    """Make an entry whose last use was at `used` seconds."""
    hold(root, name, filled).release()
    os.utime(root / f"{name}.lock", (used, used))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def names(root: Path) -> set[str]:
    return {item.name for item in root.iterdir()}


def test_the_least_recently_used_go_first_until_the_rest_fits(root: Path) -> None:
    for number, name in enumerate("cabd"):
        entry(root, name, used=1000 + number)
    one = size_of(root / "a")
    assert list(evict(root, 4 * one)) == []
    assert list(evict(root, 2 * one)) == ["c", "a"]
    assert names(root) == {"b", "b.lock", "b.making", "d", "d.lock", "d.making"}
    assert list(evict(root, 0)) == ["b", "d"]
    assert names(root) == set()
    assert list(evict(root / "none", 0)) == []


def test_a_trial_tells_and_removes_nothing(root: Path) -> None:
    for number, name in enumerate("cab"):
        entry(root, name, used=1000 + number)
    held = hold(root, "c", filled)
    before, one = names(root), size_of(root / "a")
    assert evict(root, 2 * one, dry_run=True) == {"a": one}
    assert names(root) == before
    held.release()


def test_a_use_makes_an_entry_the_last_to_go(root: Path) -> None:
    for number, name in enumerate("ab"):
        entry(root, name, used=1000 + number)
    again = hold(root, "a", filled)
    os.utime(root / "a.lock", (1, 1))  # As though the use had been long: its end counts too.
    again.release()
    again.release()
    assert list(evict(root, size_of(root / "a"))) == ["b"]


def test_what_is_held_stays_and_counts(root: Path) -> None:
    entry(root, "old", used=1000)
    entry(root, "new", used=2000)
    held = hold(root, "old", filled)
    os.utime(root / "old.lock", (1, 1))
    assert list(evict(root, size_of(root / "old"))) == ["new"]
    assert list(evict(root, 0)) == []
    assert (held.path / "data").exists()
    held.release()
    assert list(evict(root, 0)) == ["old"]


def test_what_the_caller_knows_to_be_in_use_stays(root: Path) -> None:
    entry(root, "a", used=1)
    entry(root, "b", used=2)
    assert list(evict(root, 0, in_use=lambda name: name == "a")) == ["b"]


def test_a_killed_process_lets_go(root: Path) -> None:
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        held = hold(root, "a", filled)
        os.write(told, b"x")
        time.sleep(60)
        os._exit(int(held.lock.closed))
    os.read(ready, 1)
    assert list(evict(root, 0)) == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert list(evict(root, 0)) == ["a"]


def test_a_maker_that_fails_leaves_nothing_and_the_next_one_makes_it(root: Path) -> None:
    def failing(part: Path) -> None:
        filled(part)
        raise WorkspaceError("no")

    with pytest.raises(WorkspaceError, match="no"):
        hold(root, "a", failing)
    assert names(root) == {"a.lock", "a.making"}
    hold(root, "a", filled).release()
    assert (root / "a/data").exists()


def test_what_killed_makers_and_removers_left_goes(root: Path) -> None:
    def cut_short(part: Path) -> None:
        filled(part)
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        hold(root, "a", cut_short)
    os.waitpid(child, 0)
    entry(root, "b", used=1)
    (root / "b").rename(root / "b.gone")
    assert {"a.part", "b.gone"} <= names(root)
    assert list(evict(root, 10**9)) == []
    assert not {"a.part", "b.gone"} & names(root)


def test_one_being_made_is_left_alone(root: Path) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(part: Path) -> None:
        filled(part)
        begun.set()
        may_end.wait()

    made: list[Held] = []
    thread = threading.Thread(target=lambda: made.append(hold(root, "a", slow)))
    thread.start()
    begun.wait()
    assert list(evict(root, 0)) == []
    may_end.set()
    thread.join()
    assert (made[0].path / "data").exists()
    made[0].release()


def test_the_size_is_what_the_disk_gives_and_is_measured_once(root: Path) -> None:
    def sparse(part: Path) -> None:
        with (part / "sparse").open("wb") as file:
            file.truncate(10**9)
        filled(part)
        (part / "same").hardlink_to(part / "data")

    held = hold(root, "a", sparse)
    size = size_of(held.path)
    assert 100 * _KB <= size < 150 * _KB
    (held.path / "more").write_bytes(os.urandom(100 * _KB))
    assert size_of(held.path) == size
    (held.path / "bytes").write_text("")
    assert size_of(held.path) >= size + 100 * _KB
    held.release()
    with pytest.raises(WorkspaceError, match="can't measure"):
        disk_bytes(root / "none")


_STRESS = """
import os, random, sys, time
from pathlib import Path
from sandbox.cache import evict, hold
root, end = Path(sys.argv[1]), time.monotonic() + float(sys.argv[2])
random.seed(int(sys.argv[3]))
def make(part):
    for number in range(20):
        (part / str(number)).write_text("x" * 5000)
rounds = 0
while time.monotonic() < end:
    if random.random() < 0.3:
        evict(root, random.choice([0, 200_000]))
        continue
    held = hold(root, random.choice("abc"), make)
    for _ in range(3):
        assert len(os.listdir(held.path)) == 21, os.listdir(held.path)
        assert (held.path / "7").read_text() == "x" * 5000
    held.release()
    rounds += 1
print(rounds)
"""


def test_many_makers_users_and_evicters_never_meet_a_half_entry(root: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", _STRESS, root, "3", str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(6)
    ]
    time.sleep(1)
    running[0].kill()  # In the middle of whatever it does.
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [-signal.SIGKILL, 0, 0, 0, 0, 0]
    assert all(int(text) > 0 for text in said[1:])
    evict(root, 0)
    assert names(root) <= {"a.lock", "b.lock", "c.lock", "a.making", "b.making", "c.making"}


@pytest.mark.needs_root
def test_a_checkout_below_a_mounted_workspace_stays(
    store: Store, repo: Repo, open_workspace: Opener, tmp_path: Path
) -> None:
    root = tmp_path / "worker/pristine"
    workspace = open_workspace(store.import_commit(repo.path))
    name = workspace.pristine.name
    assert list(evict(root, 0)) == []
    workspace.pristine.held.release()  # As when its worker is killed: the mount stays until a sweep.
    assert is_mounted(name)
    assert list(evict(root, 0)) == []
    assert (workspace.merged / "src/a.py").read_text() == "a = 1\n"
    workspace.remove()
    assert not is_mounted(name)
    assert list(evict(root, 0)) == [name]
    assert (open_workspace(store.import_commit(repo.path)).merged / "src/a.py").exists()
