"""Text of the kind that agents read, the same every day: ten source files and prose, as this project once had them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
_HEAD: Final = "=== "


def sources() -> dict[str, list[str]]:
    """Return the lines of the source files by name."""
    files: dict[str, list[str]] = {}
    for line in (_HERE / "source.txt").read_text().splitlines():
        if line.startswith(_HEAD):
            name = line.removeprefix(_HEAD)
            files[name] = []
        else:
            files[name].append(line)
    return files


def prose() -> list[str]:
    """Return the prose in lines of at most 100 characters."""
    return (_HERE / "prose.txt").read_text().splitlines()
