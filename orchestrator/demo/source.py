"""Fetching a release's source archive from the package index, by the index's standard Simple API.

Nothing of the package is run on this machine: the archive is checked against its pinned hash and unpacked.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

from orchestrator.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_JSON: Final = "application/vnd.pypi.simple.v1+json"
_MOST_BYTES: Final = 50_000_000
_SECONDS: Final = 20


def index_url(environ: Mapping[str, str]) -> str:
    """Return the package index: `PIP_INDEX_URL`, else pip's own default."""
    if url := environ.get("PIP_INDEX_URL"):
        return url.rstrip("/")
    from pip._internal.models.index import PyPI  # noqa: PLC0415  # pip tells its default nowhere else.

    return str(PyPI.simple_url)


def fetch(project: str, filename: str, sha256: str, cache: Path) -> Path:
    """Return the path of the archive, from the cache or the index. Raises UnavailableError."""
    path = cache / filename
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return path
    page_url = f"{index_url(os.environ)}/{project}/"
    try:
        page: dict[str, Any] = json.loads(_get(page_url, _JSON))
        found = next(file for file in page["files"] if file["filename"] == filename)
        data = _get(urljoin(page_url, found["url"]), "*/*")
    except (URLError, OSError, ValueError, KeyError, StopIteration) as error:
        cause = str(error) or f"it doesn't list {filename}"
        raise UnavailableError("the package index can't be reached", cause=cause, hint="try again later") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UnavailableError(f"{filename} isn't what it was", cause="its SHA-256 differs", hint="try again later")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
        file.write(data)
    Path(file.name).replace(path)
    return path


def unpack(archive: Path, into: Path) -> None:
    """Unpack the regular files of a source archive's one folder as `into`.

    Raises UnavailableError for a path that leads out of it. (tarfile's own filters came with Python 3.11.4.)
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            inside = PurePosixPath(member.name).parts[1:]
            content = tar.extractfile(member) if member.isreg() and inside else None
            if content is None:
                continue
            if ".." in inside:
                raise UnavailableError(f"{archive.name} isn't a source archive", cause=f"it holds {member.name!r}")
            path = into.joinpath(*inside)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


def _get(url: str, accept: str) -> bytes:
    if not url.startswith(("https://", "http://", "file://")):
        raise ValueError(f"not a web address: {url}")
    with urlopen(Request(url, headers={"Accept": accept}), timeout=_SECONDS) as answer:  # noqa: S310  # Checked above.
        data: bytes = answer.read(_MOST_BYTES)
    return data
