"""A root file system made with mmdebstrap from the Debian (or Ubuntu) mirror that the host's apt is configured for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import aptsources
from sandbox.errors import ImageMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROGRAM = "mmdebstrap"
_FORWARDED = re.compile(r'^Acquire::(Check-Valid-Until|Check-Date|https?::Proxy) "(.+)";$')
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_KEPT_LINES = 3


def have_program() -> bool:
    """Whether mmdebstrap is installed."""
    return shutil.which(PROGRAM) is not None


def make(target: Path, packages: Sequence[str], report: Callable[[str], None], *, etc: Path = Path("/etc")) -> None:
    """Write a tar file of a minimal system with `packages`. On failure `target` may be left, incomplete.

    Raises ImageMissing where the host isn't Debian's kin, or the tool fails.
    """
    codename, sources = host_sources(etc)
    listing = target.with_suffix(".list")
    listing.write_text("".join(f"{source.line}\n" for source in sources))
    argv = [PROGRAM, "--variant=minbase", "--mode=auto", f"--include={','.join(packages)}"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    options, proxies = _apt_settings()
    argv += [f"--aptopt={option}" for option in options]
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    try:
        with subprocess.Popen(
            [*argv, codename, str(target), str(listing)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **proxies},
        ) as process:
            for line in process.stdout or ():
                last.append(line.strip())
                report(line)
    except OSError as error:
        raise _failed(str(error)) from error
    finally:
        listing.unlink(missing_ok=True)
    if process.returncode:
        raise _failed(" | ".join(last))


def host_sources(etc: Path) -> tuple[str, list[aptsources.Source]]:
    """Return the host's codename and the sources of its distribution. Raises ImageMissing where there are none."""
    release = etc / "os-release"
    found = re.search(
        r'^VERSION_CODENAME="?([a-z]+)"?$', release.read_text() if release.is_file() else "", re.MULTILINE
    )
    codename = found[1] if found else ""
    files = [etc / "apt/sources.list", *sorted((etc / "apt/sources.list.d").glob("*"))]
    parsed: list[aptsources.Source] = []
    for file in files:
        if file.is_file() and file.suffix in {".list", ".sources"}:
            parsed += aptsources.parse(file.read_text(errors="replace"), deb822=file.suffix == ".sources")
    sources = [_resolved(source) for source in aptsources.of_distribution(parsed, codename)]
    if not codename or not sources:
        raise ImageMissing(
            "the base image can't be built here",
            cause="no image registry can be reached, and the host's apt has no Debian or Ubuntu sources to build from",
            hint="docker pull debian:bookworm-slim, then the same command again",
        )
    return codename, sources


def _resolved(source: aptsources.Source) -> aptsources.Source:
    """Follow `mirror+file:`, as on cloud images: the list lies on the host, so its first mirror stands for it."""
    if not source.uri.startswith("mirror+file:"):
        return source
    listed = Path(source.uri.removeprefix("mirror+file:")).read_text().split()
    return aptsources.Source(listed[0], source.suite, source.components, source.options)


def _apt_settings() -> tuple[list[str], dict[str, str]]:
    """Return what the host's apt says of checks, as options of the new system, and proxies.

    Proxies may hold secrets, so they go into the tool's environment and not into the image.
    """
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False).stdout
    options: list[str] = []
    proxies: dict[str, str] = {}
    for name, value in (found.groups() for line in dump.splitlines() if (found := _FORWARDED.match(line))):
        if name.endswith("Proxy"):
            proxies[f"{name.split('::')[0]}_proxy"] = value
        else:
            options.append(f'Acquire::{name} "{value}"')
    return options, proxies


def _failed(cause: str) -> ImageMissing:
    hint = "apt-get update must work on this host; or docker pull debian:bookworm-slim, then the same command again"
    return ImageMissing("the root file system of the base image can't be made", cause=cause, hint=hint)
