"""Commits as checkpoints make them, and git's own word on the repository that holds them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from sandbox.objects import FILE, TREE, Entry, Objects

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.spec import Base
    from sandbox.store import Store

RUN, OTHER = "0123456789ab", "ba9876543210"


class Steps:
    """Makes commits as checkpoints do: one pack each, under no ref."""

    def __init__(self, store: Store, base: Base) -> None:
        self.git_dir = store.git_dir(base.project)
        self.objects = store.objects(base.project)
        self.parent = base.commit
        self.made: list[str] = []

    def take(self, content: bytes, *, parent: str | None = None) -> str:
        blob = self.objects.put(b"blob", content)
        src = self.objects.put_tree([(b"%d" % number, Entry(FILE, blob)) for number in range(20)])
        tree = self.objects.put_tree([(b"src", Entry(TREE, src))])
        who = "u <u> 0 +0000"
        text = f"tree {tree}\nparent {parent or self.parent}\nauthor {who}\ncommitter {who}\n\n{len(self.made)}\n"
        self.parent = self.objects.put(b"commit", text.encode())
        self.objects.flush()
        self.made.append(self.parent)
        return self.parent


def pack_names(git_dir: Path) -> set[str]:
    return {item.name for item in (git_dir / "objects/pack").glob("*.pack")}


def read_whole(objects: Objects, commit: str) -> bytes:
    tree = objects.read(commit)[5:45].decode()
    return objects.read(objects.tree(objects.tree(tree)[b"src"].oid)[b"7"].oid)


def is_there(git_dir: Path, oid: str) -> bool:
    return subprocess.run(["git", "--git-dir", git_dir, "cat-file", "-e", oid], check=False).returncode == 0


def check(git_dir: Path) -> None:
    done = subprocess.run(["git", "--git-dir", git_dir, "fsck", "--full", "--strict"], check=False, capture_output=True)
    said = done.stdout + done.stderr
    assert (done.returncode, b"missing" in said, b"broken" in said) == (0, False, False), said.decode()
