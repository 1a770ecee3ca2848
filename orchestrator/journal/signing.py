"""Who vouches for a journal: Ed25519 signatures over its head, by keys that a verifier has pinned.

<state>/signer/key         this machine's key: made by its first worker, for its owner alone, in no sandbox
<state>/signer/key.pub     its public half, as it is pinned elsewhere
<state>/signer/heads/RUN   the last head of a run that this machine signed: its number and its hash

The library is imported when a key is first used: it takes 20 ms that most commands don't pay.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import os
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import ConfigError
from orchestrator.runs import RUN_ID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

OWN: Final = "this machine's own key"
_PREFIX: Final = "ed25519:"
_HEAD_LINE: Final = re.compile(rb"([0-9]{10}) ([0-9a-f]{64})\n")


class Head(NamedTuple):
    """Where a journal stood: the number of its last event, and that event's chain hash."""

    seq: int
    hash: str


class Key(NamedTuple):
    """A public key: whose it is, by the name that it was pinned under, and its 32 bytes."""

    name: str
    public: bytes

    @property
    def id(self) -> str:
        """What a signature names it by: the first 16 hex digits of its SHA-256."""
        return hashlib.sha256(self.public).hexdigest()[:16]

    @property
    def text(self) -> str:
        """The key as it is pinned: `ed25519:` and base64."""
        return _PREFIX + base64.b64encode(self.public).decode()

    def has_signed(self, signature: str, run_id: str, head: Head) -> bool:
        """Whether the signature is this key's, over this head of this run."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # See above.

        try:
            signed = base64.b64decode(signature.partition(":")[2], validate=True)
            _public(self.public).verify(signed, _payload(run_id, head))
        except (binascii.Error, ValueError, InvalidSignature):
            return False
        return True


@functools.cache
def _public(key: bytes) -> Ed25519PublicKey:
    """Return a key ready for use: a journal has thousands of signatures, and few keys. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415  # See above.

    return Ed25519PublicKey.from_public_bytes(key)


def parse_key(name: str, text: str) -> Key:
    """Return a key that was written down as `ed25519:BASE64`. Raises ConfigError."""
    try:
        public = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        public = b""
    if not text.startswith(_PREFIX) or len(public) != 32:  # noqa: PLR2004  # An Ed25519 key's length.
        hint = "dreamdock audit --show-key, on the machine whose worker signs"
        raise ConfigError(
            f"{name} is no public key", cause=f"it is ed25519: and 44 characters, not {text!r}", hint=hint
        )
    return Key(name, public)


def pinned(state_dir: Path, signers: Mapping[str, str]) -> dict[str, Key]:
    """Return the keys that count here, by id: those of the settings, and this machine's own where it has one.

    Raises ConfigError for what is no key.
    """
    found = [parse_key(f"signer {name}", text)._replace(name=name) for name, text in signers.items()]
    own = own_key(state_dir)
    return {key.id: key for key in ([own] if own else []) + found}


def own_key(state_dir: Path) -> Key | None:
    """Return this machine's public key; None where it has none, or it is another account's. Raises ConfigError."""
    try:
        return parse_key(OWN, (state_dir / "signer" / "key.pub").read_text("ascii", "replace").strip())
    except OSError:
        return None


def key_id(signature: str) -> str:
    """Return the id of the key that a signature says it was made with."""
    return signature.partition(":")[0]


class Signer:
    """This machine's key. One process uses it; several may have the same."""

    def __init__(self, private: bytes, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  # See above.

        self._private = Ed25519PrivateKey.from_private_bytes(private)
        self._folder = folder
        self.key = Key(OWN, self._private.public_key().public_bytes_raw())

    @classmethod
    def load(cls, state_dir: Path) -> Signer:
        """Return this machine's signer; its key is made where there is none. Raises ConfigError."""
        folder = state_dir / "signer"
        public = folder / "key.pub"
        try:
            for place in (folder, folder / "heads"):
                place.mkdir(parents=True, exist_ok=True)
                place.chmod(0o755)  # Whoever may see the state may verify; the key alone is its owner's.
            _make(folder / "key")
            signer = cls(_private(folder / "key"), folder)
            if not public.is_file() or public.read_text("ascii", "replace").strip() != signer.key.text:
                _write(public, f"{signer.key.text}\n".encode(), mode=0o644)
                public.chmod(0o644)
        except OSError as error:
            raise _not_had(error) from error
        return signer

    @classmethod
    def existing(cls, state_dir: Path) -> Signer | None:
        """Return this machine's signer; None where no worker has made its key yet. Raises ConfigError."""
        folder = state_dir / "signer"
        try:
            return cls(_private(folder / "key"), folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _not_had(error) from error

    def sign(self, run_id: str, head: Head) -> str:
        """Return this key's signature over a head: its id, a colon, base64."""
        return f"{self.key.id}:{base64.b64encode(self._private.sign(_payload(run_id, head))).decode()}"

    def remember(self, run_id: str, head: Head) -> None:
        """Keep the last head that was signed, where nobody reaches it who writes to Redis.

        A disk that takes nothing loses a witness, and no step: then the one before stays.
        """
        with suppress(OSError):
            file = os.open(self._folder / "heads" / run_id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                before = _parsed(os.pread(file, 100, 0))
                if before is None:
                    os.fchmod(file, 0o644)
                if before is None or before.seq < head.seq:  # An attempt that slept may be behind the next one.
                    os.pwrite(file, b"%010d %s\n" % (head.seq, head.hash.encode()), 0)
            finally:
                os.close(file)


def remembered(state_dir: Path, run_id: str) -> Head | None:
    """Return the last head of a run that this machine signed, if it did."""
    if not RUN_ID.match(run_id):
        return None
    try:
        return _parsed((state_dir / "signer" / "heads" / run_id).read_bytes())
    except OSError:
        return None


def forget(state_dir: Path, run_id: str) -> None:
    """Give up the last head of a run that is given up itself. Raises OSError."""
    if RUN_ID.match(run_id):
        (state_dir / "signer" / "heads" / run_id).unlink(missing_ok=True)


def signed_until(state_dir: Path) -> dict[str, float]:
    """Return the runs whose heads are kept, and when each was signed last, in seconds since the epoch."""
    found = dict[str, float]()
    with suppress(FileNotFoundError), os.scandir(state_dir / "signer" / "heads") as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found |= {entry.name: entry.stat().st_mtime} if RUN_ID.match(entry.name) else {}
    return found


def _parsed(line: bytes) -> Head | None:
    found = _HEAD_LINE.fullmatch(line)
    return Head(int(found[1]), found[2].decode()) if found else None


def _payload(run_id: str, head: Head) -> bytes:
    return f"dreamdock journal 1\n{run_id}\n{head.seq}\n{head.hash}\n".encode("utf-8", "surrogateescape")


def _not_had(error: OSError) -> ConfigError:
    hint = "the key belongs to the account that the workers run as"
    return ConfigError("the signer's key can't be had", cause=str(error), hint=hint)


def _make(path: Path) -> None:
    """Make a key where there is none; whoever comes first does. Raises OSError."""
    if not os.path.lexists(path):
        with suppress(FileExistsError):
            _write(path, base64.b64encode(os.urandom(32)) + b"\n", mode=0o600, replace=False)


def _private(path: Path) -> bytes:
    """Return the key's 32 bytes. Raises ConfigError, OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(file).st_mode & 0o077:
            raise ConfigError("the signer's key is open to others", cause=str(path), hint=f"chmod 600 {path}")
        text = os.read(file, 200)
    finally:
        os.close(file)
    with suppress(binascii.Error):
        private = base64.b64decode(text.strip(), validate=True)
        if len(private) == 32:  # noqa: PLR2004  # An Ed25519 key's length.
            return private
    hint = "put it back from a backup; or remove it, and pin the new key beside the old one"
    raise ConfigError("the signer's key is damaged", cause=str(path), hint=hint)


def _write(path: Path, data: bytes, *, mode: int, replace: bool = True) -> None:
    """Write a file whole or not at all. Raises FileExistsError where it mustn't be replaced, OSError."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    try:
        if replace:
            part.rename(path)
        else:
            path.hardlink_to(part)
    finally:
        part.unlink(missing_ok=True)
