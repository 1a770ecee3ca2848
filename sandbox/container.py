"""One container per sandbox: made by the policy, attached before it starts, removed when it's done."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import threading
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import requests

from sandbox import engine, freezer, outside, podman, sealed
from sandbox.channel import Channel
from sandbox.errors import ChannelLost, EngineUnavailable, ImageUnusable, WorkspaceError
from sandbox.exec_scripts import KEEPER
from sandbox.exec_shell import ExecShell
from sandbox.freezer import Freezer
from sandbox.line import taken
from sandbox.mounts import mount_memory
from sandbox.objects import disk_error
from sandbox.policy import LABEL, PLACE_LABEL, RUN_LABEL, SANDBOX, container_settings
from sandbox.refusals import NOT_FOUND, PASSING, has_no_python, refuse_warnings, translated
from sandbox.shell import Shell
from sandbox.slot import is_abandoned, told
from sandbox.spec import JOB_UID, WORKSPACE
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    import socket

    from sandbox.spec import Limits, SandboxSpec

START_S = 60.0
"""Longest time from the container's start to the runner's first word, in seconds."""

REMOVAL_S = 30.0
"""Longest wait for a removal that somebody else began, in seconds."""

POOL_LABEL = "dreamdock.pool"
"""The label that says which pool started a container ahead; whose it is by now, its room tells."""

_REMOVAL_RUNS = 409


class Container:
    """A running container and its shell. Make it with `start`."""

    def __init__(self, client: Any, container_id: str, image_id: str) -> None:
        self.id = container_id
        """The engine's id of the container, 64 hex digits."""
        self.image_id = image_id
        """The image as it was found: `sha256:` and 64 hex digits, whatever its name means later."""
        self.uid = JOB_UID
        """The host's user and group that the job is: another one than inside where the engine remaps users."""
        self.shell: Shell | ExecShell
        self._engine = client
        self._connecting = threading.Lock()
        self.fallback = ""
        """Why and how commands don't go through the runner, where the image has no python3 or bash; else empty."""
        self._channel: Channel | ExecShell | None = None
        self._attached: Any = None
        self._pid = 0
        self._removal = threading.Lock()
        self._freezer = Freezer(None, pause=self._engine_pauses, unpause=self._engine_unpauses)

    @property
    def _client(self) -> Any:
        """The engine's client; one that was taken over connects when it has to: 20 ms that no claim pays."""
        with self._connecting:
            if self._engine is None:
                self._engine = engine.client()
            return self._engine

    @classmethod
    def adopt(
        cls,
        stream: socket.socket,
        container_id: str,
        image_id: str,
        limits: Limits,
        *,
        attached: bool,
        uid: int,
        freezer: Path | None,
    ) -> Container:
        """Take over a container that another process started, has a runner and did nothing yet; see `stream`."""
        container = cls(None, container_id, image_id)
        container.uid = uid
        container._attached = stream
        container._freezer.control = freezer
        container._channel = channel = Channel(stream, attached=attached, reason=container._why_ended)
        container.shell = Shell(channel, limits, container._freezer)
        return container

    @classmethod
    def start(cls, spec: SandboxSpec, *, workspace: Path, overlay: str = "", owner: int | None = None) -> Container:
        """Make and start a container over `workspace`: a directory of the job's uid, on a mount that is shared.

        With `overlay` (see `Workspace.volume`) the engine mounts it, and `workspace` only says whose it is.
        `owner` is the host's user that its files were given to, where that's done already.

        Raises EngineUnavailable, ImageMissing, ImageUnusable, PolicyRefused (it names the rule), DiskFull,
        WorkspaceError. Nothing half-made stays.
        """
        with translated(spec.image), contextlib.closing(engine.client()) as client:
            image = client.api.inspect_image(spec.image)
        settings = container_settings(
            spec,
            workspace=workspace,
            runner_source=runner_source(),
            seccomp=seccomp_profile(),
            volumes=tuple(image["Config"].get("Volumes") or ()),
            overlay=overlay,
        )
        settings["Image"] = image["Id"]  # The one that was looked at, even if the name moves meanwhile.
        container = cls.launch(settings, spec)
        if owner not in (None, container.uid):
            container.close()
            cause = f"the job is the host's user {container.uid}, not {owner}"
            raise WorkspaceError("the workspace's files would be somebody else's", cause=cause)
        return container

    @classmethod
    def launch(cls, settings: dict[str, Any], spec: SandboxSpec) -> Container:
        """Make and start a container with exactly these settings; see `start`.

        Where the image lacks what the runner needs, another one takes its place: with the same settings but for PID 1.
        """
        try:
            return cls._launch(settings, spec)
        except _NoRunnerError as lacking:
            try:
                keeper = settings | {"Entrypoint": ["/bin/sh", "-c", KEEPER]}
                return cls._launch(keeper, spec, lacking=lacking.message)
            except ImageUnusable as unusable:
                raise ImageUnusable(
                    f"the image {spec.image} can't be started",
                    cause=f"{lacking.message}, and no shell for the fallback: {unusable.cause or unusable.message}",
                    hint="use an image with python3 (3.8 or later) and bash, for example the base image",
                ) from unusable

    @classmethod
    def _launch(cls, settings: dict[str, Any], spec: SandboxSpec, *, lacking: str = "") -> Container:
        client = engine.client()
        with translated(spec.image):
            body = _in_podmans_words(settings) if engine.is_podman() else settings
            made = client.api.create_container_from_config(body, f"{LABEL}-{secrets.token_hex(6)}")
        container = cls(client, made["Id"], settings["Image"])
        try:
            refuse_warnings(made.get("Warnings") or [], spec.image)
            with translated(spec.image):
                seen = container._attach_and_start(spec, lacking)
            container._require_sealed(settings, seen)
        except BaseException:
            container.close()
            raise
        return container

    def kill(self) -> None:
        """Remove the container, from any thread and as often as you like: a call that waits raises ChannelLost."""
        if self._channel is not None:
            self._channel.close("it was ended on request")
        with self._removal, translated():  # The one who comes second waits until it's really gone.
            self._freezer.let_die()
            _remove(self._client, self.id)

    def pause(self) -> None:
        """Freeze every process of it, the runner's too, from any thread; a call that waits goes on waiting.

        Where a checkpoint is just reading the workspace, nothing runs already; the engine pauses it after that.
        Raises EngineUnavailable, ChannelLost where it's gone.
        """
        if self._channel is not None:
            self._channel.hold()
        try:
            self._freezer.pause()
        except BaseException:
            if self._channel is not None:
                self._channel.go_on()
            raise

    def resume(self) -> None:
        """Let a frozen container run on. Raises as `pause` does."""
        self._freezer.pause(wanted=False)
        if self._channel is not None:
            self._channel.go_on()

    def close(self) -> None:
        """Remove the container and let go of the engine; for the thread that uses it. Idempotent."""
        try:
            self.kill()
        finally:
            if self._attached is not None:
                self.stream.close()
                self._attached.close()
            if self._engine is not None:
                self._engine.close()

    @property
    def stream(self) -> socket.socket:
        """The runner's line or, where `is_attached`, the engine's stream: the runner leaves when nobody has it."""
        stream: socket.socket = getattr(self._attached, "_sock", self._attached)
        return stream

    @property
    def is_attached(self) -> bool:
        """Whether commands go through the engine."""
        return not isinstance(self._channel, Channel) or self._channel.attached

    @property
    def freezer(self) -> Path | None:
        """The kernel's file that freezes it from this host; None where it can't be had."""
        return self._freezer.control

    def is_quiet(self) -> bool:
        """Whether its runner is there, and nothing came from it that wasn't asked for."""
        return isinstance(self._channel, Channel) and self._channel.is_quiet()

    def let_go(self) -> None:
        """Close our end and leave the container to the process that got its stream."""
        os.close(self.stream.detach())  # Also where the SDK holds the socket elsewhere.
        self._client.close()

    def _attach_and_start(self, spec: SandboxSpec, lacking: str) -> Any:
        """Attach, then start: the other way round, first words are lost. Return what is seen inside."""
        streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        try:
            self._attached = self._client.api.attach_socket(self.id, streams)
        except docker.errors.APIError as error:  # Podman makes everything ready here, and it shows.
            if not lacking and has_no_python(str(error.explanation or error)):
                raise _NoRunnerError("no python3 in the image") from error
            raise
        if lacking:
            self._client.api.start(self.id)
            self._find()
            self.shell = self._channel = ExecShell(self._client.api, self.id, spec.limits, self._freezer, why=lacking)
            self.fallback = self.shell.fallback
            return self.shell.seen(sealed.SEEN)
        self._channel = Channel(self.stream, attached=True, reason=self._why_ended)
        try:
            self._client.api.start(self.id)
        except docker.errors.APIError as error:
            if has_no_python(str(error.explanation or error)):
                raise _NoRunnerError("no python3 in the image") from error
            raise
        hint = "use an image with python3 (3.8 or later) and bash, for example the base image"
        try:
            hello = self._channel.hello(timeout_s=START_S)
            if not hello.get("bash"):
                raise _NoRunnerError("no bash in the image")
            self._find()
            self._take_line(hello)
        except ChannelLost as lost:
            raise ImageUnusable(
                f"the image {spec.image} doesn't start as a sandbox", cause=lost.cause, hint=hint
            ) from lost
        self.shell = Shell(self._channel, spec.limits, self._freezer)
        return hello.get("seen")

    def _require_sealed(self, settings: dict[str, Any], seen: Any) -> None:
        """Refuse a container that isn't what the engine was told, before anything is done in it."""
        try:
            seen = outside.seen(self._pid, self.id, seen)
            sealed.require(settings, seen)
            self.uid = sealed.host_id(seen, int(settings["User"].partition(":")[0]))
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            cause = f"what it says of itself can't be understood: {error}"
            raise ImageUnusable("the container's first words make no sense", cause=cause) from error

    def _find(self) -> None:
        """Ask which process of the engine's host PID 1 is (0 where it has ended), and look for its freezer."""
        self._pid = int(self._client.api.inspect_container(self.id)["State"]["Pid"])
        self._freezer.control = freezer.control(self._pid, self.id)

    def _engine_pauses(self) -> None:
        with translated():
            self._client.api.pause(self.id)

    def _engine_unpauses(self) -> None:
        with translated():
            self._client.api.unpause(self.id)

    def _take_line(self, hello: dict[str, Any]) -> None:
        """Leave the engine's stream for the runner's line, where that can be had. Raises ChannelLost."""
        line = taken(self._pid, hello)
        if line is None:
            return
        with contextlib.closing(self._attached), self.stream:
            self._attached = line
            self._channel = Channel(line, attached=False, reason=self._why_ended)
            # The runner waits to hear from us before it lets go of its standard streams.
            self._channel.request({"op": "place"}, timeout_s=START_S)

    def _why_ended(self) -> str:
        try:
            state = self._client.api.inspect_container(self.id)["State"]
        except docker.errors.NotFound:
            return "the container was removed"
        except (docker.errors.DockerException, requests.RequestException, EngineUnavailable):
            return "the engine doesn't answer"
        if state.get("Running"):
            return "the container still runs"
        memory = ", memory ran out" if state.get("OOMKilled") else ""
        return f"the container ended with code {state.get('ExitCode')}{memory}"


class _NoRunnerError(ImageUnusable):
    """The image lacks what the runner needs."""


@dataclass(frozen=True)
class Leftover:
    """A container of this host's engine, and the labels that say whose it is."""

    id: str
    labels: dict[str, str]
    workspace: Path

    def remove(self) -> None:
        """Remove the container, then unmount and delete its workspace. Raises EngineUnavailable, WorkspaceError."""
        with translated(), contextlib.closing(engine.client()) as client:
            _let_die(client, self.id)
            _remove(client, self.id)
        room = self.workspace.parent
        if room.parent.name == "open":  # Workspace's layout; anything else isn't ours to delete.
            Workspace.discard(room.parent.parent, room.name)


def leftovers() -> list[Leftover]:
    """Return the sandboxes of this host's engine that may be nobody's: of runs, ended, or of a pool that is dead.

    One that was claimed from a pool has the labels of its room beside its own. Raises EngineUnavailable.
    """
    with translated(), contextlib.closing(engine.client()) as client:
        found = client.api.containers(all=True, filters={"label": f"{LABEL}={SANDBOX}"})
    lefts = [(item["State"], _leftover(item)) for item in found]
    return [
        left
        for state, left in lefts
        if RUN_LABEL in left.labels
        or state in {"exited", "dead"}
        or (POOL_LABEL in left.labels and is_abandoned(left.workspace.parent))
    ]


@functools.cache
def runner_source() -> str:
    """Return the runner's text, as it goes into the command line."""
    return resources.files("sandbox.runner").joinpath("runner.py").read_text("utf-8")


@functools.cache
def seccomp_profile() -> str:
    """Return the text of our own seccomp profile."""
    return resources.files("sandbox").joinpath("seccomp.json").read_text("utf-8")


def _in_podmans_words(settings: dict[str, Any]) -> dict[str, Any]:
    """Translate, and lay the files that this takes beside the workspace. Raises WorkspaceError, DiskFull."""
    source = settings["HostConfig"]["Mounts"][0]["Source"]
    if not source:
        raise WorkspaceError(
            "Podman can't mount the workspace of a worker that may not mount",
            cause="the process lacks CAP_SYS_ADMIN, and Podman passes over the options of a container's volume",
            hint="give the worker CAP_SYS_ADMIN, or use Docker",
        )
    folder = Path(source).parent / "engine"
    body, files = podman.translated(settings, folder)
    try:
        if not folder.is_dir():  # Else it's the second try, without a runner.
            folder.mkdir()
            mount_memory(folder)  # The mount table inside would tell where they lie.
        for name, text in files.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise disk_error(error, "writing what the engine reads") from error
    return body


def _leftover(item: dict[str, Any]) -> Leftover:
    labels, workspace = item["Labels"], Path(_source(item))
    claimed = told(workspace.parent) if POOL_LABEL in labels else {}
    return Leftover(item["Id"], claimed | labels, workspace)


def _source(item: dict[str, Any]) -> str:
    if place := item["Labels"].get(PLACE_LABEL):
        return str(place)
    return next((mount["Source"] for mount in item["Mounts"] if mount["Destination"] == WORKSPACE), "/")


def _let_die(client: Any, container_id: str) -> None:
    """Thaw a container whose worker may have died while it read the workspace: the engine knows nothing of that."""
    with contextlib.suppress(docker.errors.NotFound):
        state = client.api.inspect_container(container_id)["State"]
        control = freezer.control(state["Pid"], container_id)
        if control is not None and not state["Paused"]:
            freezer.thaw(control)


def _remove(client: Any, container_id: str) -> None:
    """Remove a container; where somebody else is already at it, wait until it's gone."""
    deadline = time.monotonic() + REMOVAL_S
    while True:
        try:
            client.api.remove_container(container_id, force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code == NOT_FOUND:
                return
            passing = error.status_code == _REMOVAL_RUNS or any(sign in str(error.explanation) for sign in PASSING)
            if not passing or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
