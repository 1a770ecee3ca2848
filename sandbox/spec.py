"""What a caller asks for and what it gets back: frozen values, no I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

JOB_UID = 61357
"""User and group id of everything inside a sandbox: a dedicated one that no account has."""

WORKSPACE = "/workspace"
"""Where the workspace appears inside."""

HOME = WORKSPACE + "/.dreamdock/home"
"""HOME inside: in the workspace's layer, never part of what is delivered."""


class Limits(BaseModel):
    """What one sandbox may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_mb: int = Field(2048, ge=64)
    """Memory in MiB, page tables and temporary files included; there is no swap on top."""
    cpus: float = Field(2.0, gt=0)
    """Processor time, in cores."""
    pids: int = Field(512, ge=16)
    """Processes and threads at once."""
    files: int = Field(4096, ge=256, le=20000)
    """Open files per process."""
    tmpfs_mb: int = Field(256, ge=1)
    """Size of /tmp in MiB; it counts as memory."""
    workspace_mb: int = Field(8192, ge=16, le=1 << 20)
    """Size of the run's own disk in MiB: all that it changes, HOME and what git ignores included."""
    checkpoints_mb: int = Field(8192, ge=16, le=1 << 20)
    """What the checkpoints of one attempt may add to the store in MiB, before compression; beyond it the run ends."""
    command_seconds: float = Field(600.0, gt=0)
    """Longest time for one command, in seconds, where the caller names none."""
    output_kb: int = Field(512, ge=2, le=16384)
    """Kept output of one command in KiB: the first half and the last half of what is longer."""


class SandboxSpec(BaseModel):
    """One sandbox: an image, limits, and labels that say whose it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(min_length=1)
    """Name or id of an image that the engine has; without python3 and bash in it, commands go through `docker exec`."""
    limits: Limits = Limits()
    labels: dict[str, str] = {}
    """Labels of the container beside `dreamdock`: what a reaper looks for."""


class SetupSpec(SandboxSpec):
    """One set-up container: a sandbox without a run, whose network may be on."""

    commands: tuple[str, ...] = Field(min_length=1)
    """Shell command lines, one after the other at the top of the workspace; the first that fails is the last."""
    network: bool = False
    """Whether it has the engine's bridge network."""
    seconds: float = Field(900.0, gt=0)
    """Longest time for all commands together, in seconds."""
    environment: dict[str, str] = {}
    """What the operator sets beside the policy's own variables: no secret, the commands are a stranger's."""
    ca_bundle: Path | None = None
    """A file of the host with the certificates to trust; a copy of it is there while the commands run."""


class CommandResult(BaseModel):
    """How a command ended. Everything in it but the durations comes from inside: it is data, never to be trusted."""

    model_config = ConfigDict(frozen=True)

    exit_code: int | None
    """0-255, or None where a signal ended the command."""
    signal: int | None
    """The number of the signal that ended the command, else None."""
    timed_out: bool
    """Whether its time was up; every process that it left was killed."""
    output: bytes
    """Standard output and standard error as they came, head and tail with a line between where it was cut."""
    total_bytes: int
    """Length of the output in bytes before it was cut."""
    duration_s: float
    """Seconds, measured inside."""
    cwd: str
    """Working directory that the next command starts in."""
    notes: tuple[str, ...] = ()
    """What the caller should know beside: processes ended, state not kept."""
    number: int = 0
    """The how-manieth command of its sandbox it was, from 1."""
    whole: str = ""
    """Path inside of a file with the whole of a longer output, else empty; it may be gone or changed when it's read."""


class BackgroundProcess(BaseModel):
    """A process that an ended command left running. What it says of itself is data from inside."""

    model_config = ConfigDict(frozen=True)

    pid: int
    """Its number inside."""
    command: str
    """Its command line, bounded and printable; a process can write anything there."""
    seconds: float
    """How long it has been running."""
    number: int
    """The number of the command that started it; one that hides its origin counts for the last one."""


class FileChange(BaseModel):
    """One changed path, fit to be shown and stored: unprintable characters of the name are escaped.

    `status` is A(dded), M(odified), D(eleted) or T (another type: file, link, submodule).
    `added` and `removed` count lines; both are 0 for a binary file, whose `sizes` are its bytes before and after.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    status: Literal["A", "M", "D", "T"]
    added: int
    removed: int
    sizes: tuple[int, int] | None = None

    @property
    def extent(self) -> str:
        """How much of it changed, in words: `+3 -1`, or `binary, 0 -> 512 bytes`; empty where no line did."""
        if self.sizes is not None:
            return f"binary, {self.sizes[0]} -> {self.sizes[1]} bytes"
        return f"+{self.added} -{self.removed}" if self.added or self.removed else ""


class Install(BaseModel):
    """A dependency that came, went or was exchanged, read from what lies in the workspace, fit to be shown and stored.

    `manager` is pip, uv, npm, cargo, go or dpkg, or what a Python package says that it was installed with; `before` is
    the version that was there. `place` is the directory or lock file, relative to the workspace.
    """

    model_config = ConfigDict(frozen=True)

    manager: str
    name: str
    version: str
    change: Literal["added", "removed", "changed"]
    place: str
    before: str = ""


class Base(BaseModel):
    """What a run starts from: a commit in the store, and where people know it from.

    `project` is 12 hex digits, `commit` and `tree` are 40; `name` and `source` are for people, without passwords.
    """

    model_config = ConfigDict(frozen=True)

    project: str
    commit: str
    tree: str
    name: str
    source: str
