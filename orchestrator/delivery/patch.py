"""Delivery as a patch: a run's changes put onto a person's working tree, whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import DeniedError, DreamdockError, UsageError
from sandbox.git import GitFailed, git

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.spec import FileChange

_SECONDS: Final = 120
# A folder's own name counts too: it can be replaced by a link to a folder that was filled elsewhere.
_ELSEWHERE: Final = re.compile(
    r"(^|/)(\.github(/(workflows|actions))?|\.gitea|\.forgejo|\.circleci|\.buildkite|\.husky|\.githooks|\.git|\.vscode|\.idea"
    r"|\.devcontainer)$"
    r"|(^|/)(\.github/(workflows|actions)/|\.(gitea|forgejo|circleci|buildkite|husky|githooks|git|vscode|idea|devcontainer)/)"
    r"|(^|/)(\.gitlab-ci\.ya?ml|azure-pipelines\.ya?ml|bitbucket-pipelines\.ya?ml|Jenkinsfile|\.travis\.ya?ml|\.drone\.ya?ml"
    r"|\.pre-commit-config\.yaml|lefthook\.ya?ml|\.envrc|\.tool-versions|\.?mise\.toml|GNUmakefile|[Mm]akefile"
    r"|\.gitmodules|\.gitattributes|\.lfsconfig|\.exrc|\.nvimrc|\.dir-locals\.el|[^/]*\.code-workspace)$",
    re.IGNORECASE,
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
            hint="read them with: dreamdock diff RUN; then: dreamdock apply RUN --allow-elsewhere",
        )
    if patch:
        top = Path(os.fsdecode(_git(repo, b"", "rev-parse", "--show-toplevel").rstrip(b"\n")))
        # Names that stand for .git on other systems are refused, as by a person's own git.
        guards = ("-c", "core.protectNTFS=true", "-c", "core.protectHFS=true")
        try:
            _git(top, patch, *guards, "apply", "--whitespace=nowarn")
        except DreamdockError:
            _refuse_second(top, patch, guards)
            raise
    return Applied(files, asks)


def _refuse_second(top: Path, patch: bytes, guards: tuple[str, ...]) -> None:
    """Raise a clearer error where the patch is there already: UsageError."""
    try:
        _git(top, patch, *guards, "apply", "--reverse", "--check")
    except DreamdockError:
        return
    raise UsageError("the patch is applied already", hint="git diff")


def _git(repo: Path, stdin: bytes, *arguments: str) -> bytes:
    """Run git in the person's own repository; `git apply` changes nothing unless all of it fits."""
    try:
        return git(*arguments, cwd=repo, stdin=stdin, as_user=True, timeout_s=_SECONDS).out
    except GitFailed as error:
        hint = "commit or stash your changes, then try again"
        raise DreamdockError("the patch doesn't fit", cause=error.cause, hint=hint) from error
