"""What comes into the store from elsewhere: fetched into a repository of its own, and moved over once it's whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import packs
from sandbox.git import git

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sandbox.git import Bounds

_HOUR = 3600.0
_FETCH = (
    "-c",
    "fetch.unpackLimit=1",
    "-c",
    "core.alternateRefsPrefixes=refs/dreamdock/base/",  # A remote isn't told of what runs have made.
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-recurse-submodules",
    "--no-write-fetch-head",
    "--update-shallow",
)


def make(path: Path) -> None:
    """Make an empty bare repository."""
    # Group-readable at most: the store's directory decides who that is.
    git("init", "--quiet", "--bare", "--shared=0660", "--template=", "--initial-branch=main", "--", path)


@contextmanager
def incoming(root: Path, lender: Path | None) -> Iterator[Path]:
    """Yield an empty repository below `root`; it borrows what `lender` has, and nothing is collected there meanwhile.

    What isn't moved over until the block's end is gone.
    """
    with tempfile.TemporaryDirectory(prefix="incoming-", dir=root) as name, ExitStack() as borrowed:
        room = Path(name) / "r.git"
        make(room)
        if lender is not None and lender.is_dir():
            borrowed.enter_context(packs.importing(lender))
            (room / "objects/info").mkdir(exist_ok=True)
            (room / "objects/info/alternates").write_text(f"{lender.absolute() / 'objects'}\n")
            if (lender / "shallow").is_file():
                shutil.copyfile(lender / "shallow", room / "shallow")
        yield room


def fetch(
    room: Path,
    source: str,
    rev: str,
    ref: str,
    *,
    as_user: bool,
    config: Sequence[str] = (),
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    bounds: Bounds | None = None,
) -> None:
    """Fetch a revision and all that it descends from, as `ref`. Raises GitFailed, DiskFull.

    Git reckons every object's id from what it holds, and the ref isn't made where something is missing below it.
    """
    asked = (*config, *_FETCH, *options, "--", source, f"{rev}:{ref}")
    git(*asked, git_dir=room, as_user=as_user, env=env, timeout_s=_HOUR, bounds=bounds)


def move(room: Path, project: Path) -> None:
    """Move what was fetched over: packs, each complete before its index makes it visible, and where history ends.

    The caller holds off collections (`packs.importing`) until a ref keeps it.
    """
    if any(len(item.name) == 2 for item in (room / "objects").iterdir()):  # noqa: PLR2004  # A loose object's.
        git("repack", "-d", "-l", "--quiet", git_dir=room, timeout_s=_HOUR)  # A web server without git sends such.
    for path in sorted((room / "objects/pack").iterdir(), key=lambda item: item.suffix == ".idx"):
        path.rename(project / "objects/pack" / path.name)
    if (room / "shallow").is_file():
        with packs.ending(project):
            add_boundary(room / "shallow", project / "shallow")


def keep_base(project: Path, commit: str) -> None:
    """Keep an imported commit, from now on."""
    git("update-ref", f"refs/dreamdock/base/{commit}", commit, git_dir=project)
    with suppress(PermissionError):  # Another account's; git doesn't write a ref that says so already.
        os.utime(project / f"refs/dreamdock/base/{commit}")


def add_boundary(fetched: Path, known: Path) -> None:
    """Add the ends of a shallow history to those that the project has: another import may have brought its own."""
    lines = set(fetched.read_text().split()) | set(known.read_text().split() if known.is_file() else [])
    fresh = fetched.with_name("shallow.new")
    fresh.write_text("".join(f"{line}\n" for line in sorted(lines)))
    fresh.rename(known)
