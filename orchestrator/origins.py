"""Where each setting comes from, for `dreamdock config show --origin`."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.settings import SYSTEM_FILE, user_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchestrator.settings import Settings

_PASSWORD: Final = re.compile(r"(?<=://)([^:@]*):.*@|(?<=[?&]password)(=)[^&]*")
"""Up to the last @: a password that wasn't written as it has to be is one all the same."""


class Origin(NamedTuple):
    """A setting's value, as JSON has it, and where it comes from: a variable, a file, or `default`."""

    value: Any
    origin: str


def origins(settings: Settings, environ: Mapping[str, str]) -> dict[str, Origin]:
    """Return every setting by its dotted name. Passwords in addresses are replaced by stars."""
    files = [(str(path), _read(path)) for path in (user_file(), SYSTEM_FILE)]
    told = {}
    for path, value in _leaves(settings.model_dump(mode="json")):
        shown = _PASSWORD.sub(_stars, value) if isinstance(value, str) else value
        told[".".join(path)] = Origin(shown, _origin(path, environ, files))
    return told


def _stars(found: re.Match[str]) -> str:
    return "=***" if found[2] else f"{found[1]}:***@"


def _origin(path: tuple[str, ...], environ: Mapping[str, str], files: list[tuple[str, dict[str, Any]]]) -> str:
    names = [f"DREAMDOCK_{'__'.join(path[:depth]).upper()}" for depth in range(len(path), 0, -1)]
    variable = next((name for name in names if environ.get(name)), None)
    if variable is not None:
        return variable
    return next((name for name, content in files if _has(content, path)), "default")


def _has(content: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(content, dict) or key not in content:
            return False
        content = content[key]
    return True


def _leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _read(path: Path) -> dict[str, Any]:
    """Return a settings file's content; one that can't be read was refused before."""
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
