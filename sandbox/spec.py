"""What a caller asks for and what it gets back: frozen values, no I/O."""

from __future__ import annotations

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
    command_seconds: float = Field(600.0, gt=0)
    """Longest time for one command, in seconds, where the caller names none."""
    output_kb: int = Field(512, ge=2, le=16384)
    """Kept output of one command in KiB: the first half and the last half of what is longer."""


class SandboxSpec(BaseModel):
    """One sandbox: an image, limits, and labels that say whose it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(min_length=1)
    """Name or id of an image that the engine has; it must carry python3 (3.8 or later) and bash."""
    limits: Limits = Limits()
    labels: dict[str, str] = {}
    """Labels of the container beside `dreamdock`: what a reaper looks for."""


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


class FileChange(BaseModel):
    """One changed path, fit to be shown and stored: unprintable characters of the name are escaped.

    `status` is A(dded), M(odified), D(eleted) or T (another type: file, link, submodule).
    `added` and `removed` count lines; both are 0 for a binary file.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    status: Literal["A", "M", "D", "T"]
    added: int
    removed: int


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
