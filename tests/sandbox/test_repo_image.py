from __future__ import annotations

import contextlib
import io
import json
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest

from sandbox import engine, images
from sandbox.errors import ChannelLost, ImageUnusable, PolicyRefused
from sandbox.repo_image import RepoImage, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message
    from pathlib import Path

    from repos import Repo

    from sandbox.spec import Base
    from sandbox.store import Store

pytestmark = pytest.mark.needs_engine

LIMIT = "(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || :)"
Built = tuple[RepoImage, "Base"]


@pytest.fixture
def building(repo: Repo, store: Store, tmp_path: Path) -> Iterator[Callable[[str], Built]]:
    """Return a maker of images of a Dockerfile; what was built is removed."""
    bases: list[Base] = []

    def make(text: str) -> Built:
        repo.commit({"docker/Dockerfile": text.replace("@base@", images.base_image())})
        bases.append(store.import_commit(repo.path))
        return RepoImage(store, bases[-1], "docker/Dockerfile", tmp_path), bases[-1]

    yield make
    with contextlib.closing(engine.client()) as client:
        for name in {images.repo_image(base, "docker/Dockerfile") for base in bases}:
            if images.facts(name) is not None:
                client.api.remove_image(name)


def test_it_is_built_from_the_commit_and_found_again(building: Callable[[str], Built], repo: Repo) -> None:
    image, base = building(f"FROM @base@\nCOPY . /src\nRUN ls -A /src >/listed\nRUN {LIMIT} >/limit\n")
    (repo.path / "not-committed").write_text("secret")
    name = image.name(allowed=True, seconds=300, memory_mb=128)
    assert name == images.repo_image(base, "docker/Dockerfile")
    listed = images.output(name, ["cat", "/listed"]).splitlines()
    assert {"README.md", "src", "docker", "link"} <= set(listed)
    assert "not-committed" not in listed
    assert images.output(
        name, ["sh", "-c", "readlink /src/link; test -x /src/bin/run && cat /src/bin/run"]
    ).splitlines() == [
        "src/a.py",
        "#!/bin/sh",
    ]
    assert images.output(name, ["cat", "/limit"]) == str(128 << 20)
    made = images.facts(name)
    assert image.name(allowed=True, seconds=0.001, memory_mb=128) == name, "nothing is built that is there"
    assert images.facts(name) == made


def test_it_is_refused_where_the_operator_does_not_allow_it(building: Callable[[str], Built]) -> None:
    image, base = building("FROM @base@\n")
    with pytest.raises(PolicyRefused) as caught:
        image.name(allowed=False, seconds=300, memory_mb=128)
    assert caught.value.rule == "allow_weaker_repo_build"
    assert "allow_weaker_repo_build is off on this worker" in caught.value.cause
    assert images.facts(images.repo_image(base, "docker/Dockerfile")) is None


def test_a_failing_dockerfile_is_told_with_its_last_words(building: Callable[[str], Built]) -> None:
    image, _ = building("FROM @base@\nRUN echo no such thing && exit 3\n")
    with pytest.raises(ImageUnusable, match="docker/Dockerfile") as caught:
        image.name(allowed=True, seconds=300, memory_mb=128)
    assert "returned a non-zero code: 3" in caught.value.cause
    assert "no such thing" in caught.value.cause


def test_one_that_takes_too_long_is_ended_with_its_container(building: Callable[[str], Built]) -> None:
    image, _ = building("FROM @base@\nRUN sleep 4711\n")
    began = time.monotonic()
    with pytest.raises(ImageUnusable) as caught:
        image.name(allowed=True, seconds=2, memory_mb=128)
    assert caught.value.cause == "it took longer than 2 s"
    assert time.monotonic() - began < 30
    wait_for(sleepers, [])


def test_it_can_be_killed_from_another_thread(building: Callable[[str], Built]) -> None:
    image, _ = building("FROM @base@\nRUN sleep 4711\n")
    caught: list[BaseException] = []

    def build() -> None:
        try:
            image.name(allowed=True, seconds=300, memory_mb=128)
        except ChannelLost as error:
            caught.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    wait_for(lambda: len(sleepers()), 1)
    image.kill()
    thread.join(30)
    assert not thread.is_alive()
    assert [str(error) for error in caught] == ["the build of the image was ended"]
    wait_for(sleepers, [])


def test_what_is_packed_is_the_bytes_of_the_commit(repo: Repo, store: Store) -> None:
    repo.commit(
        {".gitattributes": "README.md export-ignore\nsrc/* text eol=crlf export-subst\n", "src/a.py": "$Format:%H$\n"}
    )
    base, buffer = store.import_commit(repo.path), io.BytesIO()
    pack(store.objects(base.project), base.tree, buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        found = {item.name: item for item in tar}
        assert sorted(found) == store.list_files(base.project, base.tree)
        assert found["bin/run"].mode == 0o755
        assert found["link"].linkname == "src/a.py"
        content = tar.extractfile("src/a.py")
        assert content is not None
        assert content.read() == b"$Format:%H$\n"


def sleepers() -> list[str]:
    """Return the containers of the engine in which the tests' command runs."""
    with contextlib.closing(engine.client()) as client:
        return [found["Id"] for found in client.api.containers() if "sleep 4711" in found["Command"]]


def wait_for(ask: Callable[[], object], wanted: object) -> None:
    deadline = time.monotonic() + 30
    while ask() != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


class _Engine(BaseHTTPRequestHandler):
    """As much of an engine as a build asks for; it keeps the headers of what was posted."""

    asked: ClassVar[list[Message]] = []

    def do_GET(self) -> None:
        self._answer(200 if "version" in self.path else 404, b'{"ApiVersion": "1.41", "message": "No such image"}')

    def do_POST(self) -> None:
        self.asked.append(self.headers)
        self._answer(200, b'{"stream": "done"}')

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_the_operators_registry_credentials_do_not_go_along(
    repo: Repo, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"auths": {"registry.invalid": {"auth": "dXNlcjpzZWNyZXQ="}}, "proxies": {"default": {"httpProxy": "x"}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    repo.commit({"Dockerfile": "FROM registry.invalid/secret\n"})
    base = store.import_commit(repo.path)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Engine) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        with pytest.raises(ImageUnusable, match="can't be built"):
            RepoImage(store, base, "Dockerfile", tmp_path).name(allowed=True, seconds=60, memory_mb=128)
        with contextlib.closing(engine.client()) as client:
            list(client.api.build(fileobj=io.BytesIO(b"FROM x"), tag="x"))
        server.shutdown()
    ours, sdks = _Engine.asked
    assert "X-Registry-Config" in sdks, "what the SDK does on its own"
    assert "X-Registry-Config" not in ours
