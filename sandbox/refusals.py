"""What an engine's refusals mean: the SDK's errors and the engine's warnings in the sandbox's own words."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import docker
import requests

from sandbox import images
from sandbox.errors import (
    ChannelLost,
    DiskFull,
    EngineUnavailable,
    ImageUnusable,
    PolicyRefused,
    SandboxError,
    WorkspaceError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_FOUND = 404
_CONFLICT = 409  # Paused already, or not; being removed.
PASSING = ("container state improper", "is not running")
"""What is said of a container that ends between the engine's look and its act."""

_RULES = ("swap", "memory", "cpu", "pids", "seccomp", "no-new-privileges", "capabilit", "ulimit", "tmpfs", "sysctl")


def refuse_warnings(warnings: list[str], image: str) -> None:
    """Refuse an engine that can't enforce a limit: it makes the container without it, and only warns."""
    for warning in warnings:
        if "platform" in warning:
            raise ImageUnusable(f"the image {image} is for another architecture", cause=warning)
        rule = _rule(warning)
        raise PolicyRefused(
            f"the engine can't enforce a rule of the policy: {rule}",
            rule=rule,
            cause=warning,
            hint="enable the kernel's cgroup controller for it, for example with swapaccount=1 on its command line",
        )


@contextlib.contextmanager
def translated(image: str = "") -> Iterator[None]:
    """Raise the sandbox's errors in place of the SDK's; `image` is the one that was asked for.

    EngineUnavailable, ImageMissing, ImageUnusable, PolicyRefused, DiskFull, WorkspaceError, ChannelLost.
    """
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise images.missing(image) from error
    except docker.errors.APIError as error:
        raise _meaning(error, image) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EngineUnavailable(
            "the container engine doesn't answer", cause=str(error)[:200], hint="dreamdock up"
        ) from error


def _meaning(error: Any, image: str) -> SandboxError:
    text = str(error.explanation or error)
    lower = text.lower()
    if "no space left" in lower:
        return DiskFull("the engine's disk is full", cause=text, hint="free some space: docker system df shows where")
    if any(sign in lower for sign in ("exec format", "executable file not found", "python3", "/bin/sh")):
        return ImageUnusable(
            f"the image {image} can't be started", cause=text, hint="use an image with python3 and bash"
        )
    if "bind source" in lower or "not a shared or slave mount" in lower:
        return WorkspaceError("the engine can't mount the workspace", cause=text, hint="dreamdock doctor")
    if error.status_code == _CONFLICT:
        return ChannelLost("somebody else does something with the sandbox", cause=text, hint="leave it to its worker")
    if error.status_code == NOT_FOUND or any(sign in lower for sign in PASSING):
        return ChannelLost("the sandbox is gone", cause=text, hint="run the step again: its changes are undone")
    rule = _rule(text)
    return PolicyRefused(f"the engine refuses a rule of the policy: {rule}", rule=rule, cause=text)


def has_no_python(text: str) -> bool:
    """Whether an engine says that there's no program to run the runner."""
    return "python3" in text and any(sign in text for sign in ("not found", "no such file"))


def _rule(text: str) -> str:
    return next((word for word in _RULES if word in text.lower()), "container settings")
