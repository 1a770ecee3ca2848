"""Every setting: typed, documented where it is declared, unknown keys refused.

Order: flags > `DREAMDOCK_*` > user file > system file > defaults.
A project's `dreamdock.toml` isn't in that chain: it comes from a stranger, so it may name the acceptance command and
narrow limits, and nothing else (`ProjectFile`).
Secrets are not settings: model keys come from the environment or files, and are read by `orchestrator.models` alone.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from platformdirs import PlatformDirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from orchestrator.errors import ConfigError

_DIRS = PlatformDirs("dreamdock", appauthor=False)
SYSTEM_FILE = Path("/etc/dreamdock/config.toml")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunLimits(_Frozen):
    """What ends a run as `limit` or `timed_out`, with its work kept."""

    steps: int = Field(200, ge=1, le=10_000)
    """Model replies."""
    money_usd: float = Field(5.0, gt=0)
    """US dollars, over all attempts."""
    seconds: int = Field(6 * 3600, ge=1)
    """Wall time from the first claim."""

    def narrowed(self, other: RunLimits) -> RunLimits:
        """Return the lower of both in every field."""
        return RunLimits(**{name: min(getattr(self, name), getattr(other, name)) for name in RunLimits.model_fields})


class SandboxLimits(_Frozen):
    """What a run's container may use."""

    memory_mb: int = Field(2048, ge=64)
    """Memory and swap together, MiB."""
    cpus: float = Field(2.0, gt=0)
    """Processor cores."""
    pids: int = Field(512, ge=16)
    """Processes and threads."""
    tmpfs_mb: int = Field(256, ge=1)
    """Size of /tmp, MiB."""
    command_seconds: int = Field(600, ge=1)
    """Longest time of one command, seconds."""

    def narrowed(self, other: SandboxLimits) -> SandboxLimits:
        """Return the lower of both in every field."""
        fields = SandboxLimits.model_fields
        return SandboxLimits(**{name: min(getattr(self, name), getattr(other, name)) for name in fields})


class ProjectFile(_Frozen):
    """`dreamdock.toml` of a repository, as committed at the base: it may narrow, never widen."""

    accept: str | None = None
    limits: dict[str, float] = Field(default_factory=dict)
    sandbox: dict[str, float] = Field(default_factory=dict)


def _runtime_dir() -> Path:
    """Return the session's runtime directory; where none is set, root's /run, else a folder beside the state."""
    if root := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(root) / "dreamdock"
    return Path("/run/dreamdock") if os.geteuid() == 0 else Path(_DIRS.user_state_dir) / "run"


class Settings(BaseSettings):
    """The settings of this process."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="DREAMDOCK_", env_nested_delimiter="__", env_ignore_empty=True
    )

    redis_url: str | None = None
    """`redis://`, `rediss://` or `unix://` address of your Redis; without it DreamDock starts one for this machine."""
    state_dir: Path = Field(default_factory=lambda: Path(_DIRS.user_state_dir))
    """What lasts: repositories, checkpoints, Redis's files, logs."""
    runtime_dir: Path = Field(default_factory=_runtime_dir)
    """What doesn't: sockets, pid files."""
    workers: int = Field(2, ge=1, le=64)
    """Workers that `up` starts on this machine; each carries one run at a time."""
    model: str | None = None
    """Default model, as FAMILY/NAME; without it the first family whose key is set, else the scripted model."""
    image: str | None = None
    """Image of the sandboxes; without it DreamDock's own base image."""
    lease_seconds: float = Field(6.0, ge=1.0, le=600.0)
    """How long an attempt owns its run without renewing; a dead worker's run is resumed after that."""
    limits: RunLimits = RunLimits()
    """Limits of each run; flags and files may lower them."""
    sandbox: SandboxLimits = SandboxLimits()
    """Limits of each sandbox; on a worker they cap what a run's record asks for."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; there is no .env and no secrets directory."""
        del dotenv_settings, file_secret_settings
        files = (TomlConfigSettingsSource(settings_cls, path) for path in (user_file(), SYSTEM_FILE))
        return (init_settings, env_settings, *files)


def user_file() -> Path:
    """Return the path of the user's settings file."""
    return Path(_DIRS.user_config_dir) / "config.toml"


def load(**flags: Any) -> Settings:
    """Read the settings; flags that are None don't count. Raises ConfigError with the key and the reason."""
    _refuse_unknown_variables()
    try:
        return Settings(**{key: value for key, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(
            "the settings are not valid", cause=reasons(error), hint=f"mend {user_file()} or the environment"
        ) from error
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise ConfigError("a settings file can't be read", cause=str(error), hint=f"mend {user_file()}") from error


def parse_project_file(text: str) -> ProjectFile:
    """Read a repository's `dreamdock.toml`. Raises ConfigError."""
    try:
        return ProjectFile.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        cause = reasons(error) if isinstance(error, ValidationError) else str(error)
        hint = "mend dreamdock.toml and commit it; it takes accept, [limits] and [sandbox]"
        raise ConfigError("the repository's dreamdock.toml is not valid", cause=cause, hint=hint) from error


def reasons(error: ValidationError) -> str:
    """Return pydantic's complaints in one line: `key: reason; key: reason`."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors(include_url=False))


def _refuse_unknown_variables() -> None:
    """Refuse a misspelt variable, which would silently do nothing."""
    known = {f"DREAMDOCK_{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith("DREAMDOCK_") and name.split("__")[0] not in known:
            raise ConfigError(f"unknown setting {name}", cause="no setting has that name", hint="dreamdock run --help")
