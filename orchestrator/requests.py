"""What a person asks for, before it is resolved to a run's specification."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Final

from pydantic import Field, ValidationError

from orchestrator.dialogue import Value
from orchestrator.errors import ConfigError, NotFoundError
from orchestrator.runs import Priority, Requires
from orchestrator.settings import Judge, reasons

if TYPE_CHECKING:
    from pathlib import Path


_LONGEST: Final = 1_000_000  # Characters; a longer file is no spec, and is refused where it is cut.


class RunRequest(Value):
    """A run as asked for: by flags, or by a spec file with the same names. Empty means: as the settings say."""

    task: str = ""
    repo: str = "."
    rev: str = "HEAD"
    dirty: bool = False
    model: str | None = None
    base_url: str = ""
    price: str = ""
    fallback: str | None = None
    judge: Judge | None = None
    accept: str | None = None
    accept_origin: str = Field("flag", exclude=True)
    setup: tuple[str, ...] | None = None
    recall: int | None = Field(None, ge=0, le=50_000)
    image: str | None = None
    build: str = ""
    priority: Priority = Priority.NORMAL
    requires: Requires = Requires()
    limits: dict[str, float] = Field(default_factory=dict)
    sandbox: dict[str, float] = Field(default_factory=dict)


def read_spec_file(path: Path) -> RunRequest:
    """Read a TOML spec file. Raises NotFoundError, or ConfigError for an unknown key or a wrong value."""
    try:
        with path.open(encoding="utf-8") as file:
            fields = tomllib.loads(file.read(_LONGEST))
        return RunRequest.model_validate(fields | {"accept_origin": "spec file"})
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}", hint="dreamdock run --help") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} can't be read", cause=str(error), hint="it has to be TOML") from error
    except ValidationError as error:
        known = ", ".join(name for name in RunRequest.model_fields if name != "accept_origin")
        raise ConfigError(f"{path} is not a valid spec", cause=reasons(error), hint=f"it may have {known}") from error
