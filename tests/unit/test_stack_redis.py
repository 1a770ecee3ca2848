from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ConfigError
from orchestrator.journal.connection import connect, ping, redis_url
from orchestrator.settings import Settings
from orchestrator.stack.redis_server import choose_program, embedded_program, prepare

if TYPE_CHECKING:
    from pathlib import Path

OWNER = (os.getuid(), os.getgid())


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def settings_in(folder: Path) -> Settings:
    (folder / "run").mkdir()
    return Settings(state_dir=folder / "state", runtime_dir=folder / "run")


def test_the_systems_server_comes_before_the_embedded_one(tmp_path: Path) -> None:
    valkey = program(tmp_path / "bin", "valkey-server")
    assert choose_program(tmp_path, path=str(tmp_path / "bin")) == valkey
    redis = program(tmp_path / "bin", "redis-server")
    assert choose_program(tmp_path, path=str(tmp_path / "bin")) == redis


def test_without_a_system_server_the_embedded_one_is_run(tmp_path: Path) -> None:
    assert choose_program(tmp_path, path=str(tmp_path)) == embedded_program()


def test_the_server_that_wrote_the_files_is_kept_while_it_exists(tmp_path: Path) -> None:
    first = program(tmp_path / "first", "valkey-server")
    later = program(tmp_path / "later", "redis-server")
    (tmp_path / "program").write_text(str(first))
    assert choose_program(tmp_path, path=str(tmp_path / "later")) == first
    first.unlink()
    assert choose_program(tmp_path, path=str(tmp_path / "later")) == later


def test_a_runtime_directory_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, runtime_dir=tmp_path / ("x" * 100))
    with pytest.raises(ConfigError, match="too long"):
        prepare(settings, OWNER)


@pytest.mark.needs_redis
def test_the_server_is_the_owners_alone_and_has_no_port(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" name'
    folder.mkdir()
    settings = settings_in(folder)
    server = subprocess.Popen(prepare(settings, OWNER), stdout=subprocess.PIPE)
    try:
        for line in server.stdout or ():
            if b"Ready to accept connections unix" in line or b"now ready to accept connections at" in line:
                break
        socket = settings.runtime_dir / "redis.sock"
        assert ping(f"unix://{socket}")
        assert redis_url(settings).url == f"unix://{socket}"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE((settings.state_dir / "redis").stat().st_mode) == 0o700
        with connect(redis_url(settings)) as client:
            asked = client.config_get("port", "appendonly", "maxmemory-policy", "save")
        assert asked == {"port": "0", "appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""}
    finally:
        server.kill()
        server.communicate()
