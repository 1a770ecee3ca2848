"""Pristine checkouts: one per (project, commit, job's uid), made once, then only ever the lower layer of overlays.

A checkout holds each file byte for byte as the commit has it: no filter runs, no line ending is converted.
Its `.git` is small and disposable: the base commit without its history, no remotes, no hooks, none of the source's
configuration.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sandbox.cache import hold
from sandbox.errors import DiskFull, WorkspaceError
from sandbox.git import GitFailed, git
from sandbox.objects import EMPTY_TREE, EXECUTABLE, FILE, Objects, disk_error
from sandbox.trees import files

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.cache import Held
    from sandbox.spec import Base
    from sandbox.store import Store

RESERVED = (b".git", b".dreamdock")  # At the workspace's top: never part of a checkpoint.
_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tcheckStat = minimal
\ttrustctime = false
\tprotectHFS = false
\tprotectNTFS = false
[user]
\tname = dreamdock
\temail = dreamdock@localhost
[gc]
\tauto = 0
[init]
\tdefaultBranch = main
"""
_RAW = "* -text !eol -ident -filter -working-tree-encoding\n"
_AGENT = "dreamdock <dreamdock@localhost> 946684800 +0000"  # A fixed date: the same tree gives the same commit.


@dataclass(frozen=True)
class Pristine:
    """A cached checkout: `tree` is the lower layer, `rules` a skeleton that holds the base's ignore files alone.

    It isn't evicted before `held` is released.
    """

    name: str
    tree: Path
    rules: Path
    held: Held


def pristine(store: Store, base: Base, root: Path, uid: int) -> Pristine:
    """Return the checkout of a commit below `root`, made if it isn't there, and held until it's released.

    Several workers may ask at once: one makes it, the others wait. What a killed worker left half made is removed.
    Raises WorkspaceError, DiskFull.
    """
    name = hashlib.sha256(f"{base.project} {base.commit} {uid}".encode()).hexdigest()[:16]  # Tells a run nothing.
    try:
        held = hold(root, name, partial(_make, store, base, uid))
    except OSError as error:
        raise disk_error(error, "checking out the repository") from error
    except GitFailed as error:
        if "unable to write" not in error.cause:
            raise
        # Into a fresh directory, as root: git doesn't say it, but that is a full disk.
        hint = "free some space, then try again"
        raise DiskFull("the disk is full: checking out the repository", cause=error.cause, hint=hint) from error
    return Pristine(name, held.path / "tree", held.path / "rules", held)


def _make(store: Store, base: Base, uid: int, part: Path) -> None:
    _check_out(store.git_dir(base.project), store.objects(base.project), base.tree, part / "tree")
    _copy_rules(store.objects(base.project), base.tree, part / "rules")
    _give(part / "tree", uid)


def _give(tree: Path, uid: int) -> None:
    done = subprocess.run(["chown", "-hR", "--", f"{uid}:{uid}", tree], capture_output=True, check=False)
    if done.returncode != 0:
        cause = done.stderr.decode(errors="replace").strip()[:300]
        raise WorkspaceError(
            "the checkout can't be given to the job's account", cause=cause, hint="run the worker as root"
        )


def _check_out(git_dir: Path, objects: Objects, tree: str, target: Path) -> None:
    git("init", "--quiet", "--template=", "--initial-branch=main", "--", target)
    target.chmod(0o755)
    inner = target / ".git"
    (inner / "config").write_text(_CONFIG)
    (inner / "info").mkdir()
    (inner / "info" / "attributes").write_text(_RAW)
    (inner / "info" / "exclude").write_text("/.dreamdock/\n")
    message = f"tree {tree}\nauthor {_AGENT}\ncommitter {_AGENT}\n\nBase of this run\n"
    commit = objects.put(b"commit", message.encode())
    if tree == EMPTY_TREE:
        objects.put(b"tree", b"")
    objects.flush()
    inside = partial(git, git_dir=inner, work_tree=target, cwd=target)
    # Written by the new repository out of the store's objects: the two may lie on different disks.
    lent = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(git_dir.absolute() / "objects")}
    pack = ("pack-objects", "--quiet", "--revs", inner / "objects" / "pack" / "pack")
    inside(*pack, env=lent, stdin=f"{commit}\n".encode(), timeout_s=3600)
    inside("update-ref", "refs/heads/main", commit)
    inside("read-tree", "--reset", "-u", commit, timeout_s=3600)


def _copy_rules(objects: Objects, tree: str, target: Path) -> None:
    target.mkdir()
    for path, entry in files(objects, tree):
        if entry.mode in (FILE, EXECUTABLE) and path.rpartition(b"/")[2] == b".gitignore":
            copy = target / os.fsdecode(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(objects.read(entry.oid))
