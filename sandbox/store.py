"""The shared store: one bare git repository per project, filled by whoever queues a run and read by the workers.

`<root>/<project>.git`, named after the repository's first commit, so that clones of it are one project.
For a shallow source that is the commit at its boundary: a full and a shallow clone are two projects.
`refs/dreamdock/base/<commit>` keeps what was imported, `refs/dreamdock/run/<run>` a run's checkpoints; see `packs`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import foreign, packs
from sandbox.cache import disk_bytes, remove_tree
from sandbox.errors import NotARepository, RevisionNotFound, WorkspaceError
from sandbox.git import GitFailed, checked_revision, git, printable
from sandbox.incoming import fetch, incoming, keep_base, make, move
from sandbox.objects import EMPTY_TREE, Objects, disk_error
from sandbox.source import human_name, is_url, local_view, shown
from sandbox.spec import Base
from sandbox.trees import COMPARED, edited, files, find, patch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from sandbox.foreign import Foreign
    from sandbox.source import View
    from sandbox.spec import FileChange

_PROJECT = re.compile(r"[0-9a-f]{12}")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}")
_DEEPEST = 200  # Directories inside each other; the same bound holds for what a run may make.
_INCOMING = "refs/dreamdock/incoming"
_HOUR = 3600.0
_DAY = 24 * _HOUR


class Store:
    """The store below one directory. Safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def id(self) -> str:
        """This store's own id, 12 hex digits at random: it says which hosts share it. Made at first use."""
        path = self.root / "id"
        if not path.is_file():
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="incoming-", dir=self.root) as name:
                fresh = Path(name) / "id"
                fresh.write_text(secrets.token_hex(6))
                fresh.chmod(0o644)
                with suppress(FileExistsError):  # Somebody else was faster.
                    path.hardlink_to(fresh)
        return path.read_text().strip()

    def import_commit(self, source: str | Path, rev: str = "HEAD", *, dirty: bool = False) -> Base:
        """Copy a commit and its history into the store, under the caller's own rights, and say what it is.

        `dirty` takes the working tree of a local repository along, as a commit on top; the source itself isn't written.
        Raises NotARepository, RevisionNotFound, DiskFull, each with a hint.
        """
        with _disk("copying the repository into the store"):
            self.root.mkdir(parents=True, exist_ok=True)
            if is_url(source):
                project, commit = self._from_url(str(source), checked_revision(rev))
            else:
                with local_view(source, rev) as view:
                    commit = view.with_working_tree() if dirty else view.commit
                    project = self._from_disk(source, view, commit)
        git_dir = self.git_dir(project)
        tree = git("rev-parse", "--verify", f"{commit}^{{tree}}", git_dir=git_dir).out.decode().strip()
        _refuse_depth(git_dir, tree)
        return Base(project=project, commit=commit, tree=tree, name=human_name(source), source=shown(source))

    def is_dirty(self, source: str | Path, rev: str = "HEAD") -> list[str]:
        """Return the paths of a local repository that a run from `rev` leaves out; none for a URL or a bare one."""
        if is_url(source):
            return []
        with local_view(source, rev) as view:
            return view.left_out()

    def project_of(self, source: str | Path) -> str | None:
        """Return the project id of a local repository; None where there is none, or no commit yet."""
        try:
            with local_view(source, "HEAD") as view:
                return _project(view.git_dir, view.commit)
        except (NotARepository, RevisionNotFound):
            return None

    def git_dir(self, project: str) -> Path:
        """Return the project's bare repository. Raises NotARepository when there is none."""
        path = self.root / f"{project}.git"
        if not _PROJECT.fullmatch(project) or not path.is_dir():
            raise NotARepository(
                f"the store has no project {printable(project)}", hint="queue a run from the repository"
            )
        return path

    def projects(self) -> list[str]:
        """Return the ids of all projects."""
        return sorted(item.stem for item in self.root.glob("*.git") if _PROJECT.fullmatch(item.stem))

    def commits(self, project: str, wanted: Iterable[str]) -> dict[str, bytes]:
        """Return those of some commits that the store has, as git's own objects. Raises NotARepository."""
        git_dir, ids = self.git_dir(project), [oid for oid in wanted if _OBJECT_ID.fullmatch(oid)]
        if not ids:
            return {}
        # A process of its own: a reader in this one would keep the packs in its memory, and their disk busy.
        answer = git("cat-file", "--batch", git_dir=git_dir, stdin="".join(f"{oid}\n" for oid in ids).encode()).out
        found, start = {}, 0
        for oid in ids:
            end = answer.index(b"\n", start)
            told, start = answer[start:end].split(), end + 1
            if told[-1] != b"missing":
                size = int(told[2])
                if told[1] == b"commit":
                    found[oid] = answer[start : start + size]
                start += size + 1
        return found

    def keep(self, project: str, run_id: str, commit: str, blobs: Collection[str] = ()) -> None:
        """Keep a checkpoint, all that it descends from and some blobs until the run is dropped; see `packs.keep`."""
        packs.keep(self.objects(project), self.git_dir(project), run_id, commit, blobs)

    def leads_to(self, project: str, run_id: str, commits: Collection[str]) -> set[str]:
        """Return those of some commits that the store has in full: imported ones, and what the run's chain leads to.

        One that merely lies there doesn't count: what it holds might not. Raises WorkspaceError.
        """
        if project not in self.projects():
            return set()
        git_dir = self.git_dir(project)
        bases = {oid for oid in commits if _OBJECT_ID.fullmatch(oid) and packs.is_base(git_dir, oid)}
        return bases | packs.leads_to(git_dir, run_id, set(commits) - bases)

    def kept(self, project: str) -> dict[str, float]:
        """Return the ids of the runs whose checkpoints are kept, each with the time of the last one (seconds, Unix)."""
        return packs.kept(self.git_dir(project))

    def behind(self, project: str) -> list[str]:
        """Return the runs of which more is kept here than the checkpoint remote has, as far as is known here."""
        git_dir = self.git_dir(project)
        return [name for name in sorted(packs.kept(git_dir)) if packs.tip(git_dir, name) != packs.pushed(git_dir, name)]

    def to_delete(self, project: str) -> list[str]:
        """Return the runs that were dropped here, and that the checkpoint remote has from here."""
        return packs.to_delete(self.git_dir(project))

    def drop(self, project: str, run_id: str) -> None:
        """Keep a run's checkpoints no longer: the next `collect` deletes what nothing else needs."""
        packs.drop(self.git_dir(project), run_id)

    def dropped(self, project: str) -> float:
        """Return when a run was last dropped whose objects may be there yet (seconds, Unix); 0 where there is none."""
        return packs.dropped(self.git_dir(project))

    def settled(self, project: str) -> None:
        """Note that of dropped runs nothing is there any more."""
        packs.settled(self.git_dir(project))

    def collect(self, project: str, *, grace_s: float = packs.GRACE_S) -> bool:
        """Delete what no kept run needs any more; see `packs.collect`."""
        return packs.collect(self.git_dir(project), grace_s=grace_s)

    def consolidate(self, project: str, *, most: int = packs.MOST_PACKS) -> bool:
        """Put small packs together where there are many; see `packs.consolidate`."""
        return packs.consolidate(self.git_dir(project), most=most)

    def disk_bytes(self, project: str) -> int:
        """Return the bytes that a project takes on disk."""
        return disk_bytes(self.git_dir(project))

    def measure(self) -> int:
        """Return the bytes that it all takes on disk, and note them for `measured`. Raises OSError, WorkspaceError."""
        total = disk_bytes(self.root) if self.root.is_dir() else 0
        if total:
            fresh = self.root / f".bytes-{os.getpid()}"
            fresh.write_text(str(total))
            fresh.replace(self.root / "bytes")
        return total

    def measured(self) -> int:
        """Return what `measure` came to the last time: at once, where measuring takes a while; 0 where nobody did."""
        try:
            return int((self.root / "bytes").read_text())
        except (OSError, ValueError):
            return 0

    def sweep(self) -> list[str]:
        """Remove what killed imports left a day ago and return its names. Raises WorkspaceError."""
        limit = time.time() - _DAY
        left = [item for item in self.root.glob("incoming-*") if item.stat().st_mtime < limit]
        for item in left:
            remove_tree(item)
        return [item.name for item in left]

    def objects(self, project: str) -> Objects:
        """Open the project's objects; one per thread."""
        return Objects(self.git_dir(project))

    def diff(self, project: str, old_tree: str, new_tree: str, *, most: int | None = None) -> bytes:
        """Return the difference of two trees as a patch for `git apply`: binary files in full, no renames.

        Nothing where the files that differ hold more than `most` bytes; see `trees.patch`.
        """
        return patch(self.objects(project), old_tree, new_tree, most=most)[0]

    def changed(self, project: str, old_tree: str, new_tree: str) -> tuple[FileChange, ...]:
        """Return the files that differ between two trees; of very large ones the lines aren't counted."""
        return patch(self.objects(project), old_tree, new_tree, most=COMPARED)[1]

    def compose(self, project: str, base_tree: str, patches: Sequence[bytes]) -> str:
        """Return the tree that the patches lead to, applied in order. Raises WorkspaceError when one doesn't apply."""
        wanted = [item for item in patches if item]
        if not wanted:
            return base_tree
        git_dir = self.git_dir(project)
        with _disk("applying patches"), tempfile.TemporaryDirectory(prefix="dreamdock-") as name:
            room = Path(name)
            here = partial(git, git_dir=git_dir, index=room / "index")
            here("read-tree", *(["--empty"] if base_tree == EMPTY_TREE else [base_tree]))
            for start in range(0, len(wanted), 100):
                paths = []
                for number, item in enumerate(wanted[start : start + 100], start):
                    paths.append(room / f"{number}.patch")
                    paths[-1].write_bytes(item)
                here("apply", "--cached", "--whitespace=nowarn", "--", *paths)
            return here("write-tree").out.decode().strip()

    def with_paths_from(self, project: str, tree: str, other_tree: str, paths: Iterable[str]) -> str:
        """Return `tree` with those paths as `other_tree` has them; a path that it doesn't have goes.

        Paths are as `list_files` gives them; a directory's path takes everything below it.
        """
        objects = self.objects(project)
        names = [os.fsencode(path.rstrip("/")) for path in paths]
        result = edited(objects, tree, {name: find(objects, other_tree, name) for name in names})
        objects.flush()
        return result

    def read_file(self, project: str, tree: str, path: str) -> bytes | None:
        """Return a file's content (of a link: where it points to), None when the tree has no such file."""
        objects = self.objects(project)
        entry = find(objects, tree, os.fsencode(path))
        return None if entry is None or entry.mode in (0o040000, 0o160000) else objects.read(entry.oid)

    def list_files(self, project: str, tree: str) -> list[str]:
        """Return every path of a tree in order; bytes that aren't UTF-8 are kept as surrogates (see os.fsencode)."""
        return sorted(os.fsdecode(path) for path, _ in files(self.objects(project), tree))

    def foreign(self, project: str, tree: str, *, most: int = 100) -> Foreign:
        """Return what a tree names but doesn't hold: submodules, and at most `most` LFS pointers; see `foreign`."""
        return foreign.foreign(self.git_dir(project), self.objects(project), tree, most=most)

    def _from_disk(self, source: str | Path, view: View, commit: str) -> str:
        try:
            known = _project(view.git_dir, commit)
            return self._take(str(view.git_dir), commit, known=known, as_user=False)[0]
        except GitFailed as error:
            hint = "check it with: git fsck; of a partial clone name the URL instead of the path"
            raise WorkspaceError(
                f"{shown(source)} can't be read in full", cause=error.cause or error.message, hint=hint
            ) from error

    def _from_url(self, url: str, rev: str) -> tuple[str, str]:
        # Which project a URL is shows only in its history: remembered, so that the next time only news is fetched.
        note = self.root / "urls" / hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        known = note.read_text() if note.is_file() else None
        try:
            project, commit = self._take(url, rev, known=known, as_user=True)
        except GitFailed as error:
            if "couldn't find remote ref" in error.cause or "not our ref" in error.cause:
                hint = "name a branch, a tag or a full commit id that the remote has"
                raise RevisionNotFound(f"{shown(url)} has no revision {rev!r}", cause=error.cause, hint=hint) from error
            hint = "check the URL and your access with: git ls-remote URL"
            raise NotARepository(f"{shown(url)} can't be fetched", cause=error.cause, hint=hint) from error
        note.parent.mkdir(exist_ok=True)
        note.write_text(project)
        return project, commit

    def _take(self, source: str, rev: str, *, known: str | None, as_user: bool) -> tuple[str, str]:
        """Fetch into a repository of its own, which borrows from `known`, and move the result over when it's whole."""
        lender = self.root / f"{known}.git" if known and _PROJECT.fullmatch(known) else None
        with incoming(self.root, lender) as room:
            fetch(room, source, rev, _INCOMING, as_user=as_user)
            found = git("rev-parse", "--verify", "--quiet", f"{_INCOMING}^{{commit}}", git_dir=room, check=False)
            if found.code != 0:
                raise RevisionNotFound(f"{printable(rev)!r} is no commit", hint="name a branch, a tag or a commit")
            commit = found.out.decode().strip()
            project = _project(room, commit)
            if lender is None or not lender.is_dir() or project == known:
                place = self.made(project)
                with packs.importing(place):
                    move(room, place)
                    keep_base(place, commit)
                return project, commit
        # The remote's history was replaced by another: what was borrowed isn't there.
        return self._take(source, rev, known=None, as_user=as_user)

    def made(self, project: str) -> Path:
        """Return the project's repository; made beside its place and moved there, so that nobody sees half of one."""
        path = self.root / f"{project}.git"
        if not path.is_dir():
            with tempfile.TemporaryDirectory(prefix="incoming-", dir=self.root) as name:
                fresh = Path(name) / "r.git"
                make(fresh)
                try:
                    fresh.rename(path)
                except OSError:
                    if not path.is_dir():  # Else somebody else was faster.
                        raise
        return path


def _project(git_dir: Path, commit: str) -> str:
    roots = git("rev-list", "--max-parents=0", commit, "--", git_dir=git_dir, timeout_s=_HOUR).out.split()
    return min(roots)[:12].decode()


def _refuse_depth(git_dir: Path, tree: str) -> None:
    folders = git("ls-tree", "-r", "-d", "-z", "--name-only", tree, git_dir=git_dir).out
    if max((name.count(b"/") for name in folders.split(b"\0")), default=0) >= _DEEPEST:
        raise WorkspaceError(f"the repository nests directories more than {_DEEPEST} deep")


@contextmanager
def _disk(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, what) from error
