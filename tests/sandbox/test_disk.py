from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repos import UID

from sandbox.disk import mount_disk, unmount_disk
from sandbox.errors import DiskFull, WorkspaceError
from sandbox.mounts import mount_overlay, require_written, unmount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repos import SmallDisk

pytestmark = pytest.mark.needs_root


@pytest.fixture
def host(small_disk: SmallDisk) -> Path:
    return small_disk("100m")


@pytest.fixture
def disk(host: Path, tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "w"
    place.mkdir()
    mount_disk(host, 64, place)
    yield place
    unmount_disk(place)


def used_bytes(place: Path) -> int:
    os.sync()
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def device(place: Path) -> Path:
    """The loop device, as the kernel shows it."""
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if f" {place} " in line)
    return Path("/sys/block") / Path(line.split()[0]).name


def test_it_is_closed_and_takes_next_to_nothing(disk: Path, host: Path) -> None:
    line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {disk} " in line)
    assert {"nosuid", "nodev", "noexec"} <= set(line.split()[5].split(","))
    assert list(disk.iterdir()) == []
    assert list(host.iterdir()) == []
    assert int((device(disk) / "size").read_text()) * 512 == 64 << 20
    assert used_bytes(host) < 1 << 20


def test_who_fills_it_is_refused_and_the_host_loses_no_more(disk: Path, host: Path) -> None:
    with (disk / "filler").open("wb") as file:
        os.chown(disk / "filler", UID, UID)
        argv = ["dd", "if=/dev/zero", "bs=1M"]
        done = subprocess.run(argv, user=UID, group=UID, stdout=file, stderr=subprocess.PIPE, check=False)
    assert b"No space left on device" in done.stderr
    assert 60 << 20 < used_bytes(disk) <= 64 << 20
    assert used_bytes(host) <= 64 << 20
    (disk / "filler").unlink()
    assert used_bytes(disk) < 4 << 20


def test_the_number_of_files_is_bounded_too(disk: Path) -> None:
    def fill() -> None:
        for number in range(10_000):
            (disk / str(number)).touch()

    with pytest.raises(OSError, match="No space left"):
        fill()
    assert len(list(disk.iterdir())) > 1000


@pytest.fixture
def overlay(disk: Path, tmp_path: Path) -> Iterator[Path]:
    for name in ("lower/folder", "w/upper", "w/work", "merged"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("lower", "lower/folder", "w/upper"):
        os.chown(tmp_path / name, UID, UID)
    (tmp_path / "lower/folder/file").write_text("base\n")
    mount_overlay(tmp_path, lower="lower", upper="w/upper", work="w/work", merged="merged")
    yield tmp_path / "merged"
    unmount(tmp_path / "merged")
    assert disk.is_mount()


def test_an_overlay_works_on_it(overlay: Path, disk: Path) -> None:
    (overlay / "folder").rename(overlay / "moved")
    (overlay / "moved/file").write_text("changed\n")
    assert os.getxattr(disk / "upper/moved", "trusted.overlay.redirect") == b"folder"
    assert (disk / "upper/moved/file").read_text() == "changed\n"


def test_what_never_got_to_a_full_host_is_known(overlay: Path, disk: Path, host: Path) -> None:
    (overlay / "file").write_bytes(os.urandom(5 << 20))
    os.sync()
    require_written(overlay)
    (host / "filler").write_bytes(b"x" * ((100 << 20) - used_bytes(host) - (1 << 20)))
    (overlay / "more").write_bytes(os.urandom(20 << 20))  # It fits on the disk, and not on the host's.
    os.sync()
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            require_written(overlay)
    (host / "filler").unlink()
    with pytest.raises(OSError, match="Input/output error"):
        require_written(overlay)
    assert disk.is_mount()


def test_one_in_use_is_never_detached(disk: Path) -> None:
    with (disk / "open").open("w"), pytest.raises(WorkspaceError, match="still in use"):
        unmount_disk(disk)
    assert disk.is_mount()


def test_what_fails_leaves_nothing(host: Path, tmp_path: Path) -> None:
    before = used_bytes(host)
    with pytest.raises(WorkspaceError) as caught:
        mount_disk(host, 64, tmp_path / "nowhere")
    assert caught.value.hint
    assert caught.value.cause
    assert used_bytes(host) == before


def test_a_full_host_is_said(small_disk: SmallDisk, tmp_path: Path) -> None:
    host = small_disk("32k")
    with pytest.raises(DiskFull) as caught:
        mount_disk(host, 64, tmp_path)
    assert caught.value.hint
    assert not tmp_path.is_mount()


def test_its_loop_device_is_given_back(host: Path, tmp_path: Path) -> None:
    place = tmp_path / "w"
    place.mkdir()
    mount_disk(host, 64, place)
    backing = device(place) / "loop/backing_file"
    assert backing.read_text().startswith(str(host))
    inode = backing.read_text()
    (place / "large").write_bytes(os.urandom(20 << 20))
    unmount_disk(place)
    deadline = time.monotonic() + 5  # The kernel does it a moment after the last one has let go.
    while backing.exists() and backing.read_text() == inode:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert used_bytes(host) == 0
    assert list(tmp_path.glob("w/*")) == []
