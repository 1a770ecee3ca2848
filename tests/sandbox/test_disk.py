from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repos import UID

from sandbox.disk import mount_disk, unmount_disk, used_bytes
from sandbox.errors import WorkspaceError
from sandbox.mounts import mount_overlay

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    image, place = tmp_path / "w.img", tmp_path / "w"
    place.mkdir()
    mount_disk(image, 64, place)
    yield place
    unmount_disk(image, place)


def test_it_is_closed_and_takes_next_to_nothing(disk: Path) -> None:
    line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {disk} " in line)
    assert {"nosuid", "nodev", "noexec"} <= set(line.split()[5].split(","))
    assert list(disk.iterdir()) == []
    image = disk.with_name("w.img").stat()
    assert image.st_size == 64 << 20
    assert image.st_blocks * 512 < 1 << 20


def test_who_fills_it_is_refused_and_the_host_loses_no_more(disk: Path, tmp_path: Path) -> None:
    with (disk / "filler").open("wb") as file:
        os.chown(disk / "filler", UID, UID)
        argv = ["dd", "if=/dev/zero", "bs=1M"]
        done = subprocess.run(argv, user=UID, group=UID, stdout=file, stderr=subprocess.PIPE, check=False)
    assert b"No space left on device" in done.stderr
    os.sync()
    assert 48 << 20 < used_bytes(disk) <= 62 << 20
    assert disk.with_name("w.img").stat().st_blocks * 512 <= 64 << 20
    (disk / "worker").write_bytes(b"x" * (2 << 20))  # Root's share: for a rewind.
    os.sync()
    (disk / "filler").unlink()
    assert used_bytes(disk) < 4 << 20
    assert (tmp_path / "w.img").exists()


def test_the_number_of_files_is_bounded_too(disk: Path) -> None:
    def fill() -> None:
        for number in range(10_000):
            (disk / str(number)).touch()

    with pytest.raises(OSError, match="No space left"):
        fill()
    assert len(list(disk.iterdir())) > 1000


def test_what_is_used_is_told(disk: Path) -> None:
    before = used_bytes(disk)
    (disk / "data").write_bytes(os.urandom(5 << 20))
    os.sync()
    assert 5 << 20 <= used_bytes(disk) - before < 6 << 20


def test_an_overlay_works_on_it(disk: Path, tmp_path: Path) -> None:
    for name in ("lower/folder", "w/upper", "w/work", "merged"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("lower", "lower/folder", "w/upper"):
        os.chown(tmp_path / name, UID, UID)
    (tmp_path / "lower/folder/file").write_text("base\n")
    mount_overlay(tmp_path, lower="lower", upper="w/upper", work="w/work", merged="merged")
    try:
        (tmp_path / "merged/folder").rename(tmp_path / "merged/moved")
        (tmp_path / "merged/moved/file").write_text("changed\n")
        assert os.getxattr(tmp_path / "w/upper/moved", "trusted.overlay.redirect") == b"folder"
        assert (disk / "upper/moved/file").read_text() == "changed\n"
    finally:
        subprocess.run(["umount", tmp_path / "merged"], check=True)


def test_one_in_use_is_never_detached(disk: Path) -> None:
    with (disk / "open").open("w"), pytest.raises(WorkspaceError, match="still in use"):
        unmount_disk(disk.with_name("w.img"), disk)
    assert disk.with_name("w.img").exists()


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as caught:
        mount_disk(tmp_path / "w.img", 64, tmp_path / "nowhere")
    assert caught.value.hint
    assert caught.value.cause
    assert list(tmp_path.iterdir()) == []


def test_its_loop_device_is_given_back(tmp_path: Path) -> None:
    place, image = tmp_path / "w", tmp_path / "w.img"
    place.mkdir()
    mount_disk(image, 64, place)
    device = next(line.split()[0] for line in Path("/proc/mounts").read_text().splitlines() if f" {place} " in line)
    backing = Path("/sys/block") / Path(device).name / "loop/backing_file"
    assert backing.read_text().strip() == str(image)
    unmount_disk(image, place)
    assert not backing.exists() or backing.read_text().strip() != str(image)
    assert list(tmp_path.iterdir()) == [place]
