"""The image of compose.yaml's services: DreamDock itself, on its own base image, from wheels that this host fetches."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.stack.process import run_told
from sandbox import engine, images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.stack.report import Reporter

NAME: Final = "dreamdock/service:local"
"""What compose.yaml names; never in a registry."""
RECIPE_LABEL: Final = "dreamdock.recipe"
_RECIPE: Final = Path("images/service")
_LOCK: Final = _RECIPE / "requirements.lock"
_SOURCES: Final = ("pyproject.toml", "README.md", "LICENSE", "orchestrator", "sandbox")
_OLDEST_GLIBC: Final = 17  # Of the tags manylinux_2_N; what is older has names of its own, and nobody builds for it.
_BUILD_SECONDS: Final = 600.0
_AGAIN: Final = "make compose"
# What the image can run: major and minor version of Python, of glibc, and the architecture.
_ASK: Final = (
    "import os, sys; print(*sys.version_info[:2], os.confstr('CS_GNU_LIBC_VERSION').split('.')[-1], os.uname().machine)"
)


def ensure_service_image(root: Path, base: str, reporter: Reporter, *, scratch: Path) -> str:
    """Return the image's name, after building it if what it is made from has changed.

    `root` is the project's folder, `base` the base image, `scratch` takes the wheels for that time.
    Raises UnavailableError where they can't be fetched, and the errors of `images.build`.
    """
    digest = recipe(root, base)
    if images.label(NAME, RECIPE_LABEL) == digest:
        return NAME
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        reporter.step("building the image of the services (again only when DreamDock has changed)") as detail,
        tempfile.TemporaryDirectory(dir=scratch) as folder,
    ):
        context = Path(folder)
        shutil.copy(root / _RECIPE / "Dockerfile", context)
        shutil.copytree(images.recipe(), context / "base")
        _fetch(root / _LOCK, base, context / "wheels", detail)
        _pack(root, context, detail)
        client = engine.client(timeout_s=_BUILD_SECONDS)
        labels = {RECIPE_LABEL: digest}
        images.build(client, context, NAME, base=base, report=detail, network="none", labels=labels)
    return NAME


def recipe(root: Path, base: str) -> str:
    """Return a hash of everything that the image is made from."""
    digest = hashlib.sha256(base.encode())
    for file in _files(root):
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for name in (*_SOURCES, str(_RECIPE)):
        found = sorted((root / name).rglob("*")) if (root / name).is_dir() else [root / name]
        yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)


def _fetch(lock: Path, base: str, wheels: Path, detail: Callable[[str], None]) -> None:
    """Download the locked wheels for the base image's Python, whichever this host has."""
    major, minor, glibc, machine = images.output(base, ("python3", "-c", _ASK)).split()
    tags = [f"manylinux_2_{number}" for number in range(_OLDEST_GLIBC, int(glibc) + 1)]
    platforms = [f"--platform={tag}_{machine}" for tag in ("linux", "manylinux2014", *tags)]
    wanted = ("--only-binary=:all:", "--no-deps", "--require-hashes", f"--python-version={major}.{minor}")
    fetch = (*_pip("download"), *wanted, *platforms, f"--dest={wheels}", f"--requirement={lock}")
    run_told(fetch, detail, failed="the wheels of the services' image can't be fetched", hint=_AGAIN)


def _pack(root: Path, context: Path, detail: Callable[[str], None]) -> None:
    """Make the wheel of the project itself, from a copy: setuptools leaves files in the folder that it works on."""
    with tempfile.TemporaryDirectory(dir=context.parent) as folder:
        for name in _SOURCES:
            copy = shutil.copytree if (root / name).is_dir() else shutil.copy
            copy(root / name, Path(folder) / name)
        pack = (*_pip("wheel"), "--no-deps", "--no-build-isolation", f"--wheel-dir={context / 'wheels'}", folder)
        run_told(pack, detail, failed="DreamDock's own wheel can't be made", hint=_AGAIN)


def _pip(command: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", command)
