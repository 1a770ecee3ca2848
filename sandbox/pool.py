"""A worker's pool of containers that were started ahead: the worker's end, and what the two ends say to each other.

The other end, `sandbox.warming`, is a process of its own. The two share a socket pair, which a work-horse inherits: no
name in any file system, nobody else can ask. Each claim brings a socket for its answer along, so that a claimer that
was killed leaves no answer for the next one. What is claimed comes as two descriptors: the container's stream and the
lock of its room. Whoever has them owns it; when that process ends, by whatever means, the container ends.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from sandbox import engine
from sandbox.container import Container, runner_source, seccomp_profile
from sandbox.policy import container_settings
from sandbox.slot import Slot
from sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

CLAIM_S = 0.25
"""Longest wait for an answer of the pool, in seconds: a cold start takes no longer."""

CLOSE_S = 10.0
"""How long the pool may take to remove what it has, in seconds."""

MESSAGE_BYTES = 1 << 16
"""Longest message between the two, in bytes."""

_ENVIRONMENT = ("PATH", "HOME", "LANG", "DOCKER_HOST", "DOCKER_CONFIG")  # No model's key.
_log = logging.getLogger(__name__)


class Plan(BaseModel):
    """What a pool keeps: where, how many of each kind, which from the start, and the labels of all."""

    model_config = ConfigDict(frozen=True)

    root: Path
    size: int
    first: SandboxSpec | None
    labels: dict[str, str]


class Request(BaseModel):
    """A claim. `key` is the kind as the claimer makes it: the pool may run another version's code.

    `lower` is what the container shows below its changes, where the engine mounts that (see `lower_of`): it has to be
    there when the container starts. Else it's empty, and the claimer mounts what it likes.
    """

    model_config = ConfigDict(frozen=True)

    spec: SandboxSpec
    lower: str
    key: str


class Offer(BaseModel):
    """A container for the claimer, with its stream and its room's lock beside."""

    model_config = ConfigDict(frozen=True)

    container: str
    image: str
    room: str
    attached: bool
    uid: int
    freezer: Path | None


@dataclass(frozen=True)
class Claimed:
    """A running container that nothing was done in, on a slot that we mounted nothing on."""

    container: Container
    slot: Slot

    def remove(self) -> None:
        """Remove the container, then the slot. Raises EngineUnavailable, WorkspaceError."""
        self.container.close()
        self.slot.remove()


class Pool:
    """A worker's handle on its pool. Forked processes may claim; the process that made it starts and closes it.

    Containers are kept by kind: image, limits and, where this process may not mount, what lies below the workspace.
    """

    def __init__(self, root: Path, *, size: int, first: SandboxSpec | None, labels: Mapping[str, str]) -> None:
        """Take the root of all workspaces, and how many containers are kept of each kind.

        `first` is the kind to begin with where this process may mount: else nothing can be known before a first claim.
        `labels` are those of every container until it's claimed.
        """
        self._plan = Plan(root=root.resolve(), size=size, first=first, labels=dict(labels))
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that keeps the containers; 0 where there is none."""
        return self._process.pid if self._process is not None else 0

    def __enter__(self) -> Self:
        self.ensure()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ensure(self) -> None:
        """Start the pool where it doesn't run. An engine elsewhere has none: its stream can't be handed over."""
        if not self._plan.size or not engine.address().startswith("unix://"):
            return
        if self._process is not None and self._process.poll() is None:
            return
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sandbox.warming", str(theirs.fileno()), self._plan.model_dump_json()],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={name: value for name, value in os.environ.items() if name in _ENVIRONMENT},
            )

    def claim(self, spec: SandboxSpec, lower: str = "") -> Claimed | None:
        """Return a container of exactly this kind, the caller's alone; None where none is ready.

        The caller holds what `lower` names; see `Request`.
        """
        if self._control is None:
            return None
        try:
            request = Request(spec=spec, lower=lower, key=kind_key(spec, lower))
            message, descriptors = _ask(self._control, request)
            return self._taken(Offer.model_validate_json(message), descriptors, spec) if descriptors else None
        except (OSError, ValidationError) as error:
            _log.warning("the pool of containers doesn't answer: %s", error)
            return None

    def close(self) -> None:
        """End the pool, which removes what nobody claimed. For the process that made it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is None:
            return
        self._process.terminate()  # A work-horse may still have its end of the socket.
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _taken(self, offer: Offer, descriptors: Sequence[int], spec: SandboxSpec) -> Claimed:
        stream, lock = descriptors
        slot = Slot(self._plan.root / "open" / offer.room, os.fdopen(lock, "r"))
        container = Container.adopt(
            socket.socket(fileno=stream),
            offer.container,
            offer.image,
            spec.limits,
            attached=offer.attached,
            uid=offer.uid,
            freezer=offer.freezer,
        )
        try:
            slot.tell(spec.labels)
        except OSError:
            container.stream.close()
            slot.lock.close()
            raise
        return Claimed(container, slot)


def kind_key(spec: SandboxSpec, lower: str) -> str:
    """Return a hash of all that is made ahead: what the engine is told, but for labels and room; the disk; `lower`."""
    unlabelled = spec.model_copy(update={"labels": {}})
    texts = {"runner_source": runner_source(), "seccomp": seccomp_profile()}
    settings = container_settings(unlabelled, workspace=Path("/"), **texts)
    return hashlib.sha256(json.dumps([settings, spec.limits.workspace_mb, lower], sort_keys=True).encode()).hexdigest()


def send(to: socket.socket, message: bytes, *descriptors: int) -> None:
    """Send a message with open files, without waiting. Raises OSError."""
    carried = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    to.sendmsg([message], carried, socket.MSG_DONTWAIT)


def receive(source: socket.socket) -> tuple[bytes, list[int]]:
    """Return a message and the open files that came with it, two at most; nothing where the other end is closed.

    Raises OSError.
    """
    size = array.array("i").itemsize
    message, carried, flags, _ = source.recvmsg(MESSAGE_BYTES, socket.CMSG_LEN(2 * size), socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in carried:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % size])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        raise OSError("a message was cut")
    return message, list(descriptors)


def _ask(control: socket.socket, request: Request) -> tuple[bytes, list[int]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            send(control, request.model_dump_json().encode(), theirs.fileno())
        ours.settimeout(CLAIM_S)
        return receive(ours)
