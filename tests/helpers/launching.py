"""Containers that are like a sandbox's but for what a test changes on purpose."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from sandbox.attack.check import LIMITS
from sandbox.container import Container, runner_source, seccomp_profile
from sandbox.images import base_image
from sandbox.policy import container_settings
from sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def launched(slot: Path, *, source: str = "", config: dict[str, Any] | None = None, **more: Any) -> Iterator[Container]:
    """Start a container over `slot` by the policy, but for `source`, the runner's text, `config`, and `more`."""
    spec = SandboxSpec(image=base_image(), limits=LIMITS)
    settings = container_settings(
        spec, workspace=slot, runner_source=source or runner_source(), seccomp=seccomp_profile()
    )
    settings["HostConfig"] |= config or {}
    with closing(Container.launch(settings | more, spec)) as container:
        yield container
