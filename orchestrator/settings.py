"""Every setting: typed, documented where it is declared, unknown keys refused.

Order: flags > `DREAMDOCK_*` > user file > system file > defaults.
A project's `dreamdock.toml` isn't in that chain: it comes from a stranger, so it may name the acceptance command and
the set-up commands and narrow limits, and nothing else (`ProjectFile`).
Secrets are not settings: model keys come from the environment or files, and are read by `orchestrator.models` alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from platformdirs import PlatformDirs
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from orchestrator.approvals import Approvals
from orchestrator.errors import ConfigError
from orchestrator.shares import QueueSettings
from sandbox.spec import Limits, SetupSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DIRS = PlatformDirs("dreamdock", appauthor=False)
SYSTEM_FILE = Path("/etc/dreamdock/config.toml")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Command = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]
"""A shell command line."""


class RunLimits(_Frozen):
    """What ends a run as `limit` or `timed_out`, with its work kept."""

    steps: int = Field(200, ge=1, le=10_000)
    """Model replies."""
    tokens: int = Field(1_000_000_000, ge=1)
    """Tokens of all requests and replies together, those from a cache as well, over all attempts."""
    money_usd: float = Field(5.0, gt=0, allow_inf_nan=False)
    """US dollars, over all attempts."""
    seconds: int = Field(6 * 3600, ge=1)
    """Wall time from the first claim."""
    submits: int = Field(5, ge=1, le=100)
    """Submissions that may be refused, because something shows that the task isn't done, until the run has failed."""
    children: int = Field(16, ge=0, le=1000)
    """Sub-agents, in all; 0: none."""
    depth: int = Field(1, ge=0, le=3)
    """How deep: 1 is sub-agents that have none of their own."""
    candidates: int = Field(1, ge=1, le=8)
    """Replies that are tried side by side for a step that is hard; 1 is none beside the one."""


Commands = Annotated[tuple[Command, ...], Field(max_length=50)]
"""Shell command lines, run one after the other."""

Labels = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")], ...], Field(max_length=32)
]
"""Words that workers have and runs may require."""

Judge = Annotated[str, StringConstraints(pattern=r"^(auto|off|[^/\s]+/\S+)$", max_length=200)]
SignerKey = Annotated[str, StringConstraints(pattern=r"^ed25519:[A-Za-z0-9+/]{43}=$")]
"""A public key, as `dreamdock audit --show-key` prints it."""

_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_ADDRESS_WITH_LOGIN: Final = re.compile(r"://[^/@\s]*@")


class SetupSettings(_Frozen):
    """What a run's set-up may use: its commands run before the run, in a container without any secret."""

    network: Literal["off", "on"] = "off"
    """Whether that container has a network. Its commands may come from a repository: they reach what this host does."""
    seconds: int = Field(900, ge=1)
    """Longest time for all commands of one set-up together."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables for the commands, for example PIP_INDEX_URL; no secrets, a stranger's command can read them."""
    ca_bundle: Path | None = None
    """File with the certificates that the commands trust, where a proxy or registry has its own; they get a copy."""

    @field_validator("environment")
    @classmethod
    def _no_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in text:
                raise ValueError(f"{name!r} can't be a variable")
            if _SECRET.search(name) or _ADDRESS_WITH_LOGIN.search(text):
                raise ValueError(f"{name} would take a secret to commands that may come from a repository")
        return value

    def container(
        self, commands: Sequence[str], *, image: str, limits: Limits, labels: Mapping[str, str] | None = None
    ) -> SetupSpec:
        """Return the set-up container for these commands."""
        return SetupSpec(
            image=image,
            limits=limits,
            labels=dict(labels or {}),
            commands=tuple(commands),
            network=self.network == "on",
            seconds=self.seconds,
            environment=self.environment,
            ca_bundle=self.ca_bundle,
        )


class LibrarySettings(_Frozen):
    """Where long-term memory lies, and how much of it runs are given."""

    dir: Path | None = None
    """Directory of the library, a git repository; without it `library` in the state directory."""
    remote: str | None = None
    """Git URL that the library is shared through, with other hosts and teams: pulled before, pushed after a write."""
    recall_tokens: int = Field(2_000, ge=0, le=50_000)
    """Tokens of long-term memory that a run is given at its start, and by each search of its own; 0: none."""


class DreamSettings(_Frozen):
    """What the dream worker does with the library, and how often."""

    days: float = Field(7.0, ge=0, le=365)
    """How often each repository's library is gone through, in days; 0: only when somebody asks for it."""
    commands: Literal["on", "off"] = "on"
    """Whether commands that the library knows are run again, in a sealed container at the repository's head."""
    seconds: int = Field(3600, ge=10)
    """Longest time of one dream."""
    keep: int = Field(200, ge=10, le=100_000)
    """Entries of each kind that stay in view per repository; what is beyond is archived, the least useful first."""
    model: str | None = None
    """Model that words what was learned, as FAMILY/NAME; without it the dream asks none."""
    money_usd: float = Field(0.5, ge=0, allow_inf_nan=False)
    """US dollars that one dream may cost."""


class ProjectFile(_Frozen):
    """`dreamdock.toml` of a repository, as committed at the base: it may narrow, never widen."""

    accept: Command | None = None
    setup: Commands = ()
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
    """Address of your Redis: `redis://`, `rediss://`, `unix://` or `redis+sentinel://`; without it one is started."""
    redis_password_file: Path | None = None
    """File with the password of `redis_url`'s user, where the address doesn't have it."""
    checkpoint_remote: str | None = None
    """Git URL that checkpoints are pushed to, so that a run goes on, and is looked into, on any host."""
    state_dir: Path = Field(default_factory=lambda: Path(_DIRS.user_state_dir))
    """What lasts: repositories, checkpoints, Redis's files, logs."""
    runtime_dir: Path = Field(default_factory=_runtime_dir)
    """What doesn't: sockets, pid files."""
    workers: int = Field(2, ge=1, le=64)
    """Workers that `up` starts on this machine; each carries one run at a time."""
    warm: int = Field(1, ge=0, le=16)
    """Sandboxes that each worker keeps started ahead, of each image and limits it was asked for last; 0: none."""
    labels: Labels = ()
    """What this host's workers have that runs may require, in words of yours: `ssd`, `eu`."""
    gpus: int = Field(0, ge=0, le=64)
    """Graphics processors that this host's workers have, for runs that require some; sandboxes aren't given any."""
    model: str | None = None
    """Default model, as FAMILY/NAME; without it the first family whose key is set, else the scripted model."""
    fallback: str | None = None
    """Model that is asked, as FAMILY/NAME, once the first can't answer."""
    families: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Model families of your own, or changes to ours; docs/models.md tells their fields."""
    judge: Judge = "auto"
    """Model that rules on what no command can check: FAMILY/NAME; `auto`: the run's own, where it matters; `off`."""
    image: str | None = None
    """Image of the sandboxes; without it DreamDock's own base image."""
    lease_seconds: float = Field(6.0, ge=1.0, le=600.0)
    """How long an attempt owns its run without renewing; a dead worker's run is resumed after that."""
    archive_days: float = Field(1.0, ge=0)
    """How long a run is over before its journal is put together: a third of the memory, and read as before."""
    journal_days: float = Field(0.0, ge=0)
    """How long a run is over before all that Redis has of it is deleted, journal and patches; 0: never."""
    limits: RunLimits = RunLimits()
    """Limits of each run where no flag says otherwise; a repository's file may lower them."""
    sandbox: Limits = Limits()
    """Limits of each sandbox; on a worker they cap what a run's record asks for."""
    queue: QueueSettings = QueueSettings()
    """Shares, limits and budgets of users and teams; what the keepers' settings say counts."""
    approvals: Approvals = Approvals()
    """What needs a person's word; on a worker also for runs that were submitted with less."""
    library: LibrarySettings = LibrarySettings()
    """Long-term memory: where it lies, and how much of it runs are given."""
    dream: DreamSettings = DreamSettings()
    """How long-term memory is kept true and small."""
    setup: SetupSettings = SetupSettings()
    """What the set-up of runs may use on this worker."""
    signers: dict[str, SignerKey] = Field(default_factory=dict)
    """Public keys whose signatures under journals count here, by a name of yours; this machine's own always does."""
    allow_weaker_repo_build: bool = False
    """Whether runs may have their image built from a Dockerfile of the repository, outside the sandbox's policy."""

    cache_gb: float = Field(20.0, ge=0, allow_inf_nan=False)
    """What cached checkouts may take on disk in GB, and what set-up made as much again; those in use stay."""
    store_gb: float = Field(50.0, gt=0, allow_inf_nan=False)
    """What repositories and checkpoints may take on disk in GB; beyond it no new run is taken, others go on."""
    retention_days: float = Field(30.0, ge=1, le=36_500)
    """How long after a run's end its checkpoints are kept: to rewind, fork, and diff its steps."""

    @property
    def library_dir(self) -> Path:
        """Return where the library lies."""
        return self.library.dir or self.state_dir / "library"

    @property
    def stack_id(self) -> str:
        """A neutral id of this machine's state directory: which containers of the engine are ours."""
        return hashlib.sha256(str(self.state_dir.resolve()).encode()).hexdigest()[:12]

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
    except (tomllib.TOMLDecodeError, OSError, SettingsError) as error:
        raise ConfigError("the settings can't be read", cause=str(error), hint=f"mend {user_file()}") from error


_M = TypeVar("_M", RunLimits, Limits)


def changed(limits: _M, asked: Mapping[str, float], *, who: str) -> _M:
    """Return limits with what is asked for put in. Raises ConfigError for an unknown key or an impossible value."""
    unknown = [key for key in asked if key not in type(limits).model_fields]
    if unknown:
        known = ", ".join(type(limits).model_fields)
        raise ConfigError(f"{who} names an unknown limit: {unknown[0]}", cause=f"there are {known}", hint=f"mend {who}")
    try:
        return type(limits).model_validate(limits.model_dump() | dict(asked))
    except ValidationError as error:
        raise ConfigError(f"{who} sets a limit that is not valid", cause=reasons(error), hint=f"mend {who}") from error


def narrowed(limits: _M, asked: Mapping[str, float], *, who: str) -> _M:
    """Return limits lowered to what is asked for; nothing is ever raised. Raises ConfigError as `changed` does."""
    wanted = changed(limits, asked, who=who)
    lower = {key: min(getattr(wanted, key), getattr(limits, key)) for key in asked}
    return changed(limits, lower, who=who)


def parse_project_file(text: str) -> ProjectFile:
    """Read a repository's `dreamdock.toml`. Raises ConfigError."""
    try:
        return ProjectFile.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError, RecursionError) as error:
        cause = reasons(error) if isinstance(error, ValidationError) else str(error)
        hint = "mend dreamdock.toml and commit it; it takes accept, setup, [limits] and [sandbox]"
        raise ConfigError("the repository's dreamdock.toml is not valid", cause=cause, hint=hint) from error


def reasons(error: ValidationError) -> str:
    """Return pydantic's complaints in one line: `key: reason; key: reason`."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors(include_url=False))


def _refuse_unknown_variables() -> None:
    """Refuse a misspelt variable, which would silently do nothing."""
    known = {f"DREAMDOCK_{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith("DREAMDOCK_") and name.split("__")[0] not in known:
            raise ConfigError(f"unknown setting {name}", cause="no setting has that name", hint="dreamdock config show")
