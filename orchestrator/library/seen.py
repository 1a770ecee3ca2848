"""Paths that an entry is about, as its repository names them, with the commit at which they are there."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.errors import NotFoundError
from orchestrator.library.entry import SeenPath
from sandbox.git import git
from sandbox.source import local_view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def seen(repo: Path | None, paths: Sequence[str]) -> tuple[SeenPath, ...]:
    """Return paths as the repository has them, with the commit at which they are there."""
    if repo is None:
        return tuple(SeenPath(path=path) for path in paths)
    with local_view(repo, "HEAD") as view:
        named = [_within(view.work_tree, repo, path) for path in paths]
        for path in named:
            if git("cat-file", "-e", f"{view.commit}:{path}", git_dir=view.git_dir, check=False).code:
                raise NotFoundError(f"the repository's last commit has no {path}", hint="git ls-files; or commit it")
        return tuple(SeenPath(path=path, commit=view.commit) for path in named)


def _within(work_tree: Path | None, folder: Path, path: str) -> str:
    """Return a path as the repository names it: one of `folder`'s if there is such a file, else as it's typed."""
    there = (folder / path).resolve()
    if work_tree is not None and there.exists() and there.is_relative_to(work_tree.resolve()):
        return there.relative_to(work_tree.resolve()).as_posix()
    return PurePosixPath(path).as_posix()
