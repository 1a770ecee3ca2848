"""Where a run's code comes from: a repository of the user's, on this machine or behind a URL.

A local repository is read through a *view*: a small git directory of our own that borrows the source's objects and
has a copy of its index.
So the source's configuration, hooks and filters never take part, and nothing in it is written.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from sandbox.errors import NotARepository, RevisionNotFound, WorkspaceError
from sandbox.git import GitFailed, checked_revision, git, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_URL = re.compile(r"[a-z][a-z0-9+.-]*://|[^/@:]+@[^/:]+:|ext::", re.IGNORECASE)
_HINT = "name a git repository: a path or a URL"


def is_url(source: str | Path) -> bool:
    """Whether a source is fetched over a network rather than read from this machine's disk."""
    return isinstance(source, str) and not source.startswith("file://") and _URL.match(source) is not None


def _path(source: str | Path) -> Path:
    if isinstance(source, str) and source.startswith("file://"):
        return Path(unquote(urlsplit(source).path))
    return Path(source).absolute()


def shown(source: str | Path) -> str:
    """Return the source as it may be stored and shown: without a password in it, absolute if a path."""
    if not is_url(source):
        return printable(str(_path(source)))
    parts = urlsplit(str(source))
    return printable(
        urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme else str(source)
    )


def human_name(source: str | Path) -> str:
    """Return what people call the repository: the last part of its path."""
    path = str(source) if is_url(source) else str(_path(source))
    return printable(re.split(r"[/:]", path.rstrip("/"))[-1].removesuffix(".git")) or "repository"


@dataclass(frozen=True)
class View:
    """A local repository at one commit, readable without its configuration. `work_tree` is None for a bare one."""

    git_dir: Path
    work_tree: Path | None
    commit: str

    def left_out(self) -> list[str]:
        """Return the paths that differ from the commit in the working tree, untracked ones included, in order."""
        if self.work_tree is None:
            return []
        args = ("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=all")
        found = git(*args, git_dir=self.git_dir, work_tree=self.work_tree, cwd=self.work_tree, as_user=True)
        return sorted(printable(item[3:]) for item in found.out.split(b"\0") if item)

    def with_working_tree(self) -> str:
        """Return a commit of the working tree on top of the commit; the commit itself when nothing differs.

        The user's own configuration is read here (not the repository's): it tells what they ignore and how large
        files are kept.
        """
        if self.work_tree is None or not self.left_out():
            return self.commit
        here = partial(git, git_dir=self.git_dir, work_tree=self.work_tree, cwd=self.work_tree)
        here("add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=self._pathspecs(), as_user=True)
        tree = here("write-tree").out.decode().strip()
        # The same content gives the same commit, and with it the same cached checkout.
        date = here("log", "-1", "--format=%ct", self.commit, "--").out.decode().strip()
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _identity(date)}
        message = b"Working tree, as it was when the run was queued\n"
        made = here("commit-tree", tree, "-p", self.commit, stdin=message, env=who)
        return made.out.decode().strip()

    def _pathspecs(self) -> bytes:
        """Everything but the submodules: to look into one, git would read the configuration that lies in it."""
        listed = git(
            "ls-files", "--stage", "-z", git_dir=self.git_dir, work_tree=self.work_tree, cwd=self.work_tree
        ).out
        submodules = [line.partition(b"\t")[2] for line in listed.split(b"\0") if line.startswith(b"160000 ")]
        return b"\0".join([b".", *(b":(top,exclude,literal)" + path for path in submodules)])


def _identity(date: str) -> tuple[tuple[str, str], ...]:
    return ("NAME", "DreamDock"), ("EMAIL", "dreamdock@localhost"), ("DATE", f"@{date} +0000")


@contextmanager
def local_view(source: str | Path, rev: str) -> Iterator[View]:
    """Open a local repository at a revision. Raises NotARepository and RevisionNotFound."""
    checked_revision(rev)
    path = _path(source)
    if not str(path).isprintable():  # Such a path can't be written into git's own files.
        raise NotARepository(f"{shown(source)} has unprintable characters in its path", hint="rename the directory")
    with tempfile.TemporaryDirectory(prefix="dreamdock-") as name:
        room = Path(name)
        # The source may belong to another account; git takes this permission from a file only.
        (room / "config").write_text("[safe]\n\tdirectory = *\n")
        env = {"GIT_CONFIG_GLOBAL": str(room / "config")}
        git_dir = _answer(path, env, "--absolute-git-dir")
        common = Path(_answer(path, env, "--path-format=absolute", "--git-common-dir"))
        if _answer(path, env, "--show-object-format") != "sha1":
            raise WorkspaceError(
                f"{shown(source)} uses SHA-256 object names", hint="DreamDock reads SHA-1 repositories"
            )
        bare = (
            _answer(path, env, "--is-bare-repository") == "true" or _answer(path, env, "--is-inside-git-dir") == "true"
        )
        work_tree = None if bare else Path(_answer(path, env, "--show-toplevel"))
        commit = _resolve(path, env, rev)
        view = room / "view"
        _make_view(view, Path(git_dir), common, commit)
        yield View(view, work_tree, commit)


def _make_view(view: Path, git_dir: Path, common: Path, commit: str) -> None:
    (view / "objects" / "info").mkdir(parents=True)
    (view / "refs").mkdir()
    (view / "info").mkdir()
    (view / "HEAD").write_text(f"{commit}\n")
    (view / "config").write_text("[core]\n\trepositoryformatversion = 0\n")
    (view / "objects" / "info" / "alternates").write_text(f"{common / 'objects'}\n")
    for source, copy in (
        (git_dir / "index", view / "index"),
        (common / "shallow", view / "shallow"),
        (common / "info" / "exclude", view / "info" / "exclude"),
    ):
        if source.is_file():
            shutil.copyfile(source, copy)
    for shared in git_dir.glob("sharedindex.*"):
        shutil.copyfile(shared, view / shared.name)


def _answer(source: Path, env: dict[str, str], *question: str) -> str:
    try:
        return git("-C", source, "rev-parse", *question, env=env).out.decode(errors="surrogateescape").rstrip("\n")
    except GitFailed as error:
        raise NotARepository(f"{shown(source)} is no git repository", cause=error.cause, hint=_HINT) from error


def _resolve(source: Path, env: dict[str, str], rev: str) -> str:
    found = git(
        "-C", source, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}", env=env, check=False
    )
    if found.code == 0:
        return found.out.decode().strip()
    if git("-C", source, "rev-list", "-n1", "--all", env=env, check=False).out.strip():
        raise RevisionNotFound(
            f"{shown(source)} has no revision {printable(rev)!r}", hint="name a branch, a tag or a commit"
        )
    # With its working tree neither: a project is known by its first commit, and a run's result is a change to one.
    hint = "make a first one, of everything or of nothing: git add -A && git commit --allow-empty -m start"
    raise RevisionNotFound(f"{shown(source)} has no commit yet", hint=hint)
