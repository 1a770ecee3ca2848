"""An engine's data with the base image in it, made once and copied for each host."""

from __future__ import annotations

import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Final

import docker

from benchmarks.lan.host import Host
from sandbox.images import base_image

if TYPE_CHECKING:
    from pathlib import Path

_LAYERS: Final = "overlay2"


def prepare(folder: Path, mark: str) -> Path:
    """Return the data of an engine that has the base image, from this machine's. It takes some ten seconds."""
    host = Host(folder / "seed", mark, number=0, environ={})
    host.power_on()
    try:
        host.wait_for_engine()
        with closing(docker.from_env(timeout=300)) as ours, closing(host.engine(timeout_s=300)) as theirs:
            theirs.images.load(ours.images.get(base_image()).save(named=base_image()))
        host.end_engine()
    finally:
        host.power_off()
    return host.engine_data


def copy(prepared: Path, data: Path) -> None:
    """Make another engine's data of it; the layers, which no engine writes to, are shared."""
    data.mkdir(parents=True)
    for part in prepared.iterdir():
        how = ("-al",) if part.name == _LAYERS else ("-a", "--reflink=auto")
        subprocess.run(["cp", *how, str(part), str(data)], check=True)
