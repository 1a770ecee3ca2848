"""The sandbox that is attacked: made the way a run's is, with small limits."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.attack.check import LIMITS
from sandbox.git import git
from sandbox.open import open_sandbox
from sandbox.spec import SandboxSpec
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.open import Sandbox
    from sandbox.spec import Limits


@contextlib.contextmanager
def opened(image: str, root: Path, *, limits: Limits = LIMITS) -> Iterator[Sandbox]:
    """Open a sandbox, by default with the limits of an attack, on a repository without a file."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="attack-", dir=root) as name:
        folder = Path(name)
        git("init", "--quiet", "--template=", "--bare", "--", folder / "source")
        tree = git("mktree", git_dir=folder / "source").out.decode().strip()
        who = "DreamDock <dreamdock@localhost> 0 +0000"
        text = f"tree {tree}\nauthor {who}\ncommitter {who}\n\nNothing\n".encode()
        made = git("hash-object", "-t", "commit", "-w", "--stdin", git_dir=folder / "source", stdin=text)
        git("update-ref", "HEAD", made.out.decode().strip(), git_dir=folder / "source")
        store = Store(folder / "repos")
        base = store.import_commit(folder / "source")
        spec = SandboxSpec(image=image, limits=limits)
        with open_sandbox(spec, store, base, folder / "workspaces") as box:
            yield box
