"""The addresses of Redis: what they say, what is refused, and that no password is shown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from redis_group import Member
from redis_server import RedisServer
from redis_tls import Papers, tls_server

from orchestrator import origins
from orchestrator.errors import ConfigError, RedisAwayError
from orchestrator.journal.address import Address, parse
from orchestrator.journal.connection import available, connect, hurried, redis_url, require, unhurried, who
from orchestrator.settings import Settings
from orchestrator.stack import redis_checks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis_tls import TlsServer

SECRET = "s3cret-word"  # noqa: S105  # A test's.


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(0o600)
    path.write_text(f"{SECRET}\n")
    return path


def test_sentinels_and_their_service_are_read_from_the_address() -> None:
    found = parse(Address(f"redis+sentinel://ann:{SECRET}@a:1,b,[::1]:3/runs/2"))
    assert (found.user, found.service) == ("ann", "runs")
    assert found.sentinels == (("a", 1), ("b", 26379), ("::1", 3))
    assert found.kwargs == {"username": "ann", "password": SECRET, "db": 2}


def test_over_tls_the_sentinels_are_asked_over_tls_too(tmp_path: Path) -> None:
    authority = Papers(tmp_path, "authority").authority
    with connect(f"rediss+sentinel://a:1/runs?ssl_ca_certs={authority}") as client:
        pools = [client.connection_pool, client.connection_pool.sentinel_manager.sentinels[0].connection_pool]
    for pool in pools:
        assert "SSL" in pool.connection_class.__name__
        assert pool.connection_kwargs["ssl_ca_certs"] == str(authority)
    with hurried(client, 1.0) as other:
        assert other.connection_pool.connection_kwargs["ssl_ca_certs"] == str(authority)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/0",
        "redis",
        "unix://",
        "redis+sentinel://h:1",
        "redis+sentinel:///runs",
        "redis+sentinel://h:1/runs/x",
        "redis+sentinel://h:port/runs",
        "redis+sentinel://h:1,,/runs",
        f"redis://ann:{SECRET}/x@h:1/0",
        f"redis://ann:{SECRET}@h:port/0",
        f"redis://ann:{SECRET}@h:1/0?no_such=option",
        f"redis+sentinel://ann:{SECRET}@h:1/runs?no_such=option",
        f"rediss://ann:{SECRET}@h:1/0?ssl_ca_certs=/nowhere&db=x",
    ],
)
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        connect(url)
    assert SECRET not in repr([raised.value.message, raised.value.cause, raised.value.hint])
    assert raised.value.cause
    assert SECRET not in str(Address(url))


def test_no_password_is_shown_among_the_settings() -> None:
    for url in (
        f"redis://ann:{SECRET}@h/0",
        f"redis://:{SECRET}@h/0",
        f"unix://ann:{SECRET}@/run/r.sock",
        f"redis+sentinel://ann:{SECRET}@a:1,b:2/runs",
        f"redis://ann:{SECRET}/@x@h/0",
        f"redis://h/0?username=ann&password={SECRET}&db=1",
    ):
        told = origins.origins(Settings(redis_url=url), {})["redis_url"].value
        assert SECRET not in told, told
        assert "***" in told
    for url in ("redis://h:6379/0", "redis+sentinel://a:1,b:2/runs", "unix:///run/r.sock"):
        assert origins.origins(Settings(redis_url=url), {})["redis_url"].value == url


@pytest.mark.needs_redis
def test_the_password_is_read_from_its_file_at_each_connection(
    file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("r")
    with RedisServer(folder) as server, connect(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "ann", "on", f">{SECRET}", "~*", "&*", "+@all")  # type: ignore[no-untyped-call]  # redis-py leaves it untyped.
        settings = Settings(redis_url=server.url.replace("unix://", "unix://ann@"), redis_password_file=file)
        with (
            connect(redis_url(settings)) as client,
            hurried(client, 1.0) as quick,
            unhurried(redis_url(settings)) as rqs,
        ):
            assert [one.acl_whoami() for one in (client, quick, rqs)] == ["ann"] * 3  # type: ignore[no-untyped-call]  # As above.
            assert who(redis_url(settings)) == "ann"
            admin.execute_command("ACL", "SETUSER", "ann", f"<{SECRET}", ">another")  # type: ignore[no-untyped-call]  # As above.
            client.connection_pool.disconnect()
            with pytest.raises(RedisAwayError) as raised, available():
                client.ping()
            assert SECRET not in f"{raised.value.cause}{raised.value.message}"
            file.write_text("another")
            assert client.ping(), "a password that was changed needs no restart"
            client.connection_pool.disconnect()
            file.unlink()
            with pytest.raises(RedisAwayError), available():
                client.ping()  # While it's being replaced: an outage, waited for.


@pytest.mark.parametrize("how", ["gone", "empty", "open", "binary", "twice", "folder", "pipe", "endless"])
def test_a_password_file_of_no_use_is_refused_at_once(file: Path, how: str) -> None:
    settings = Settings(redis_url="redis://ann@h:1/0", redis_password_file=file)
    match how:
        case "gone":
            file.unlink()
        case "empty":
            file.write_text("\n")
        case "open":
            file.chmod(0o644)
        case "binary":
            file.write_bytes(b"\xff\xfe")
        case "twice":
            settings = settings.model_copy(update={"redis_url": f"redis://ann:{SECRET}@h:1/0"})
        case "pipe":
            file.unlink()
            os.mkfifo(file, 0o600)
        case "endless":
            os.truncate(file, 1 << 40)
        case _:
            settings = settings.model_copy(update={"redis_password_file": file.parent})
    with pytest.raises(ConfigError) as raised:
        connect(redis_url(settings))
    assert SECRET not in repr([raised.value.message, raised.value.cause, raised.value.hint])
    assert raised.value.hint


def test_a_password_file_without_an_address_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="redis_url isn't"):
        redis_url(Settings(redis_url=None, redis_password_file=file))


def test_who_is_the_user_of_the_address() -> None:
    assert who(Address("redis://ann@h/0")) == "ann"
    assert who(Address("redis+sentinel://b%40c@h/runs")) == "b@c"
    for nobody in ("redis://h/0", "redis://default@h/0", "redis://:pw@h/0", "unix:///run/r.sock"):
        assert "@" in who(Address(nobody))


@pytest.fixture(scope="module")
def tls() -> Iterator[TlsServer]:
    with tls_server() as server:
        yield server


def hint(url: str) -> str:
    with pytest.raises(RedisAwayError) as raised:
        redis_checks.writes(Settings(redis_url=url))
    return raised.value.hint


@pytest.mark.needs_redis
def test_over_tls_only_the_named_authority_counts(tls: TlsServer, tmp_path: Path) -> None:
    place = f"rediss://127.0.0.1:{tls.tls_port}/0"
    assert redis_checks.writes(Settings(redis_url=f"{place}?ssl_ca_certs={tls.papers.authority}")).ok
    assert "ssl_ca_certs" in hint(place), "an unknown authority"
    another = Papers(tmp_path, "another").authority
    assert "ssl_ca_certs" in hint(f"{place}?ssl_ca_certs={another}")


@pytest.mark.needs_redis
def test_who_takes_the_wrong_port_is_told(tls: TlsServer) -> None:
    assert "rediss://" in hint(f"redis://127.0.0.1:{tls.tls_port}/0")
    told = hint(f"rediss://127.0.0.1:{tls.plain_port}/0?ssl_ca_certs={tls.papers.authority}")
    assert "a port where it speaks TLS" in told


@pytest.mark.needs_redis
def test_a_server_that_asks_for_a_certificate_gets_it() -> None:
    with tls_server(clients=True) as server:
        certificate, key = server.papers.give("ann")
        place = f"rediss://127.0.0.1:{server.tls_port}/0?ssl_ca_certs={server.papers.authority}"
        assert "ssl_certfile" in hint(place)
        assert redis_checks.writes(Settings(redis_url=f"{place}&ssl_certfile={certificate}&ssl_keyfile={key}")).ok


@pytest.mark.needs_redis
def test_no_sentinel_that_answers_is_told() -> None:
    with pytest.raises(RedisAwayError, match="doesn't answer") as raised:
        redis_checks.writes(Settings(redis_url=f"redis+sentinel://ann:{SECRET}@127.0.0.1:1,127.0.0.1:2/runs"))
    assert "127.0.0.1:1 doesn't answer" in raised.value.cause
    assert "127.0.0.1:2 doesn't answer" in raised.value.cause
    assert SECRET not in raised.value.cause
    assert "SERVICE" in raised.value.hint


@pytest.mark.needs_redis
@pytest.mark.parametrize("own", [None, SECRET, "another"])
def test_sentinels_are_given_the_servers_password_or_their_own_or_none(
    tmp_path: Path, file: Path, own: str | None
) -> None:
    server = Member(tmp_path / "server", "--save", "", password=SECRET)
    sentinel = Member(tmp_path / "sentinel", str(tmp_path / "sentinel" / "conf"), "--sentinel", password=own)
    lines = (f"monitor runs 127.0.0.1 {server.port} 1", f"auth-pass runs {SECRET}")
    (tmp_path / "sentinel" / "conf").write_text("".join(f"sentinel {line}\n" for line in lines))
    try:
        server.start()
        sentinel.start()
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/runs"
        if own == "another":
            with pytest.raises(RedisAwayError, match="doesn't answer"):
                require(Address(url, file))
            theirs = tmp_path / "theirs"
            theirs.touch(0o600)
            theirs.write_text(own)
            url += f"?sentinel_password_file={theirs}"
        with connect(Address(url, file)) as client:
            assert client.ping()
            client.connection_pool.disconnect()
            assert client.ping(), "and again"
    finally:
        sentinel.stop()
        server.stop()
