"""A library that several hosts have: brought from any git remote before it's read, and pushed there after a write.

A push moves the remote's branch from where it was last seen alone, and is tried anew with what came in between. Where
both sides have changed, they are merged entry by entry. A remote that is gone, refuses or hangs leaves the library as
it was; what wasn't pushed is pushed the next time.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from orchestrator.errors import ConfigError, DreamdockError, UnavailableError
from orchestrator.library.merging import merged
from orchestrator.library.shelf import BRANCH
from orchestrator.memory.plain import one_line
from sandbox.errors import SandboxError
from sandbox.git import Bounds, GitFailed, git, said
from sandbox.objects import EMPTY_TREE
from sandbox.source import is_url, shown

if TYPE_CHECKING:
    from orchestrator.library.shelf import Shelf

ANSWERS_S: Final = 60.0
"""How long a remote may take for an answer, a fetch or a push, seconds: a library is small."""
MOST_BYTES: Final = 1 << 30
"""Of what a remote may send at once."""
_TRIES: Final = 5
_INCOMING: Final = "refs/dreamdock/incoming"
_NOT_THERE: Final = ("couldn't find remote ref",)
_MOVED: Final = (b"[rejected]", b"fetch first", b"stale info", b"cannot lock ref", b"failed to update ref")
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]*@")
_LONGEST: Final = 300
# A remote that is a path is served by this process's own account: what its configuration names isn't run.
_SERVED: Final = (
    "-c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.alternateRefsCommand=true -c receive.autogc=false"
)


class Shared(NamedTuple):
    """What a round came to: whether something new came in, whether it had to be merged, and what was pushed."""

    pulled: bool = False
    merged: bool = False
    pushed: bool = False


def share(shelf: Shelf, url: str, *, timeout_s: float = ANSWERS_S) -> Shared:
    """Pull, and push what the remote doesn't have, until both have the same.

    Raises UnavailableError where the remote can't be had, ConfigError for an address with a password, LibraryError.
    """
    total = Shared()
    for _ in range(_TRIES):
        there, pulled = pull(shelf, url, timeout_s=timeout_s)
        total = Shared(total.pulled or pulled.pulled, total.merged or pulled.merged)
        head = shelf.head()
        if head in {there, ""}:
            return total
        if _push(shelf, url, head, there, timeout_s):
            return total._replace(pushed=True)
    raise UnavailableError(
        f"the library's remote {shown(url)} takes no push", cause=f"others pushed {_TRIES} times in between"
    )


def pull(shelf: Shelf, url: str, *, timeout_s: float = ANSWERS_S) -> tuple[str, Shared]:
    """Bring what the remote has; return the commit that it's at (empty for an empty one), and what came."""
    _refuse_password(url)
    with shelf.writing():
        pass  # There is a repository, and what people changed is committed.
    ref = f"{_INCOMING}/{secrets.token_hex(8)}"
    try:
        there = _fetched(shelf, url, ref, timeout_s)
        return there, _taken(shelf, there) if there else Shared()
    finally:
        git("update-ref", "-d", ref, git_dir=shelf.git_dir, check=False)


def brought(shelf: Shelf, url: str | None) -> str:
    """Take in what people changed in the files and what others wrote, before a write; return why the remote is away.

    That is empty where all is well, or there is none. Raises LibraryError, ConfigError as `share`.
    """
    shelf.adopt()
    if url:
        try:
            pull(shelf, url)
        except UnavailableError as error:
            return error.words
    return ""


def pushed(shelf: Shelf, url: str | None) -> str:
    """Push what was written; return why the remote doesn't have it, empty where it has or there is none."""
    if url:
        try:
            share(shelf, url)
        except DreamdockError as error:  # It's written, whatever becomes of it elsewhere.
            return error.words
    return ""


def later(away: str) -> str:
    """Return what a person is told where the remote was away, empty where it wasn't."""
    return f"{away}; what is written here is pushed by the next write" if away else ""


def _taken(shelf: Shelf, there: str) -> Shared:
    """Take a commit that was fetched: as the new head where nothing else is new here, else merged with it."""
    with shelf.writing() as objects:
        head = shelf.head()
        base = _common(shelf, head, there)
        if there == base:
            return Shared()
        theirs = shelf.side(objects, there)
        for _ in shelf.blobs(shelf.pages(there)):  # What isn't there in full isn't taken.
            pass
        if head == base:
            shelf.advance(objects, there)
            return Shared(pulled=True)
        before = shelf.side(objects, base).tree if base else EMPTY_TREE
        tree = merged(objects, before, shelf.side(objects, head), theirs)
        shelf.move(objects, tree, "Merge what others wrote", there)
        return Shared(pulled=True, merged=True)


def _common(shelf: Shelf, head: str, there: str) -> str:
    """Return the last commit that both have; empty where there is none."""
    if not head:
        return ""
    return git("merge-base", head, there, git_dir=shelf.git_dir, check=False).out.decode().strip()


def _fetched(shelf: Shelf, url: str, ref: str, timeout_s: float) -> str:
    asked = ("-c", "fetch.unpackLimit=1", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
    try:
        git(
            *(*asked, *_served(url, "upload-pack"), "--", url, f"+{BRANCH}:{ref}"),
            git_dir=shelf.git_dir,
            as_user=True,
            timeout_s=timeout_s,
            bounds=Bounds(most_bytes=MOST_BYTES),
        )
    except GitFailed as error:
        if any(words in error.cause for words in _NOT_THERE):
            return ""
        raise _failed(url, "can't be fetched", error.cause) from error
    except SandboxError as error:
        raise _failed(url, "can't be fetched", error.message) from error
    return git("rev-parse", "--verify", f"{ref}^{{commit}}", git_dir=shelf.git_dir).out.decode().strip()


def _push(shelf: Shelf, url: str, head: str, there: str, timeout_s: float) -> bool:
    """Push the head; false where the remote has moved on from `there`."""
    asked = ("push", "--quiet", "--porcelain", "--no-verify", "--no-signed", "--no-follow-tags")
    lease = f"--force-with-lease={BRANCH}:{there}"  # Our head descends from there: nothing is ever forced.
    try:
        done = git(
            *(*asked, *_served(url, "receive-pack"), lease, "--", url, f"{head}:{BRANCH}"),
            git_dir=shelf.git_dir,
            as_user=True,
            check=False,
            timeout_s=timeout_s,
        )
    except GitFailed as error:
        raise _failed(url, "takes no push", error.cause) from error
    if done.code == 0:
        return True
    if any(words in done.out + done.err for words in _MOVED):
        return False
    refused = b"\n".join(line for line in done.out.splitlines() if line.startswith(b"!"))
    raise _failed(url, "takes no push", f"{said(refused)} {said(done.err)}")


def _served(url: str, program: str) -> tuple[str, ...]:
    return () if is_url(url) else (f"--{program}=git {_SERVED} {program}",)


def _refuse_password(url: str) -> None:
    if is_url(url) and url.lower().startswith(("http://", "https://")) and urlsplit(url).password:
        raise ConfigError(
            f"the library's remote {shown(url)} has a password in its address",
            cause="every account of this host could read it",
            hint="leave it out, and give git a credential helper, or use an SSH key",
        )


def _failed(url: str, what: str, cause: str) -> UnavailableError:
    cause = one_line(_LOGIN.sub("", cause), _LONGEST)
    return UnavailableError(
        f"the library's remote {shown(url)} {what}", cause=cause, hint=f"try it with: git ls-remote {shown(url)}"
    )
