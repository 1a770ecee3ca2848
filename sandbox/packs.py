"""Housekeeping in one project's repository: packs put together, runs' checkpoints kept as long as they are wanted.

`refs/dreamdock/base/<commit>`   what was imported
`refs/dreamdock/run/<run>`       a chain of commits of our own; each has a checkpoint for its second parent, so that
                                 steps a rewind left behind stay too, and in its tree what belongs to the checkpoint
`pushed/<run>`                   the commit of that chain which the checkpoint remote was last known to have

Readers need no lock: git and libgit2 look for an object again where its pack has gone. Nothing is deleted before what
takes its place is whole, so a kill at any moment leaves rubbish at the most, which the next time removes.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from sandbox.errors import RevisionNotFound, WorkspaceError
from sandbox.git import git, printable
from sandbox.objects import FILE, Entry, disk_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from sandbox.objects import Objects

MOST_PACKS = 50
GRACE_S = 24 * 3600.0
"""What was written less long ago is never collected: a step's trees before its commit, an import before its run."""
_RUN_ID = re.compile(r"[0-9a-z]{1,64}")
_RUBBISH_S = 3600.0
_OBJECT_ID = re.compile(r"[0-9a-f]{40}")
_RUNS, _BASES = "refs/dreamdock/run", "refs/dreamdock/base"
_PUSHED, _FETCHED = "pushed", " fetched"
_DROPPED = "dropped"
_WHO = "DreamDock <dreamdock@localhost>"
_HOUR = 3600.0

_REPACK = ("-c", "repack.writeBitmaps=false", "-c", "pack.threads=1", "repack", "-d", "-n", "--quiet")


class Link(NamedTuple):
    """A commit of a run's chain that isn't its end yet, and the end that it goes on top of; empty for none."""

    commit: str
    before: str


def consolidate(git_dir: Path, *, most: int = MOST_PACKS) -> bool:
    """Put packs together where there are more than `most`, each object kept, wanted or not; whether that was done.

    Small packs go into one; a large one is only rewritten once as much again has come. Raises WorkspaceError, DiskFull.
    """
    with _alone(_packs(git_dir)) as alone:
        if not alone:
            return False
        _clear(git_dir)
        if sum(item.suffix == ".idx" for item in _packs(git_dir).iterdir()) <= most:
            return False
        git(*_REPACK, "--geometric=2", git_dir=git_dir, timeout_s=_HOUR)
        return True


def collect(git_dir: Path, *, grace_s: float = GRACE_S) -> bool:
    """Delete what no run and no base needs any more and was written before `grace_s` seconds; whether that was done.

    Where somebody imports, it's left for the next time; who wants to import waits until it's done.
    Raises WorkspaceError, DiskFull.
    """
    before = int(time.time() - grace_s)
    with _alone(_packs(git_dir)) as alone, _alone(_imports(git_dir)) as nobody:
        if not (alone and nobody):
            return False
        _clear(git_dir)
        _drop_bases(git_dir, before)
        # What is unwanted but young comes out loose, with its age; the next consolidation packs it.
        git(*_REPACK, "-A", f"--unpack-unreachable=@{before}", git_dir=git_dir, timeout_s=_HOUR)
        git("prune", f"--expire=@{before}", git_dir=git_dir, timeout_s=_HOUR)
        return True


def keep(objects: Objects, git_dir: Path, run_id: str, commit: str, blobs: Collection[str] = ()) -> None:
    """Keep a checkpoint that is in the store, all that it descends from and some blobs until the run is dropped.

    One process at a time for each run; who comes while a collection is under way waits until it's done.
    Raises RevisionNotFound for what isn't a commit, WorkspaceError, DiskFull.
    """
    with importing(git_dir):
        if not objects.is_commit(commit):
            raise RevisionNotFound(f"the store has no commit {printable(commit)}")
        for oid in blobs:
            objects.read(oid)  # One that isn't there would break the repository.
        kept = link(objects, git_dir, run_id, commit, blobs)
        objects.flush()
        advance(objects, git_dir, run_id, kept)


def link(objects: Objects, git_dir: Path, run_id: str, commit: str, blobs: Collection[str] = ()) -> Link:
    """Put the next commit of a run's chain, for `advance` once it's in the store.

    The checkpoint and the blobs are in the store already, or were put as well. Raises WorkspaceError.
    """
    entries = [(oid.encode(), Entry(FILE, oid)) for oid in set(blobs)]
    tree = objects.put_tree(entries) if entries else objects.put(b"tree", b"")
    before = tip(git_dir, run_id)
    return Link(_linked(objects, tree, (before, commit) if before else (commit,)), before)


def advance(objects: Objects, git_dir: Path, run_id: str, new: Link) -> None:
    """Make a commit of `link` the end of a run's chain; what somebody else put there meanwhile is kept as well.

    A run has several sandboxes at a time, each in a thread of its own. Raises WorkspaceError, DiskFull.
    """
    with _locked(git_dir, fcntl.LOCK_EX):
        oid, now = new.commit, tip(git_dir, run_id)
        if now not in {new.before, ""}:
            oid = _linked(objects, objects.put(b"tree", b""), (now, oid))
            objects.flush()
        point(git_dir, run_id, oid)


def join(objects: Objects, git_dir: Path, run_id: str, other: str) -> None:
    """Have a run's chain lead to all that another chain of the same run leads to. Raises WorkspaceError, DiskFull."""
    own = tip(git_dir, run_id)
    if own and other in leads_to(git_dir, run_id, [other]):
        return
    if own and own not in _led_to(git_dir, other, [own]):  # Both have steps that the other doesn't.
        other = _linked(objects, objects.put(b"tree", b""), (other, own))
        objects.flush()
    point(git_dir, run_id, other)


def _linked(objects: Objects, tree: str, parents: tuple[str, ...]) -> str:
    # The time lets git see which commits are the latest: without it a push would walk the whole history.
    stamp = f"{_WHO} {int(time.time())} +0000"
    lines = "".join(f"parent {oid}\n" for oid in parents)
    text = f"tree {tree}\n{lines}author {stamp}\ncommitter {stamp}\n\nKept for a run\n"
    return objects.put(b"commit", text.encode())


def tip(git_dir: Path, run_id: str) -> str:
    """Return the end of a run's chain; empty where nothing of it is kept. Raises WorkspaceError for no run's id."""
    try:
        return _ref(git_dir, run_id).read_text().strip()
    except FileNotFoundError:
        return ""


def leads_to(git_dir: Path, run_id: str, commits: Collection[str]) -> set[str]:
    """Return those of some commits that a run's chain leads to. Raises WorkspaceError."""
    own = tip(git_dir, run_id)
    return _led_to(git_dir, own, commits) if own and commits else set()


def _led_to(git_dir: Path, end: str, commits: Collection[str]) -> set[str]:
    wanted = {oid for oid in commits if _OBJECT_ID.fullmatch(oid)}
    there = git("cat-file", "--batch-check", git_dir=git_dir, stdin="".join(f"{oid}\n" for oid in wanted).encode()).out
    known = [line.split()[0].decode() for line in there.splitlines() if line.split()[1] == b"commit"]
    if not known:
        return set()
    # What isn't led to is what remains of them when all that the end leads to is taken away.
    stdin = "".join(f"{oid}\n" for oid in [*known, f"^{end}"]).encode()
    left = git("rev-list", "--stdin", git_dir=git_dir, stdin=stdin, check=False, timeout_s=_HOUR)
    if left.code == 0:
        return set(known) - set(left.out.decode().split())
    # One of them lies there without all that it descends from: each by itself, then.
    return {
        oid for oid in known if git("merge-base", "--is-ancestor", oid, end, git_dir=git_dir, check=False).code == 0
    }


def is_base(git_dir: Path, commit: str) -> bool:
    """Whether a commit was imported, and is kept as such."""
    return (git_dir / _BASES / commit).is_file()


def pushed(git_dir: Path, run_id: str) -> str:
    """Return the end of a run's chain as the checkpoint remote was last known to have it; empty for none."""
    return (_noted(git_dir, run_id) or [""])[0]


def to_delete(git_dir: Path) -> list[str]:
    """Return the ids of the runs that are kept here no longer, and were pushed from here to the checkpoint remote."""
    with suppress(FileNotFoundError):
        names = sorted(item.name for item in os.scandir(git_dir / _PUSHED) if _RUN_ID.fullmatch(item.name))
        return [name for name in names if len(_noted(git_dir, name)) == 1 and not is_kept(git_dir, name)]
    return []


def note_pushed(git_dir: Path, run_id: str, oid: str, *, fetched: bool = False) -> None:
    """Note what the checkpoint remote has of a run, empty for nothing; `fetched` where it came from there.

    Raises WorkspaceError, DiskFull.
    """
    note = git_dir / _PUSHED / _ref(git_dir, run_id).name
    try:
        if oid:
            _create(note, f"{oid}{_FETCHED * fetched}\n".encode())
        else:
            note.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, "noting what was pushed") from error


def _noted(git_dir: Path, run_id: str) -> list[str]:
    note = git_dir / _PUSHED / _ref(git_dir, run_id).name
    try:
        return note.read_text().split()
    except FileNotFoundError:
        return []


def point(git_dir: Path, run_id: str, oid: str) -> None:
    """Make a commit of a chain the end of a run's chain. Raises WorkspaceError, DiskFull."""
    try:
        _write(_ref(git_dir, run_id), oid)
    except OSError as error:
        raise disk_error(error, "keeping a checkpoint") from error


def is_kept(git_dir: Path, run_id: str) -> bool:
    """Whether a run's checkpoints are kept. Raises WorkspaceError for what is no run's id."""
    return _ref(git_dir, run_id).is_file()


def kept(git_dir: Path) -> dict[str, float]:
    """Return the ids of the runs whose checkpoints are kept, each with the time of the last one (seconds, Unix)."""
    found: dict[str, float] = {}
    with suppress(FileNotFoundError):
        for item in os.scandir(git_dir / _RUNS):
            if _RUN_ID.fullmatch(item.name):
                found[item.name] = item.stat().st_mtime
    return found


def drop(git_dir: Path, run_id: str) -> None:
    """Keep a run's checkpoints no longer: the next collection takes what no other run needs."""
    _ref(git_dir, run_id).unlink(missing_ok=True)
    (git_dir / _DROPPED).touch()
    if len(_noted(git_dir, run_id)) > 1:  # What others have pushed is theirs to delete.
        note_pushed(git_dir, run_id, "")


def dropped(git_dir: Path) -> float:
    """Return when a run was last dropped whose objects may be there yet (seconds, Unix); 0 where there is none."""
    try:
        return (git_dir / _DROPPED).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def settled(git_dir: Path) -> None:
    """Note that of dropped runs nothing is there any more."""
    (git_dir / _DROPPED).unlink(missing_ok=True)


def importing(git_dir: Path) -> AbstractContextManager[bool]:
    """Hold off collections while objects that exist already are relied on before a ref names them."""
    return _locked(_imports(git_dir), fcntl.LOCK_SH)


def ending(git_dir: Path) -> AbstractContextManager[bool]:
    """Hold off others who change where the project's history ends (its file `shallow`)."""
    return _locked(git_dir / "objects", fcntl.LOCK_EX)


def _alone(folder: Path) -> AbstractContextManager[bool]:
    return _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[bool]:
    """Hold a directory's lock, which needs no file that only its maker may open; whether it could be had."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, how)
            had = True
        except BlockingIOError:
            had = False
        yield had
    finally:
        os.close(lock)


def _packs(git_dir: Path) -> Path:
    return git_dir / "objects/pack"


def _imports(git_dir: Path) -> Path:
    return git_dir / "refs"


def _ref(git_dir: Path, run_id: str) -> Path:
    if not _RUN_ID.fullmatch(run_id):
        raise WorkspaceError(f"{printable(run_id)!r} is no run's id")
    return git_dir / _RUNS / run_id


def _write(ref: Path, oid: str) -> None:
    """Point a ref at an object. Git's own way is a process for each step; it skips names that begin with a dot.

    In place, which nothing can cut in half, and takes a tenth of the time: where a file takes another's place, ext4
    brings it to the disk first. A reader that came between two stores would find no such object, and delete nothing.
    """
    line = f"{oid}\n".encode()
    try:
        file = os.open(ref, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        _create(ref, line)
        return
    try:
        os.pwrite(file, line, 0)
    finally:
        os.close(file)


def _create(ref: Path, line: bytes) -> None:
    if not ref.parent.is_dir():
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.parent.chmod(ref.parents[1].stat().st_mode & 0o7777)  # Shared as git shares the rest with a group.
    fresh = ref.with_name(f".{ref.name}-{os.getpid()}")
    fresh.write_bytes(line)
    fresh.replace(ref)


def _drop_bases(git_dir: Path, before: int) -> None:
    """Drop the refs of old imports but the latest: runs keep their own bases, and fetches need to start somewhere."""
    folder = git_dir / _BASES
    if not folder.is_dir():
        return
    times = sorted((item.stat().st_mtime, item.name) for item in folder.iterdir() if item.suffix != ".lock")
    for used, name in times[:-1]:
        if used < before:
            git("update-ref", "-d", f"{_BASES}/{name}", git_dir=git_dir)


def _clear(git_dir: Path, *, age_s: float = _RUBBISH_S) -> None:
    """Remove what killed writers left: halves of packs under names of their own, packs without an index."""
    limit = time.time() - age_s
    for item in _packs(git_dir).iterdir():
        half = item.name.startswith(("tmp_", ".tmp-", "pack_git2_")) or (
            item.name.startswith("pack-") and not item.with_suffix(".idx").exists()
        )
        with suppress(FileNotFoundError):
            # The time of a rename too: an import brings a pack that took long to fetch, then its index.
            if half and item.stat().st_ctime < limit:
                item.unlink()
