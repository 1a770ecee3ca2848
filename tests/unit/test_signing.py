from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ConfigError
from orchestrator.journal.signing import Head, Key, Signer, own_key, parse_key, pinned, remembered
from orchestrator.settings import Settings, load

if TYPE_CHECKING:
    from pathlib import Path

RUN = "0123456789ab"
HEAD = Head(7, "a" * 64)


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    assert own_key(tmp_path) is None
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: Signer.load(tmp_path).key, range(64)))
    assert len(set(made)) == 1, "whoever comes first makes it"
    assert own_key(tmp_path) == made[0]
    assert stat.S_IMODE((tmp_path / "signer" / "key").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "signer").iterdir()) == ["heads", "key", "key.pub"]


def test_reading_a_key_makes_none(tmp_path: Path) -> None:
    assert Signer.existing(tmp_path) is None
    assert not list(tmp_path.iterdir())
    made = Signer.load(tmp_path)
    found = Signer.existing(tmp_path)
    assert found is not None
    assert found.key == made.key


def test_whoever_may_see_the_state_may_verify(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        signer = Signer.load(tmp_path)
        signer.remember(RUN, HEAD)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "signer").rglob("*")}
    assert modes == {"heads": 0o755, RUN: 0o644, "key": 0o600, "key.pub": 0o644}
    assert stat.S_IMODE((tmp_path / "signer").stat().st_mode) == 0o755


def test_a_signature_covers_run_number_and_head(tmp_path: Path) -> None:
    signer = Signer.load(tmp_path)
    signature = signer.sign(RUN, HEAD)
    assert signer.key.has_signed(signature, RUN, HEAD)
    assert not signer.key.has_signed(signature, "0123456789ac", HEAD)
    assert not signer.key.has_signed(signature, RUN, Head(8, HEAD.hash))
    assert not signer.key.has_signed(signature, RUN, Head(7, "b" * 64))
    assert not Signer.load(tmp_path / "other").key.has_signed(signature, RUN, HEAD)
    assert not Key("no point of the curve", b"\xff" * 32).has_signed(signature, RUN, HEAD)


def test_a_key_that_others_may_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    Signer.load(tmp_path)
    key = tmp_path / "signer" / "key"
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        Signer.load(tmp_path)
    key.chmod(0o600)
    for content in (b"", b"AAAA\n", b"%%%%", bytes(range(256))):
        key.write_bytes(content)
        with pytest.raises(ConfigError, match="is damaged"):
            Signer.load(tmp_path)
    key.unlink()
    key.symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="can't be had"):
        Signer.load(tmp_path)


def test_a_state_folder_that_takes_nothing_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match="can't be had"):
        Signer.load(tmp_path / "state")


def test_the_last_signed_head_only_moves_forward(tmp_path: Path) -> None:
    signer = Signer.load(tmp_path)
    assert remembered(tmp_path, RUN) is None
    signer.remember(RUN, HEAD)
    signer.remember(RUN, Head(3, "c" * 64))
    assert remembered(tmp_path, RUN) == HEAD
    signer.remember(RUN, Head(1000, "d" * 64))
    assert remembered(tmp_path, RUN) == Head(1000, "d" * 64)


def test_what_was_remembered_is_found_by_a_runs_id_alone(tmp_path: Path) -> None:
    Signer.load(tmp_path)
    (tmp_path / "signer" / "heads" / RUN).write_text("half a li")
    assert remembered(tmp_path, RUN) is None
    (tmp_path / "signer" / "secret").write_bytes(b"0000000007 " + b"a" * 64 + b"\n")
    assert remembered(tmp_path, "../secret") is None


def test_a_full_disk_loses_no_step(tmp_path: Path) -> None:
    signer = Signer.load(tmp_path)
    (tmp_path / "signer" / "heads").rmdir()
    signer.remember(RUN, HEAD)
    assert remembered(tmp_path, RUN) is None


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 44, "ed25519:" + "%" * 44, "A" * 44])
def test_what_is_no_key_cannot_be_pinned(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no public key"):
        parse_key("x", text)
    with pytest.raises(ConfigError, match="no public key"):
        pinned(tmp_path, {"build host": text})
    monkeypatch.setenv("DREAMDOCK_SIGNERS", json.dumps({"build host": text}))
    with pytest.raises(ConfigError) as caught:
        load()
    assert "signers.build host" in caught.value.cause


def test_signers_are_pinned_in_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Signer.load(tmp_path / "elsewhere").key
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "dreamdock").mkdir(parents=True)
    (tmp_path / "config" / "dreamdock" / "config.toml").write_text(f'[signers]\n"build host" = "{key.text}"\n')
    settings = load()
    assert isinstance(settings, Settings)
    assert pinned(tmp_path, settings.signers) == {key.id: Key("build host", key.public)}


def test_a_publickey_file_that_is_garbage_is_a_clear_error(tmp_path: Path) -> None:
    Signer.load(tmp_path)
    (tmp_path / "signer" / "key.pub").write_bytes(os.urandom(64))
    with pytest.raises(ConfigError, match="no public key"):
        own_key(tmp_path)
    assert Signer.load(tmp_path).key == own_key(tmp_path), "its owner puts it right"


@pytest.mark.parametrize("module", ["orchestrator.cli", "orchestrator.api"])
def test_what_only_looks_imports_no_cryptography(module: str) -> None:
    code = f"import {module}, sys; sys.exit('cryptography.hazmat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
