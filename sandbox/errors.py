"""What can go wrong in a sandbox, as people see it.

SandboxError               exit code
├── EngineUnavailable      5    the container engine doesn't answer; safe to retry
├── RemoteUnavailable      5    the checkpoint remote doesn't answer, or refuses; safe to retry
├── ChannelLost            5    the container or its command channel is gone; undo the step and open a new one
├── ImageUnusable          4    the image can't be started as a sandbox
│   └── ImageMissing            the engine doesn't have the image
├── PolicyRefused          6    a rule of the policy can't be had, or was broken; the rule is named
├── SetupFailed            1    a set-up command failed or took too long; the command and its last words are named
└── WorkspaceError         1    the workspace can't be made, read or written
    ├── QuotaFull         7    the run's checkpoints take more of the store than it may
    ├── DiskFull                the host's disk is full
    │   └── WorkspaceFull  7    what has to be on a run's own disk doesn't fit, or it took more than it may
    ├── FileProblem             a file inside can't be read or written as asked
    ├── NotARepository     3    the source is no git repository
    └── RevisionNotFound   3    the repository doesn't have this revision
"""

from __future__ import annotations


class SandboxError(Exception):
    """An error that is shown to a person in three lines: error, cause, try.

    `message` says what failed, `cause` why (may be empty), `hint` what to type or do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, cause: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.hint = hint

    @property
    def words(self) -> str:
        """What failed and why, as one sentence."""
        return f"{self.message}: {self.cause}" if self.cause else self.message


class EngineUnavailable(SandboxError):  # noqa: N818  # States what is so; the root carries the suffix.
    """The container engine doesn't answer."""

    exit_code = 5


class RemoteUnavailable(SandboxError):  # noqa: N818  # As above.
    """The checkpoint remote doesn't answer, doesn't take what it was given, or serves something else."""

    exit_code = 5


class ChannelLost(SandboxError):  # noqa: N818  # As above.
    """The container, or the channel to the runner inside it, is gone: what the last command did is unknown."""

    exit_code = 5


class ImageUnusable(SandboxError):  # noqa: N818  # As above.
    """The image can't be started as a sandbox: no python3, no bash, another architecture."""

    exit_code = 4


class ImageMissing(ImageUnusable):
    """The engine doesn't have the image."""


class PolicyRefused(SandboxError):  # noqa: N818  # As above.
    """A rule of the policy can't be enforced by this engine, or what was asked is against it. `rule` names it."""

    exit_code = 6

    def __init__(self, message: str, *, rule: str, cause: str = "", hint: str = "") -> None:
        super().__init__(message, cause=cause, hint=hint)
        self.rule = rule


class SetupFailed(SandboxError):  # noqa: N818  # As above.
    """A set-up command failed: nothing of it stays. `exit_code_inside` is None where it took too long or was killed.

    `log` is what the commands printed until then, shortened.
    """

    def __init__(self, message: str, *, command: str, exit_code_inside: int | None, log: str, cause: str) -> None:
        super().__init__(message, cause=cause, hint="mend the set-up commands, then start the run again")
        self.command = command
        self.exit_code_inside = exit_code_inside
        self.log = log


class WorkspaceError(SandboxError):
    """The workspace can't be made, read or written."""


class DiskFull(WorkspaceError):  # noqa: N818  # As above.
    """The host's disk is full. Checkpoints that were committed stay."""


class QuotaFull(WorkspaceError):  # noqa: N818  # As above.
    """A run's checkpoints take more of the store than it may. Those that were committed stay."""

    exit_code = 7


class WorkspaceFull(DiskFull):
    """What has to be there doesn't fit on the run's own disk: its size is the limit `workspace_mb`.

    Without a disk of its own, it takes more than that. Checkpoints that were committed stay.
    """

    exit_code = 7


class FileProblem(WorkspaceError):  # noqa: N818  # As above.
    """A file inside the sandbox can't be read or written as asked: it's missing, a directory, too large, refused."""


class NotARepository(WorkspaceError):  # noqa: N818  # As above.
    """The source is no git repository."""

    exit_code = 3


class RevisionNotFound(WorkspaceError):  # noqa: N818  # As above.
    """The repository doesn't have this revision."""

    exit_code = 3
