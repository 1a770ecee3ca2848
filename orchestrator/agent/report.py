"""Reports for machines that a command wrote while it ran: `pytest --junitxml=FILE`, `eslint -f json -o FILE`."""

from __future__ import annotations

import posixpath
import re
from math import ceil
from typing import TYPE_CHECKING, Final

from sandbox.errors import WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.open import Sandbox
    from sandbox.spec import CommandResult

_LARGEST: Final = 1024 * 1024
_MOST: Final = 4
_LOOKED_AT: Final = 4_000
_SECONDS: Final = 10.0
# How options name a file differs from tool to tool; that it was written just now tells a report from what was read.
_NAMED: Final = re.compile(r"[^\s'\"=:<>|;&(){}$`*?]{1,300}\.(?:xml|json|jsonl|sarif)(?![\w./-])")
_FRESH: Final = (
    'most=$1; shift; now=$(date +%s); n=0; for file do n=$((n + 1)); [ -f "$file" ] || continue; '
    'then=$(stat -c %Y -- "$file") && [ $((now - then)) -le "$most" ] && echo $n; done; :'
)


def reports(sandbox: Sandbox, command: str, result: CommandResult) -> Iterator[str]:
    """Yield the files of a report's kind that a command's line names and that were written while it ran.

    Files that are too large, or no files, are left out. Commands that name none cost nothing.
    """
    names = dict.fromkeys(_NAMED.findall(command[:_LOOKED_AT]))
    paths = [posixpath.join(result.cwd, name) for name in names][:_MOST]
    if not paths:
        return
    try:
        argv = ["sh", "-c", _FRESH, "sh", str(ceil(result.duration_s) + 1), *paths]
        fresh = sandbox.exec(argv, timeout_s=_SECONDS).output.split()
    except WorkspaceError:
        return
    for number, path in enumerate(paths, start=1):
        if str(number).encode() in fresh:
            try:
                yield sandbox.read(path, limit=_LARGEST).decode("utf-8", "replace")
            except (WorkspaceError, ValueError):
                continue
