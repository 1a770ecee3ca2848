"""What a worker offers, and which name of an image is the same as which."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.events import FORMAT
from orchestrator.host import host_id
from orchestrator.journal.asks import plain_image, user_of
from orchestrator.journal.presence import WORKER, Beat, Presence
from orchestrator.offer import kept_current, offer
from orchestrator.settings import Settings
from orchestrator.standing import workers
from sandbox import images
from sandbox.spec import Limits
from sandbox.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

SETTINGS = Settings(sandbox=Limits(memory_mb=4096, cpus=3), gpus=2, labels=("ssd",))


def test_a_worker_offers_what_its_settings_say_and_what_its_engine_has(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"state_dir": tmp_path})
    told = offer(settings, ["docker.io/library/debian:12", "debian:12", "localhost/own"])
    assert (told.memory_mb, told.cpus, told.gpus, told.labels, told.format) == (4096, 3.0, 2, ("ssd",), FORMAT)
    assert told.images == ("debian:12", "own:latest")
    own = Store(tmp_path / "repos").id
    assert told.stores == (own,)
    assert offer(settings.model_copy(update={"checkpoint_remote": "/srv/git"})).stores == (own, "remote")


@pytest.mark.parametrize(
    ("name", "plain"),
    {
        "debian": "debian:latest",
        "docker.io/debian:12": "debian:12",
        "registry:5000/a/b": "registry:5000/a/b:latest",
        "registry:5000/a/b:1": "registry:5000/a/b:1",
        "a@sha256:" + "0" * 64: "a@sha256:" + "0" * 64,
        "sha256:" + "0" * 64: "",
        "0123abcd": "",
        "": "",
    }.items(),
)
def test_the_same_image_has_one_name(name: str, plain: str) -> None:
    assert plain_image(name) == plain


@pytest.mark.parametrize(("who", "user"), [("ann@laptop", "ann"), ("ann", "ann"), ("ann@a@b", "ann"), ("@h", "")])
def test_whose_runs_they_are(who: str, user: str) -> None:
    assert user_of(who) == user


def test_a_host_is_told_from_others_by_its_boot_and_its_state_folder(tmp_path: Path) -> None:
    one, other = Settings(state_dir=tmp_path / "a"), Settings(state_dir=tmp_path / "b")
    assert host_id(one) == host_id(one) != host_id(other)
    assert len(host_id(one)) == 8


@pytest.mark.needs_engine
@pytest.mark.needs_redis
def test_the_engines_images_are_offered_and_kept_while_it_is_away(
    client: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    presence = Presence(kind=WORKER, name="w", host="h", pid=1, version="0", offer=offer(SETTINGS))

    def offered() -> tuple[str, ...]:
        return next((one.presence.offer.images for one in workers(client)), ())

    with Beat(client, presence) as beat:
        with kept_current(SETTINGS, client, beat):
            deadline = time.monotonic() + 10
            while not offered():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert images.base_image() in offered()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        before = offered()
        with kept_current(SETTINGS, client, beat):
            time.sleep(0.3)
        assert offered() == before
