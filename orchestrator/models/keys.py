"""API keys: from an environment variable or from a file that one names. Nothing else in DreamDock reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST: Final = 8192  # No provider's key comes near; a file that is longer is something else.


def has_key(variable: str, environ: Mapping[str, str]) -> bool:
    """Say whether a key is set in VARIABLE or VARIABLE_FILE, without reading it; no variable, no key."""
    return bool(variable and (environ.get(variable, "").strip() or environ.get(f"{variable}_FILE", "").strip()))


def read_key(variable: str, environ: Mapping[str, str]) -> SecretStr | None:
    """Return the key in VARIABLE, else in the file that VARIABLE_FILE names; None where neither is set.

    Raises ConfigError where the file can't be read or what is there can't be a key. The key is in no message.
    """
    if not has_key(variable, environ):
        return None
    text, where = environ.get(variable, "").strip(), variable
    if not text and (path := environ.get(f"{variable}_FILE", "").strip()):
        text, where = _read(Path(path), variable), f"the file in {variable}_FILE"
    if not text:
        return None
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable() or " " in text:
        cause = f"{where} holds blanks, control or non-ASCII characters, or more than {_LONGEST} of them"
        raise ConfigError(f"{variable} is not a key", cause=cause, hint=f"export {variable}=… once more")
    return SecretStr(text)


def _read(path: Path, variable: str) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST + 2).strip()
    except OSError as error:
        cause = f"{path}: {error.strerror}"
        hint = f"mend {variable}_FILE, or export {variable}=…"
        raise ConfigError(f"the key file of {variable} can't be read", cause=cause, hint=hint) from error
