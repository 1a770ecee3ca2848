"""Where a Redis is: what its address says, and the password, which is read when a connection is made.

redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]     rediss:// over TLS     unix://[USER[:PASSWORD]@]/PATH
redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…]/SERVICE[/DB]     rediss+sentinel:// over TLS
Options follow a question mark: ssl_ca_certs, ssl_certfile, ssl_keyfile; sentinel_password_file.

No error and no printed value has a password in it.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import redis
from redis.connection import parse_url
from redis.credentials import CredentialProvider

from orchestrator.errors import ConfigError

_SENTINEL: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_SENTINEL_PORT: Final = 26379
_MOST_PASSWORD: Final = 10_000  # Characters.
_FORMS: Final = "mend redis_url: redis://, rediss://, unix:// or redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"


class Address(NamedTuple):
    """An address as it was set, and the file with its user's password, where the address doesn't have it."""

    url: str
    password_file: Path | None = None

    def __repr__(self) -> str:
        """Return it without what may be a password."""
        return f"Address({urlsplit(self.url).scheme}://…)"


class Parsed(NamedTuple):
    """What an address says: how to connect, and the sentinels to ask for whom, if there are any."""

    kwargs: dict[str, Any]
    user: str = ""
    service: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    sentinel_password_file: Path | None = None


class FromFile(CredentialProvider):
    """A user and the password in a file, read for each connection: one that was changed counts at the next."""

    def __init__(self, file: Path, user: str) -> None:
        self._file = file
        self._user = user

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return them. Raises redis-py's error: a file that is just being replaced is an outage as any other."""
        try:
            password = read_password(self._file)
        except ConfigError as error:
            raise redis.AuthenticationError(f"{error.message}: {error.cause}") from error
        return (self._user, password) if self._user else (password,)


def parse(address: Address) -> Parsed:
    """Return what an address says. Raises ConfigError for what is none, and for a password file that is of no use."""
    try:
        found = _parsed(address.url)
    except ValueError as error:  # Its words may be a part of a password.
        cause = "it has another form; in a name or a password, write / @ : ? # % as %2F %40 %3A %3F %23 %25"
        raise ConfigError("the Redis address is not valid", cause=cause, hint=_FORMS) from error
    if found.sentinel_password_file is not None:
        read_password(found.sentinel_password_file)
    if address.password_file is None:
        return found
    if "password" in found.kwargs:
        hint = "take the password out of redis_url"
        raise ConfigError("redis_url has a password, and redis_password_file another", hint=hint)
    read_password(address.password_file)
    found.kwargs.pop("username", None)
    found.kwargs["credential_provider"] = FromFile(address.password_file, found.user)
    return found


def read_password(file: Path) -> str:
    """Return a password as its file has it, without the line's end. Raises ConfigError."""
    failed, hint = f"the password file {file} is of no use", f"chmod 600 {file}"
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):  # A pipe would be waited for.
            raise ConfigError(failed, cause="it is no plain file", hint="mend redis_password_file")
        with file.open(encoding="utf-8") as opened:
            text = opened.read(_MOST_PASSWORD + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(failed, cause=str(why), hint="mend redis_password_file, or the file's owner") from error
    if mode & stat.S_IROTH:
        raise ConfigError(failed, cause="everybody on this machine may read it", hint=hint)
    if len(text) > _MOST_PASSWORD:
        raise ConfigError(failed, cause="no password is that long", hint="mend redis_password_file")
    if not (password := text.rstrip("\r\n")):
        raise ConfigError(failed, cause="it is empty", hint="write the password into it")
    return password


def _parsed(url: str) -> Parsed:
    """Return what a URL says. Raises ValueError."""
    scheme, _, rest = url.partition("://")
    parts = urlsplit(url)
    user = unquote(parts.username or "")
    if scheme not in _SENTINEL:
        kwargs = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped.
        if scheme == "unix" and "path" not in kwargs:
            raise ValueError("no path")
        return Parsed(kwargs, user)
    userinfo, at, hosts = parts.netloc.rpartition("@")
    service, _, number = parts.path.strip("/").partition("/")
    if not service or not hosts or not rest or (number and not number.isdigit()):
        raise ValueError("no service")
    query = f"?{parts.query}" if parts.query else ""
    plain = f"{_SENTINEL[scheme]}://{userinfo}{at}sentinel/{number or 0}{query}"
    kwargs = parse_url(plain)  # type: ignore[no-untyped-call]  # As above.
    for name in ("host", "port"):
        kwargs.pop(name, None)
    file = kwargs.pop("sentinel_password_file", None)
    places = tuple(_place(host) for host in hosts.split(","))
    return Parsed(kwargs, user, unquote(service), places, Path(file) if file else None)


def _place(text: str) -> tuple[str, int]:
    """Return a sentinel's host and port. Raises ValueError."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or _SENTINEL_PORT
