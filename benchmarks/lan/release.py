"""A newer version of DreamDock beside the one that is installed: a copy of its source that calls itself so."""

from __future__ import annotations

import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

VERSION: Final = "0.99.0"
_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_PARTS: Final = ("orchestrator", "sandbox", "images")


def newer(folder: Path) -> dict[str, str]:
    """Return the environment in which `dreamdock` is the newer version, whose source is put into a folder."""
    if not folder.is_dir():
        for part in _PARTS:
            shutil.copytree(_ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        about = folder / f"dreamdock-{VERSION}.dist-info"
        about.mkdir()
        told = distribution("dreamdock").read_text("METADATA") or ""
        lines = [f"Version: {VERSION}" if line.startswith("Version:") else line for line in told.splitlines()]
        (about / "METADATA").write_text("\n".join(lines))
    return {"PYTHONPATH": str(folder)}
