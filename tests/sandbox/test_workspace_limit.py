"""A run's own disk: who fills it hurts nobody else, and loses no step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from sandbox.errors import DiskFull, WorkspaceFull
from sandbox.images import base_image
from sandbox.open import open_sandbox
from sandbox.rewind import FULL
from sandbox.spec import Limits, SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repos import NewRepo, SmallDisk

    from sandbox.open import Sandbox
    from sandbox.spec import Base
    from sandbox.store import Store

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]

SMALL = Limits(workspace_mb=32, memory_mb=256)
FILL = "head -c 100000000 /dev/urandom >filler"


def spec(limits: Limits = SMALL) -> SandboxSpec:
    return SandboxSpec(image=base_image(), limits=limits)


@pytest.fixture
def base(store: Store, new_repo: NewRepo) -> Base:
    repo = new_repo("source")
    repo.commit({"a.txt": "one\n", "large": os.urandom(1 << 20), ".gitignore": "*.log\n"})
    return store.import_commit(repo.path)


@pytest.fixture
def box(store: Store, base: Base, tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(spec(), store, base, tmp_path / "spaces") as opened:
        yield opened


def out(box: Sandbox, command: str) -> str:
    return box.run(command).output.decode()


def used_bytes(place: Path) -> int:
    os.sync()
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.parametrize("where", ["filler", "filler.log", "~/filler", ".dreamdock/x", "sub/../filler"])
def test_a_filled_workspace_is_refused_inside_and_the_run_goes_on(
    store: Store, base: Base, box: Sandbox, where: str
) -> None:
    full = box.run(f"mkdir -p sub; head -c 100000000 /dev/urandom >{where}")
    assert b"No space left on device" in full.output
    assert full.exit_code == 1
    step = box.checkpoint(note="full")
    assert "a.txt" in store.list_files(base.project, step.tree)
    assert out(box, f"rm {where}; echo again >>a.txt; cat a.txt") == "one\nagain\n"
    assert [change.path for change in box.checkpoint(note="2").changes if change.path != "filler"] == ["a.txt"]


def test_files_without_number_are_refused_too(box: Sandbox) -> None:
    full = box.run(
        "mkdir many; cd many; for i in $(seq 100000); do echo >$i || break; done 2>&1 | tail -1", timeout_s=60
    )
    assert b"No space left on device" in full.output
    assert int(out(box, "ls | wc -l")) < 10_000
    assert len(box.checkpoint(note="1").changes) < 10_000
    assert out(box, "cd ..; rm -r many; echo more >>a.txt; cat a.txt") == "one\nmore\n"


def test_neither_the_host_nor_another_run_is_hurt(store: Store, base: Base, small_disk: SmallDisk) -> None:
    root = small_disk("80m")
    with open_sandbox(spec(), store, base, root) as filler, open_sandbox(spec(), store, base, root) as other:
        assert b"No space left" in filler.run(FILL).output
        assert used_bytes(root) < 40 << 20
        assert other.run("head -c 20000000 /dev/urandom >mine && wc -c <mine").output == b"20000000\n"
        assert len(other.checkpoint(note="1").changes) == 1
        filler.checkpoint(note="1")
    assert used_bytes(root) < 4 << 20


def test_it_can_be_seen_how_much_is_left_and_nothing_of_the_host(box: Sandbox) -> None:
    size, kind = out(box, "df -m --output=size,fstype . | tail -1").split()
    assert 24 <= int(size) <= 32
    assert kind == "overlay"


def test_a_full_workspace_goes_back_to_any_step(box: Sandbox) -> None:
    box.run("echo two >>a.txt; head -c 20000000 /dev/urandom >new; echo kept >x.log")
    step = box.checkpoint(note="1")
    box.run("rm new; head -c 10000000 /dev/urandom >~/cache; " + FILL)
    assert FULL in box.rewind(step.commit).notes
    assert out(box, "cat a.txt; stat -c %s new; ls -A ~ x.log 2>&1").startswith("one\ntwo\n20000000\nls: ")
    again = box.checkpoint(note="2")
    assert (again.tree, again.changes) == (step.tree, ())
    box.run("mkdir ~/y; echo 1 >x.log; rm new")
    assert FULL not in box.rewind(box.checkpoint(note="3").commit).notes
    assert out(box, "ls ~; cat x.log") == "y\n1\n"


def test_a_workspace_full_of_files_goes_back(box: Sandbox) -> None:
    step = box.checkpoint(note="1")
    box.run("mkdir many.log; cd many.log; for i in $(seq 100000); do echo >$i || break; done 2>/dev/null", timeout_s=60)
    box.rewind(step.commit)
    assert out(box, "cat a.txt; echo new >b && cat b") == "one\nnew\n"


def test_what_cannot_fit_is_a_typed_error_and_the_steps_stay(store: Store, base: Base, tmp_path: Path) -> None:
    root = tmp_path / "spaces"
    with open_sandbox(spec(), store, base, root) as box:
        box.run("head -c 20000000 /dev/urandom >new")
        step = box.checkpoint(note="1")
    smaller = spec(SMALL.model_copy(update={"workspace_mb": 16}))
    with (
        pytest.raises(WorkspaceFull, match="own disk") as caught,
        open_sandbox(smaller, store, base, root, tree=step.tree),
    ):
        pytest.fail("it can't be open")
    assert "16 MiB" in caught.value.cause
    assert caught.value.hint
    assert list((root / "open").iterdir()) == []
    with open_sandbox(spec(), store, base, root, tree=step.tree) as box:
        assert out(box, "stat -c %s new") == "20000000\n"


@pytest.mark.parametrize(("first", "words"), [("touch b", "may be lost"), ("rm large", "the disk is full")])
def test_a_full_host_ends_the_step_and_the_steps_before_stay(
    store: Store, base: Base, tmp_path: Path, small_disk: SmallDisk, first: str, words: str
) -> None:
    with open_sandbox(spec(Limits(workspace_mb=200)), store, base, small_disk("24m")) as box:
        box.run(f"echo two >>a.txt; {first}")
        step = box.checkpoint(note="1")
        box.run(FILL)  # It fits on the run's disk, and that one not on the host's.
        os.sync()  # The kernel does it some seconds later by itself.
        for _ in range(2):
            with pytest.raises(DiskFull, match=words) as caught:
                box.checkpoint(note="2")
        assert caught.value.hint
    with open_sandbox(spec(), store, base, tmp_path / "spaces", tree=step.tree) as box:
        assert out(box, "cat a.txt; ls").startswith("one\ntwo\na.txt\n")


def test_a_command_may_write_more_than_it_has_memory(store: Store, base: Base, tmp_path: Path) -> None:
    limits = Limits(workspace_mb=1024, memory_mb=128)
    with open_sandbox(spec(limits), store, base, tmp_path / "spaces") as box:
        result = box.run("head -c 500000000 /dev/zero >new.log && wc -c <new.log && sha256sum new.log", timeout_s=120)
    assert result.output.split()[0] == b"500000000"
