"""The checkpoint remote: one git repository anywhere that has what runs start from, and their checkpoints.

`refs/dreamdock/<project>/base/<commit>`   what a run was submitted with, pushed by whoever submitted it
`refs/dreamdock/<project>/run/<run>`       the run's chain (see `packs`), pushed by whoever carries it

Nothing that a remote says is believed. What counts are commit ids of the journal, and git reckons each from what it
names: a remote can withhold steps, and serve no others. Everything is fetched and pushed under the caller's own rights.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from sandbox import packs
from sandbox.errors import RemoteUnavailable, WorkspaceError
from sandbox.git import Bounds, GitFailed, Killer, git, printable, said
from sandbox.incoming import fetch, incoming, keep_base, make, move
from sandbox.objects import Objects
from sandbox.source import is_url, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sandbox.git import GitResult
    from sandbox.store import Store

ANSWERS_S: Final = 20.0
"""How long a remote may take to say which refs it has, seconds."""
_PUSH_S: Final = 600.0
_SAID: Final = 200  # Characters of what went wrong.
_PROJECT = re.compile(r"[0-9a-f]{12}")
_RUN_ID = re.compile(r"[0-9a-z]{1,64}")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}")
_ALL: Final = "refs/dreamdock/"
_INCOMING: Final = "refs/dreamdock/incoming"
_NICENESS: Final = 10  # The run goes first.
_AT_ONCE: Final = 100
_WHO: Final = "DreamDock <dreamdock@localhost> 0 +0000"
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")
# A remote that is a path is served by this process's own account: what its configuration names isn't run.
_SERVED: Final = (
    "-c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.alternateRefsCommand=true -c receive.autogc=false"
    " -c receive.denyCurrentBranch=ignore"  # Else its HEAD may name our ref: a checkout there would run its filters.
)
_PUSH: Final = (
    "-c",
    "push.pushOption=",
    "-c",
    "pack.threads=1",
    "push",
    "--quiet",
    "--porcelain",
    "--no-verify",
    "--no-signed",
    "--no-follow-tags",
    "--recurse-submodules=no",
)
_HELPER: Final = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$DD_USER" "$DD_PASSWORD"; }; f'
_NOT_THERE: Final = ("couldn't find remote ref", "not our ref")
_REMEDIES: Final = {
    "shallow update not allowed": (
        "the history is shallow: git fetch --unshallow, or allow it there: git config receive.shallowUpdate true"
    ),
    "dubious ownership": "allow it for this account: git config --global --add safe.directory PATH",
    "does not appear to be a git repository": "make it there: git init --bare PATH",
    "not found": "make it there: git init --bare PATH",
    "Host key verification failed": "have this account know the host's key: ssh-keyscan HOST >> ~/.ssh/known_hosts",
    "Permission denied": "give this account the right to push there",
    "pre-receive hook declined": "what the server says is its own; ask whoever runs it",
    "could not read Username": "give git a login: a credential helper, or an SSH key",
    "Authentication failed": "give git a login: a credential helper, or an SSH key",
}


class Moved(RemoteUnavailable):
    """A ref of the remote isn't where it was last seen: somebody else has pushed, or it was rewritten."""


class Update(NamedTuple):
    """What a ref of the remote is to become, and what it is expected to be; empty for not there."""

    new: str
    expected: str


class Remote:
    """A checkpoint remote, and the store that it belongs to. `kill` may be called from any thread."""

    def __init__(self, url: str, store: Store, *, most_bytes: int | None = None) -> None:
        """Take its address; `most_bytes` bounds what one fetch may bring."""
        self._store = store
        self._killer = Killer()
        self._pushing = Bounds(self._killer, niceness=_NICENESS)
        self._fetching = Bounds(self._killer, most_bytes=most_bytes)
        self._url, self._config, self._env = _address(url)

    @property
    def shown(self) -> str:
        """Its address as it may be shown and typed: without a password, with the account of an ssh address."""
        plain, parts = shown(self._url), urlsplit(self._url)
        if parts.scheme != "ssh" or not parts.username:
            return plain
        return plain.replace("//", f"//{printable(parts.username)}@", 1)

    def push_base(self, project: str, commit: str) -> None:
        """Have the remote keep a commit of the store that a run is to start from. Raises RemoteUnavailable."""
        ref = _ref(project, "base", commit)
        if self._refs(ref).get(ref) == commit:  # Asked first: one that says nothing is given up soon.
            return
        self._push(self._store.git_dir(project), {ref: Update(commit, "")}, force=True)  # Its name says what it is.

    def push_run(self, project: str, run_id: str, *, overwrite: Callable[[str], bool]) -> None:
        """Push what the store keeps of a run, as far as the remote doesn't have it.

        The ref is moved from where it was last seen alone. Where it is elsewhere, `overwrite` decides on what is there
        (a commit's id, empty for nothing): whoever writes it must have the run, or what somebody newer pushed is lost.
        Raises Moved, RemoteUnavailable, WorkspaceError.
        """
        git_dir, ref = self._store.git_dir(project), _ref(project, "run", run_id)
        tip, seen = packs.tip(git_dir, run_id), packs.pushed(git_dir, run_id)
        if not tip or tip == seen:
            return
        try:
            self._push(git_dir, {ref: Update(tip, seen)})
        except Moved:
            there = self._refs(ref).get(ref, "")
            if there != tip:
                if not overwrite(there):
                    raise
                self._push(git_dir, {ref: Update(tip, there)})
        packs.note_pushed(git_dir, run_id, tip)

    def fetch_run(self, project: str, run_id: str, base: str) -> bool:
        """Bring a run's base and all of its checkpoints into the store; whether the remote has the base at least.

        What the store keeps of the run already stays. Raises RemoteUnavailable, DiskFull.
        """
        run, keeps = _ref(project, "run", run_id), _ref(project, "base", base)
        there = self._refs(run, keeps)
        self._store.root.mkdir(parents=True, exist_ok=True)
        brought = run in there and self._bring(project, run, base, run_id)
        return brought or (keeps in there and self._bring(project, keeps, base, ""))

    def delete(self, project: str, run_ids: Collection[str]) -> None:
        """Delete what the remote has of runs. What somebody else has moved since it was last seen is left to him.

        Raises RemoteUnavailable.
        """
        git_dir, there = self._store.git_dir(project), self.where(project)
        seen = {run_id: packs.pushed(git_dir, run_id) for run_id in run_ids}
        ours = sorted(run_id for run_id, oid in seen.items() if oid and there.get(run_id) == oid)
        for start in range(0, len(ours), _AT_ONCE):
            part = ours[start : start + _AT_ONCE]
            self._push(git_dir, {_ref(project, "run", run_id): Update("", seen[run_id]) for run_id in part})
        for run_id in run_ids:
            packs.note_pushed(git_dir, run_id, "")

    def where(self, project: str) -> dict[str, str]:
        """Return where each run's ref of a project is on the remote. Raises RemoteUnavailable."""
        prefix = _ref(project, "run", "0").removesuffix("0")
        return {ref.removeprefix(prefix): oid for ref, oid in self._refs(f"{prefix}*").items()}

    def try_out(self) -> None:
        """Push a ref, look for it, fetch it and delete it again. Raises RemoteUnavailable, WorkspaceError."""
        with tempfile.TemporaryDirectory(prefix="dreamdock-") as name:
            room = Path(name) / "r.git"
            make(room)
            objects = Objects(room)
            tree = objects.put(b"tree", b"")
            commit = objects.put(b"commit", f"tree {tree}\nauthor {_WHO}\ncommitter {_WHO}\n\nA trial\n".encode())
            objects.flush()
            ref = f"{_ALL}trial/{secrets.token_hex(8)}"
            self._push(room, {ref: Update(commit, "")})
            with incoming(Path(name), None) as other:
                self._fetch(other, ref)
                found = git("rev-parse", "--verify", "--quiet", _INCOMING, git_dir=other, check=False)
            self._push(room, {ref: Update("", commit)})
            if found.out.decode().strip() != commit:
                raise RemoteUnavailable("the checkpoint remote serves something else than it was given")

    def kill(self) -> None:
        """End what is under way, from any thread: it raises RemoteUnavailable. Nothing more can be done afterwards."""
        self._killer.kill()

    def _bring(self, project: str, ref: str, base: str, run_id: str) -> bool:
        """Fetch one ref; false where it doesn't lead to the base, or not all of it is there."""
        place = self._store.root / f"{project}.git"
        with incoming(self._store.root, place) as room:
            if not self._fetch(room, ref):
                return False
            found = git("rev-parse", "--verify", "--quiet", f"{_INCOMING}^{{commit}}", git_dir=room, check=False)
            tip = found.out.decode().strip()
            if not tip or git("merge-base", "--is-ancestor", base, tip, git_dir=room, check=False).code != 0:
                return False
            place = self._store.made(project)
            with packs.importing(place):
                move(room, place)
                keep_base(place, base)
                if run_id:
                    packs.join(Objects(place), place, run_id, tip)
                    packs.note_pushed(place, run_id, tip, fetched=True)
        return True

    def _fetch(self, room: Path, ref: str) -> bool:
        """Fetch one ref into a room; false where it's gone since it was listed."""
        told: Any = {"as_user": True, "config": self._config, "options": self._served("upload-pack"), "env": self._env}
        try:
            fetch(room, self._url, ref, _INCOMING, bounds=self._fetching, **told)
        except GitFailed as error:
            if any(words in error.cause for words in _NOT_THERE):
                return False
            raise self._failed("can't be fetched from", error.cause) from error
        return True

    def _refs(self, *patterns: str) -> dict[str, str]:
        """Ask which refs there are; what else the remote says is left out."""
        asked = ("ls-remote", "--refs", *self._served("upload-pack"), "--", self._url, *patterns)
        answer = self._git("doesn't answer", asked, timeout_s=ANSWERS_S)
        if answer.code != 0:
            raise self._failed("doesn't answer", said(answer.err))
        lines = (line.split("\t", 1) for line in answer.out.decode(errors="replace").splitlines() if "\t" in line)
        return {ref: oid for oid, ref in lines if _OBJECT_ID.fullmatch(oid) and ref.startswith(_ALL)}

    def _push(self, git_dir: Path, updates: Mapping[str, Update], *, force: bool = False) -> None:
        leases = [] if force else [f"--force-with-lease={ref}:{update.expected}" for ref, update in updates.items()]
        specs = [f"{'+' * force}{update.new}:{ref}" for ref, update in updates.items()]
        asked = (*_PUSH, *self._served("receive-pack"), *leases, "--", self._url, *specs)
        what = "doesn't take a push"
        done = self._git(what, asked, git_dir=git_dir, timeout_s=_PUSH_S)
        if done.code != 0:
            # What the remote says of a ref goes to the standard output, all else to the other.
            refused = b"\n".join(line for line in done.out.splitlines() if line.startswith(b"!"))
            if b"(stale info)" in refused:
                raise Moved("the checkpoint remote has something else", cause=said(refused))
            reason = said(refused).rpartition("\\t")[2]
            raise self._failed(what, " ".join(filter(None, (reason, said(done.err)))))

    def _git(self, what: str, asked: Sequence[str], *, timeout_s: float, git_dir: Path | None = None) -> GitResult:
        told: Any = {"as_user": True, "env": self._env, "check": False, "bounds": self._pushing}
        try:
            return git(*self._config, *asked, git_dir=git_dir, timeout_s=timeout_s, **told)
        except GitFailed as error:
            raise self._failed(what, error.cause) from error

    def _served(self, program: str) -> tuple[str, ...]:
        """Return how a remote that is a path is to be served."""
        return () if is_url(self._url) else (f"--{program}=git {_SERVED} {program}",)

    def _failed(self, what: str, cause: str) -> RemoteUnavailable:
        hint = next((remedy for words, remedy in _REMEDIES.items() if words in cause), f"git ls-remote {self.shown}")
        cause = " ".join(_LOGIN.sub("", cause).split())[:_SAID]  # Git fills what a server says up with spaces.
        return RemoteUnavailable(f"the checkpoint remote {what}", cause=cause, hint=hint)


def _ref(project: str, kind: str, name: str) -> str:
    """Return a ref's name on the remote. Raises WorkspaceError for what is no id."""
    fits = _OBJECT_ID if kind == "base" else _RUN_ID
    if not _PROJECT.fullmatch(project) or not fits.fullmatch(name):
        raise WorkspaceError(f"{printable(f'{project}/{name}')!r} can't be on a checkpoint remote")
    return f"{_ALL}{project}/{kind}/{name}"


def _address(url: str) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """Return an address without its login, and the configuration and variables that give it to git.

    What is on a command line every account of the host may read. A name alone may be a token; what else git knows of
    logins counts for it.
    """
    parts = urlsplit(url) if url.lower().startswith(("http://", "https://")) else None
    if parts is None or not parts.username:
        return url, (), {}
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if not parts.password:
        count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
        name = {f"GIT_CONFIG_KEY_{count}": "credential.username", f"GIT_CONFIG_VALUE_{count}": unquote(parts.username)}
        return bare, (), {"GIT_CONFIG_COUNT": str(count + 1), **name}
    login = {"DD_USER": unquote(parts.username or ""), "DD_PASSWORD": unquote(parts.password)}
    return bare, ("-c", "credential.helper=", "-c", f"credential.helper={_HELPER}"), login
