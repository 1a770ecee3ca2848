"""The demo's projects: a real bug of a real package, and a small project of our own where that can't be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.demo.source import fetch, unpack
from orchestrator.errors import UnavailableError
from orchestrator.requests import RunRequest

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

REAL: Final = "boltons"
STAND_IN: Final = "ledger"
MEMORY: Final = "till"
"""A project of which something has to be found out, which a second run is then told."""


class Prepared(NamedTuple):
    """A repository with a bug, and the run that mends it.

    `script` is the path of the scripted model's replies, `rewind` the step that a scripted run is taken back to, `then`
    the task of a second run.
    """

    request: RunRequest
    script: Path
    name: str
    about: str
    rewind: int
    then: str = ""


def prepare(state_dir: Path) -> Prepared:
    """Make the demo's repository: of the real project, or, where the package index can't be reached, of our own."""
    try:
        return make(bundled(REAL), state_dir / "demo")
    except UnavailableError:
        return make(bundled(STAND_IN), state_dir / "demo")


def bundled(name: str) -> Traversable:
    """Return the folder of one of the demo's projects."""
    return resources.files(__package__) / name


def make(source: Traversable, folder: Path) -> Prepared:
    """Make a project's repository afresh under `folder`. Raises UnavailableError where it can't be fetched.

    `source` holds project.toml (what it is, and the release to fetch, if any), script.jsonl and our own files.
    """
    name = source.name
    about = tomllib.loads((source / "project.toml").read_text(encoding="utf-8"))
    repo = folder / name
    archive = None
    if "file" in about:
        archive = fetch(about["project"], about["file"], about["sha256"], folder)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(repo, ignore_errors=True)
    if archive:
        unpack(archive, repo)
    _copy(source, repo)
    _git(repo, "init", "--quiet")
    _git(repo, "add", "--all", "--force")
    _git(repo, "commit", "--quiet", "--no-gpg-sign", "--message", f"{about['name']}, with a test that shows its bug")
    script = folder / f"{name}.jsonl"
    script.write_text((source / "script.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    request = RunRequest(task=about["task"], repo=str(repo), accept=about["accept"])
    return Prepared(request, script, about["name"], about["about"], about.get("rewind", 0), about.get("then", ""))


def _copy(source: Traversable, repo: Path) -> None:
    """Copy our own files: code is kept as `.txt`, so that nobody takes it for this project's."""
    for item in source.iterdir():
        if item.is_dir():
            _copy(item, repo / item.name)
        elif item.name.endswith((".txt", ".md")):
            repo.mkdir(parents=True, exist_ok=True)
            (repo / item.name.removesuffix(".txt")).write_text(item.read_text(encoding="utf-8"), encoding="utf-8")


def _git(repo: Path, *arguments: str) -> None:
    """Run git in the demo's own repository, with an identity of its own and none of the user's hooks."""
    moment = "2026-01-01T00:00:00Z"  # The same content is the same commit each time.
    own = (
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "user.name=dreamdock demo",
        "-c",
        "user.email=demo@dreamdock.invalid",
    )
    done = subprocess.run(
        ["git", "-C", str(repo), *own, *arguments],
        env={**os.environ, "GIT_AUTHOR_DATE": moment, "GIT_COMMITTER_DATE": moment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UnavailableError("git failed", cause=done.stderr.strip(), hint="git --version")
