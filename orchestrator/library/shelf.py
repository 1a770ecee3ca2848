"""The library on disk: a git repository whose files are pages, for programs and for people with an editor.

What counts is the last commit: entries are read from there, never from the files, so that neither a link nor half a
file is taken for a page. What people changed in the files becomes a commit of theirs before anything else is written.
`refs/dreamdock/seen` is the commit that the files were last brought to. With it, whatever interrupts a write leaves no
doubt: what differs from there is a person's change, or what the write had meant to put there anyway.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from orchestrator.errors import DreamdockError
from orchestrator.library.entry import DATA, IN_VIEW, Status
from orchestrator.library.lock import alone
from orchestrator.library.merging import Side, merged
from orchestrator.library.page import PageError, parse, render
from orchestrator.library.place import is_page, is_text, known, path_of
from orchestrator.redaction import typed
from sandbox.errors import SandboxError
from sandbox.git import GitFailed, git
from sandbox.objects import EMPTY_TREE, EXECUTABLE, FILE, Objects
from sandbox.objects import Entry as Node
from sandbox.trees import changes, edited, files, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from orchestrator.library.entry import Entry

BRANCH: Final = "refs/heads/main"
SEEN: Final = "refs/dreamdock/seen"
US: Final = "DreamDock <dreamdock@localhost>"
_NONE: Final = "0" * 40
_NO_FILE: Final = b"\0no file"
"""What stands for a link and the like; no page has a NUL."""
_PLAIN: Final = frozenset({f"{FILE:o}", f"{EXECUTABLE:o}"})
WAIT_S: Final = 60.0
_ORPHANS_S: Final = 2.0
_MOST_PACKS: Final = 50
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_WHEN: Final = re.compile(r"^committer .*> (\d{1,10}) [+-]\d{4}$", re.MULTILINE)
_UNDER_WAY: Final = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "BISECT_LOG")
# Bytes are pages' bytes: whatever attributes a page's neighbours or a remote bring, nothing is converted or filtered.
_ATTRIBUTES: Final = "* -text -filter -ident !eol !working-tree-encoding\n"


class LibraryError(DreamdockError):
    """The library can't be read or written; it stays as it was."""


class Shelf:
    """A library below one directory, made at the first write. Safe for several processes at once."""

    def __init__(
        self,
        root: Path,
        *,
        person: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait_s: float = WAIT_S,
    ) -> None:
        """Take where it lies; `person` is whose name changes of the files go by, by default what git knows.

        Another process that writes is waited for `wait_s` seconds.
        """
        self.root = root
        self.git_dir = root / ".git"
        self._person = person
        self._now = now
        self._wait_s = wait_s
        self._files = EMPTY_TREE  # What the files are known to be, while this holds the library.

    # --- reading: from the last commit, without a lock

    def head(self) -> str:
        """Return the commit that the library is at; empty for a library that isn't there, or has none yet."""
        return self._ref(BRANCH)

    def pages(self, head: str) -> dict[str, str]:
        """Return the paths of a commit's pages, each with the id of what it holds; links and the like are none."""
        if not head:
            return {}
        with _told(self.root, "read"):
            objects = self._objects()
            found = ((os.fsdecode(path), node) for path, node in files(objects, _tree(objects, head)))
            return {path: f"{node.mode:o} {node.oid}" for path, node in found if is_page(path)}

    def blobs(self, pages: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
        """Yield what each of these pages holds; nothing for what is no plain file."""
        if pages:
            with _told(self.root, "read"):
                objects = self._objects()
                for path, what in pages.items():
                    mode, oid = what.split()
                    yield path, objects.read(oid) if mode in _PLAIN else _NO_FILE

    def read(self, pages: Mapping[str, str]) -> Iterator[Entry | PageError]:
        """Yield the entry of each of these pages, or why it's none."""
        for path, page in self.blobs(pages):
            yield entry_of(path, page)

    def entries(self, head: str = "") -> list[Entry]:
        """Return all entries at the head, or at a former one, without the pages that are set aside."""
        return [read for read in self.read(self.pages(head or self.head())) if not isinstance(read, PageError)]

    def problems(self) -> list[PageError]:
        """Return why pages are set aside. Each stays where it is until a person mends it."""
        return [read for read in self.read(self.pages(self.head())) if isinstance(read, PageError)]

    def file(self, path: str, head: str = "") -> bytes | None:
        """Return what a file holds, at the head or at a former one; None where there is no plain one."""
        head = head or self.head()
        if not head:
            return None
        with _told(self.root, "read"):
            objects = self._objects()
            node = find(objects, _tree(objects, head), os.fsencode(path))
            return objects.read(node.oid) if node is not None and f"{node.mode:o}" in _PLAIN else None

    def beside(self, folder: str, head: str = "") -> list[str]:
        """Return the paths of the files below a folder at the head, or at a former one, in their order."""
        head = head or self.head()
        if not head:
            return []
        with _told(self.root, "read"):
            objects = self._objects()
            node = find(objects, _tree(objects, head), os.fsencode(folder))
            if node is None or not node.is_tree:
                return []
            return sorted(f"{folder}/{os.fsdecode(path)}" for path, _ in files(objects, node.oid))

    # --- writing: one process at a time

    def put(
        self,
        *entries: Entry,
        message: str,
        since: str = "",
        files: Mapping[str, bytes | None] | None = None,
        who: str = US,
        vouched: bool = False,
    ) -> str:
        """Write entries as one commit, all of them or none, and return it. What looks like a secret is left out.

        An entry takes the place of the one with its id. `since` is the head that they were read at: what somebody else
        has changed of them since is merged, and nothing of it lost. `files` are what lies there beside, as it is, and
        None removes, a page as well: git keeps what it was. `who` is the author, `NAME <ADDRESS>`; `vouched` says that
        a person writes, whose word on the status of a new text that is data counts. Raises LibraryError,
        UnavailableError.
        """
        with self.writing() as objects:
            pages: dict[bytes, Node | None] = {}
            head = self.head()
            base = _tree(objects, since or head)
            for entry in entries:
                path = path_of(entry)
                text = render(self._stamped(entry.scrubbed(), objects, base, vouched=vouched))
                parse(text, path, known(path))  # It can be read back.
                pages[os.fsencode(path)] = Node(FILE, objects.put(b"blob", text.encode()))
            for path, data in (files or {}).items():
                pages[os.fsencode(path)] = None if data is None else Node(FILE, objects.put(b"blob", data))
            tree = edited(objects, base, pages)
            if since:
                tree = merged(objects, base, self.side(objects, head), Side(tree, self._now()))
            return self.move(objects, tree, message, who=who) if tree != _tree(objects, head) else head

    def adopt(self) -> str:
        """Make what people changed in the files a commit of theirs; return the head. Raises as `put` does."""
        if not self.git_dir.is_dir():
            return ""
        with self.writing():
            return self.head()

    @contextmanager
    def writing(self) -> Iterator[Objects]:
        """Hold the library while the block runs, with all that people changed in its files committed."""
        with _told(self.root, "written"):
            self._make()
            with alone(self.git_dir / "dreamdock.lock", wait_s=self._wait_s):
                self._refuse_under_way()
                self._let_orphans_end()
                objects = self._objects()
                self._adopt(objects)
                yield objects
                self._tidy_up()

    def move(self, objects: Objects, tree: str, message: str, *parents: str, who: str = US) -> str:
        """Commit a tree on the head, with further parents, and bring the files to it; only inside of `writing`."""
        head = self.head()
        commit = self._commit(objects, tree, message, *filter(None, (head, *parents)), who=who)
        self.advance(objects, commit)
        return commit

    def advance(self, objects: Objects, commit: str) -> None:
        """Bring the library to a commit that descends from its head; only inside of `writing`."""
        self._advance(objects, commit)
        self._check_out(objects, self._files, commit)
        self._files = _tree(objects, commit)

    def _advance(self, objects: Objects, commit: str) -> None:
        objects.flush()
        git("update-ref", BRANCH, commit, self.head() or _NONE, git_dir=self.git_dir)

    def side(self, objects: Objects, commit: str) -> Side:
        """Return what a commit has, and when it was made, as one side of a merge."""
        if not commit:
            return Side(EMPTY_TREE, self._now())
        when = _WHEN.search(objects.read(commit).decode(errors="replace"))
        return Side(_tree(objects, commit), datetime.fromtimestamp(int(when[1]) if when else 0, UTC))

    # --- what people do in the files

    def _adopt(self, objects: Objects) -> None:
        """Commit what people changed since the files were last brought to a commit, and bring them to the head."""
        head = self.head()
        seen = self._ref(SEEN) or head
        before, files_ = _tree(objects, seen), self._files_tree()
        there = self._redacted(objects, before, files_)
        tree = merged(objects, before, self.side(objects, head), Side(there, self._now()), apart=False)
        if tree != _tree(objects, head):
            head = self._commit(objects, there, "Edit by hand", *filter(None, (seen,)), who=self.whose())
            if seen != self.head():
                head = self._commit(objects, tree, "Merge an edit by hand", self.head(), head, who=US)
            self._advance(objects, head)
        if files_ != tree or self._ref(SEEN) != head:
            self._check_out(objects, files_, head)
        self._files = tree

    def _files_tree(self) -> str:
        """Return the tree of the files as they are. Nothing of them is run, and git's own bookkeeping isn't touched."""
        (self.git_dir / "info").mkdir(exist_ok=True)
        (self.git_dir / "info/attributes").write_text(_ATTRIBUTES)
        for last in (False, True):
            try:
                self._git("add", "--all", "--", ".")
                return self._git("write-tree")
            except GitFailed:
                if last:
                    raise
                self._index.unlink(missing_ok=True)  # It may be broken; it's made again from the files.
        raise AssertionError  # The loop returns or raises.

    def _redacted(self, objects: Objects, before: str, there: str) -> str:
        """Return the tree of the files without the credentials that somebody wrote into a page."""
        edits: dict[bytes, Node | None] = {}
        for change in changes(objects, before, there):
            if change.new is not None and f"{change.new.mode:o}" in _PLAIN and is_text(os.fsdecode(change.path)):
                text = objects.read(change.new.oid).decode(errors="surrogateescape")
                clean = typed(text)
                if clean.left_out:
                    page = clean.text.encode(errors="surrogateescape")
                    edits[change.path] = Node(FILE, objects.put(b"blob", page))
        return edited(objects, there, edits) if edits else there

    def _check_out(self, objects: Objects, files_: str, commit: str) -> None:
        """Bring the files to a commit from the tree that they were found as.

        Git leaves alone what isn't in either, and does nothing where it would write over a file that somebody changed
        meanwhile: the next write takes that for what it is, since the commit that was seen stays the former one.
        """
        try:
            self._git("read-tree", "-m", "-u", files_, _tree(objects, commit))
        except GitFailed:
            return
        self._share_index()  # Before it's noted as seen: where a kill comes in between, all of it is done again.
        git("update-ref", SEEN, commit, git_dir=self.git_dir)

    def _share_index(self) -> None:
        """Have git's own bookkeeping agree with the files, unless a person's git is at work on it."""
        lock = self.git_dir / "index.lock"
        with suppress(FileExistsError):
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            shutil.copyfile(self._index, lock)
            lock.replace(self.git_dir / "index")

    # --- git

    @property
    def _index(self) -> Path:
        return self.git_dir / "dreamdock.index"

    def _git(self, *args: str) -> str:
        told = git(*args, git_dir=self.git_dir, work_tree=self.root, index=self._index, cwd=self.root)
        return told.out.decode().strip()

    def _ref(self, name: str) -> str:
        if not self.git_dir.is_dir():
            return ""
        with suppress(OSError):  # Without a process for what is asked before each search.
            if _COMMIT.fullmatch(there := (self.git_dir / name).read_text(errors="replace").strip()):
                return there
        found = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", git_dir=self.git_dir, check=False)
        return found.out.decode().strip()

    def _objects(self) -> Objects:
        return Objects(self.git_dir)

    def _make(self) -> None:
        """Make the repository where there is none."""
        if self.git_dir.is_dir() and (self.git_dir / "HEAD").is_file():
            return
        if self.git_dir.exists() and not self.git_dir.is_dir():
            raise LibraryError(f"{self.root} is no library", cause=".git isn't a directory", hint="name another place")
        self.root.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet", "--template=", "--initial-branch=main", "--", self.root)

    def _let_orphans_end(self) -> None:
        """Wait for a git that a killed process left at work here; what is locked longer was its, and it has died, too.

        A ref is locked for the moment in which it's moved, by a person's git as well.
        """
        left = [self.git_dir / f"{name}.lock" for name in (self._index.name, "HEAD", BRANCH, SEEN)]
        deadline = time.monotonic() + _ORPHANS_S
        while any(lock.exists() for lock in left) and time.monotonic() < deadline:
            time.sleep(_ORPHANS_S / 100)
        for lock in left:
            lock.unlink(missing_ok=True)

    def _refuse_under_way(self) -> None:
        """Refuse to write while a person's git is in the middle of something."""
        for name in _UNDER_WAY:
            if (self.git_dir / name).exists():
                raise LibraryError(
                    f"somebody is in the middle of a merge in {self.root}",
                    cause=f"there is .git/{name}",
                    hint=f"end it there, with git commit or git merge --abort: git -C {self.root} status",
                )
        branch = git("symbolic-ref", "--quiet", "HEAD", git_dir=self.git_dir, check=False).out.decode().strip()
        if branch != BRANCH:
            raise LibraryError(
                f"the library in {self.root} isn't at its branch main",
                cause=f"it's at {branch or 'a commit without a branch'}",
                hint=f"git -C {self.root} switch main",
            )

    def _commit(self, objects: Objects, tree: str, message: str, *parents: str, who: str) -> str:
        when = f"{int(self._now().timestamp())} +0000"
        lines = [f"tree {tree}", *(f"parent {one}" for one in dict.fromkeys(parents))]
        lines += [f"author {who} {when}", f"committer {US} {when}", "", message.strip() or "Write", ""]
        return objects.put(b"commit", "\n".join(lines).replace("\0", " ").encode(errors="replace"))

    def whose(self) -> str:
        """Return in whose name this process's person writes, `NAME <ADDRESS>`: as git knows them."""
        if not self._person:
            asked = (
                git("config", "--get", key, git_dir=self.git_dir, as_user=True, check=False)
                for key in ("user.name", "user.email")
            )
            name, mail = (answer.out.decode(errors="replace").strip() for answer in asked)
            self._person = f"{name or _account()} <{mail or f'{_account()}@{socket.gethostname()}'}>"
        plain = "".join(sign for sign in self._person if sign.isprintable())
        return plain if plain.endswith(">") else f"{plain} <unknown>"

    def _stamped(self, entry: Entry, objects: Objects, base: str, *, vouched: bool) -> Entry:
        """Return an entry with when it was made and when its text was last changed; new text that is data is locked up.

        Somebody lets it out by a write that changes its status, and not its text; or a person vouches for the text.
        """
        old = _page_at(objects, base, path_of(entry))
        if old is not None and (old.title, old.text, old.kind) == (entry.title, entry.text, entry.kind):
            return entry.changed(created=entry.created or old.created, updated=old.updated)
        created = entry.created or (old.created if old else self._now())
        updated = entry.updated if old is None and entry.updated else self._now()
        locked = not vouched and entry.origin in DATA and entry.status in IN_VIEW
        status = Status.QUARANTINED if locked else entry.status
        return entry.changed(created=created, updated=updated, status=status)

    def _tidy_up(self) -> None:
        """Put packs together where there are many: each write makes one."""
        if sum(1 for _ in (self.git_dir / "objects/pack").glob("*.pack")) > _MOST_PACKS:
            git("repack", "-d", "--geometric=2", "--quiet", git_dir=self.git_dir, check=False)


def entry_of(path: str, page: bytes) -> Entry | PageError:
    """Return the entry of a page at a path, or why it's none."""
    if page is _NO_FILE:
        return PageError(path, 1, "it's no plain file")
    try:
        return parse(page, path, known(path))
    except PageError as error:
        return error


def _page_at(objects: Objects, tree: str, path: str) -> Entry | None:
    """Return the entry of a page in a tree; None where there is none, or it's no entry."""
    node = find(objects, tree, os.fsencode(path))
    read = None if node is None or f"{node.mode:o}" not in _PLAIN else entry_of(path, objects.read(node.oid))
    return None if isinstance(read, PageError) else read


def _tree(objects: Objects, commit: str) -> str:
    """Return a commit's tree; the empty one for no commit."""
    return objects.read(commit)[5:45].decode() if commit else EMPTY_TREE


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid{os.getuid()}"


@contextmanager
def _told(root: Path, what: str) -> Iterator[None]:
    """Say what a failure below means for the library."""
    try:
        yield
    except SandboxError as error:
        raise LibraryError(
            f"the library in {root} can't be {what}",
            cause=f"{error.message}: {error.cause}".rstrip(": "),
            hint=error.hint or f"git -C {root} fsck",
        ) from error
    except OSError as error:
        raise LibraryError(f"the library in {root} can't be {what}", cause=str(error)) from error
