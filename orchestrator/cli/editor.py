"""A person's editor, as git calls it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from orchestrator.errors import DreamdockError, UsageError


def edited(text: str, name: str) -> Path:
    """Let a person edit text in a file of its own, and return that file. Whoever calls it deletes it, or names it.

    Raises UsageError where no editor is set; no terminal program is begun that nobody may see. Raises DreamdockError
    where the editor fails.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")  # A person's choice for all programs, not of ours.
    if not editor:
        hint = "export EDITOR=vi; or say what to change: --title, --text, --status"
        raise UsageError("there is no editor", cause="neither VISUAL nor EDITOR is set", hint=hint)
    descriptor, path = tempfile.mkstemp(prefix=f"dreamdock-{name}-", suffix=".md")
    file = Path(path)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    ended = subprocess.run(["sh", "-c", f'{editor} "$@"', editor, path], check=False)
    if ended.returncode:
        changed = file.read_text(encoding="utf-8", errors="replace") != text
        if not changed:
            file.unlink()
        cause = f"{editor} ended with {ended.returncode}"
        raise DreamdockError(
            "nothing was changed: the editor failed", cause=cause, hint=f"the text is in {file}" if changed else ""
        )
    return file
