"""Delivery as a patch: a run's changes put onto a person's working tree, whole or not at all."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import DeniedError, DreamdockError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sandbox.spec import FileChange

_SECONDS: Final = 120
_ELSEWHERE: Final = re.compile(
    r"(^|/)(\.github/(workflows|actions)/|\.circleci/|\.buildkite/|\.husky/|\.githooks/|\.git/|\.vscode/|\.idea/|\.devcontainer/)"
    r"|(^|/)(\.gitlab-ci\.ya?ml|azure-pipelines\.ya?ml|Jenkinsfile|\.travis\.ya?ml|\.drone\.ya?ml|\.pre-commit-config\.yaml"
    r"|lefthook\.ya?ml|\.envrc|\.tool-versions|GNUmakefile|[Mm]akefile|\.gitmodules|\.gitattributes|\.lfsconfig)$"
)


class Applied(NamedTuple):
    """What was put onto the working tree. `asks` names the files among them that run elsewhere."""

    files: tuple[FileChange, ...]
    asks: tuple[str, ...]


def runs_elsewhere(paths: Iterable[str]) -> list[str]:
    """Return the paths of what is executed outside by merely being there: CI, hooks, editors, make."""
    return [path for path in paths if _ELSEWHERE.search(path)]


def apply_patch(repo: Path, patch: bytes, files: tuple[FileChange, ...], *, allow_elsewhere: bool) -> Applied:
    """Apply a patch, which changes `files`, to the working tree around `repo`; nothing is staged or committed.

    Raises DeniedError for files that run elsewhere unless they are allowed, DreamdockError where the patch doesn't fit.
    """
    asks = tuple(runs_elsewhere(file.path for file in files))
    if asks and not allow_elsewhere:
        raise DeniedError(
            "the patch changes files that run elsewhere",
            cause=", ".join(asks),
            hint="read them with dreamdock diff; then dreamdock apply with --allow-elsewhere",
        )
    if patch:
        top = _git(repo, b"", "rev-parse", "--show-toplevel").decode().rstrip("\n")
        _git(top, patch, "apply", "--whitespace=nowarn")
    return Applied(files, asks)


def _git(repo: Path | str, stdin: bytes, *arguments: str) -> bytes:
    """Run git in the person's own repository; `git apply` changes nothing unless all of it fits."""
    command = ["git", "-C", str(repo), "-c", "core.fsmonitor=false", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=_SECONDS)
    if done.returncode:
        cause = " ".join(done.stderr.decode(errors="replace").split())[:300]
        raise DreamdockError("the patch doesn't fit", cause=cause, hint="commit or stash your changes, then try again")
    return done.stdout
