"""What package managers write down of what they installed: bytes in, names and versions out.

All of it was written inside a sandbox: it is read by patterns that can't blow up, bounded, and believed by nobody.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sandbox.git import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 4_000_000
"""Of a lock file or a status file; what is behind that isn't read."""
METADATA_BYTES = 16_384
PACKAGE_JSON_BYTES = 262_144
MOST_PACKAGES = 20_000
_LONGEST = 200
_HEADER = re.compile(rb"^(Name|Version):[ \t]*([^\r\n]{1,200})", re.MULTILINE)
_DIST_INFO = re.compile(r"(.{1,200}?)-([^-]{1,100})\.dist-info")
_CRATE = re.compile(rb'^\[\[package\]\]\nname = "([^"\n]{1,200})"\nversion = "([^"\n]{1,200})"', re.MULTILINE)
_MODULE = re.compile(rb"^([^\s]{1,300}) (v[^\s/]{1,200}) h1:", re.MULTILINE)
_INSTALLER = re.compile(rb"[a-z][a-z0-9-]{0,19}")
_SEPARATORS = re.compile(r"[-_.]+")


class Package(NamedTuple):
    """Something installed: by what, where (a directory or a lock file of the workspace), its name and version.

    All of it is fit to be shown and stored.
    """

    manager: str
    place: str
    name: str
    version: str

    @property
    def key(self) -> tuple[str, str]:
        """What it takes the place of: where it is, and its name as the manager compares names."""
        python = self.manager not in {"npm", "cargo", "go", "dpkg"}
        return self.place, _SEPARATORS.sub("-", self.name).lower() if python else self.name


def python(place: bytes, folder: bytes, metadata: bytes, installer: bytes) -> Package:
    """Return the package of a `NAME-VERSION.dist-info`; without metadata the folder's own name tells."""
    told = {name: value.strip() for name, value in _HEADER.findall(metadata.split(b"\n\n", 1)[0])}
    name, version = dist_info(folder) or (_clean(folder), "")
    by = installer.strip()
    return Package(
        by.decode() if _INSTALLER.fullmatch(by) else "pip",
        printable(place),
        _clean(told[b"Name"]) if b"Name" in told else name,
        _clean(told[b"Version"]) if b"Version" in told else version,
    )


def dist_info(folder: bytes) -> tuple[str, str] | None:
    """Return name and version as a dist-info folder is called."""
    found = _DIST_INFO.fullmatch(printable(folder))
    return (found[1], found[2]) if found else None


def npm(place: bytes, folder: bytes, package_json: bytes) -> Package | None:
    """Return the package of a `package.json` below node_modules; None for what is no package."""
    try:
        told: Any = json.loads(package_json)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not isinstance(version := told.get("version"), str):
        return None
    name = told.get("name")
    return Package("npm", printable(place), _clean(name if isinstance(name, str) and name else folder), _clean(version))


def cargo(place: bytes, lock: bytes) -> Iterator[Package]:
    """Yield the crates of a Cargo.lock."""
    return _all("cargo", place, _CRATE, lock)


def go(place: bytes, sums: bytes) -> Iterator[Package]:
    """Yield the modules of a go.sum whose content it vouches for, not those of which only the go.mod was read."""
    return _all("go", place, _MODULE, sums)


def dpkg(place: bytes, status: bytes) -> Iterator[Package]:
    """Yield the installed packages of a dpkg status file."""
    for number, stanza in enumerate(status[:MOST_BYTES].split(b"\n\n")):
        if number >= MOST_PACKAGES:
            return
        told = dict(line.split(b": ", 1) for line in stanza.split(b"\n") if b": " in line and not line.startswith(b" "))
        if told.get(b"Status", b"").endswith(b" installed") and b"Package" in told:
            yield Package("dpkg", printable(place), _clean(told[b"Package"]), _clean(told.get(b"Version", b"")))


def _all(manager: str, place: bytes, pattern: re.Pattern[bytes], data: bytes) -> Iterator[Package]:
    for number, found in enumerate(pattern.finditer(data[:MOST_BYTES].replace(b"\r\n", b"\n"))):
        if number >= MOST_PACKAGES:
            return
        yield Package(manager, printable(place), _clean(found[1]), _clean(found[2]))


def _clean(text: bytes | str) -> str:
    return printable(text if isinstance(text, str) else text.decode("utf-8", "surrogateescape"))[:_LONGEST]
