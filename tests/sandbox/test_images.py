from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from made_image import made_image

from sandbox import aptsources, engine, images, probe, rootfs
from sandbox.errors import ImageMissing, ImageUnusable

MIXED = """
deb http://mirror.example/debian bookworm main contrib
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/d bookworm-updates main
# deb http://mirror.example/debian bookworm-backports main
deb http://mirror.example/debian bookworm-backports main
deb [signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.example bookworm main
deb https://download.example/linux/debian bookworm stable
deb https://packages.example/apt cloud-sdk-bookworm main
deb http://mirror.example/debian bookworm main  # said twice
"""

STANZAS = """Types: deb deb-src
# a comment between fields
URIs: http://sec.example/s
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://vendor.example
Suites: nodistro
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://key-inside.example
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
"""


def lines(text: str, codename: str, *, deb822: bool) -> list[str]:
    return [source.line for source in aptsources.of_distribution(aptsources.parse(text, deb822=deb822), codename)]


def test_only_the_distributions_own_sources_are_taken_from_a_list() -> None:
    assert lines(MIXED, "bookworm", deb822=False) == [
        "deb http://mirror.example/debian bookworm main contrib",
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/d bookworm-updates main",
    ]


def test_only_the_distributions_own_sources_are_taken_from_stanzas() -> None:
    assert lines(STANZAS, "bookworm", deb822=True) == [
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://sec.example/s bookworm-security main",
    ]


def test_ubuntus_components_and_key_are_its_own() -> None:
    text = (
        "Types: deb\nURIs: http://mirror.example/ubuntu/\nSuites: noble noble-updates noble-backports\n"
        "Components: main universe restricted multiverse\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n"
    )
    assert [line.split("] ")[1] for line in lines(text, "noble", deb822=True)] == [
        "http://mirror.example/ubuntu/ noble main universe restricted multiverse",
        "http://mirror.example/ubuntu/ noble-updates main universe restricted multiverse",
    ]


def test_a_mirror_list_of_a_cloud_image_is_followed(tmp_path: Path) -> None:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
    (tmp_path / "mirrors").write_text("https://first.example/debian\nhttps://second.example/debian\n")
    (tmp_path / "apt/sources.list").write_text(f"deb mirror+file:{tmp_path}/mirrors trixie main\n")
    codename, sources = rootfs.host_sources(tmp_path)
    assert (codename, [source.line for source in sources]) == (
        "trixie",
        ["deb https://first.example/debian trixie main"],
    )


def test_a_host_without_debian_sources_is_told_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ImageMissing) as caught:
        rootfs.host_sources(tmp_path)
    assert caught.value.exit_code == 4
    assert caught.value.hint.startswith("docker pull debian:")


def test_the_images_name_follows_its_recipe(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "Dockerfile").write_text("FROM scratch\n")
    first = images.image_name("base", tmp_path)
    assert images.image_name("base", tmp_path) == first
    (base / "packages").write_text("git\n")
    assert images.image_name("base", tmp_path) != first
    assert images.base_image().startswith("dreamdock/base:")


def test_a_family_is_named_anew_when_its_base_changes(tmp_path: Path) -> None:
    for family in ("base", "c"):
        (tmp_path / family).mkdir()
        (tmp_path / family / "packages").write_text("git\n")
    first = images.image_name("c", tmp_path)
    assert first.startswith("dreamdock/c:")
    assert first.partition(":")[2] != images.image_name("base", tmp_path).partition(":")[2]
    (tmp_path / "base/packages").write_text("git\nless\n")
    assert images.image_name("c", tmp_path) != first


def test_only_a_bare_family_name_means_our_own_image() -> None:
    assert images.named("c") == images.image_name("c")
    assert images.named("base") == images.base_image()
    assert [images.named(name) for name in ("", "c:latest", "gcc:13", "sha256:1")] == [
        "",
        "c:latest",
        "gcc:13",
        "sha256:1",
    ]
    assert [
        images.family_of(name) for name in (images.named("node"), "dreamdock/c:old", "node:20", "dreamdock/x:1")
    ] == [
        "node",
        "c",
        None,
        None,
    ]


@pytest.mark.parametrize("family", images.FAMILIES)
def test_every_family_has_a_recipe_with_packages(family: str) -> None:
    folder = images.recipe(family)
    assert "\nFROM ${BASE}\n" in (folder / "Dockerfile").read_text()
    assert images.packages(folder) == sorted(images.packages(folder))


def test_a_family_without_its_recipe_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(ImageMissing, match="the node image can't be built"):
        images.image_name("node", tmp_path)


@pytest.mark.needs_engine
@pytest.mark.parametrize("family", ["base", "c", "python"])
def test_an_image_that_is_there_costs_nothing(family: str, tmp_path: Path) -> None:
    images.ensure(family, lambda _: None, scratch=tmp_path / "scratch")
    told: list[str] = []
    began = time.monotonic()
    assert images.ensure(family, told.append, scratch=tmp_path / "again") == images.find(family)
    assert time.monotonic() - began < 2.0
    assert told == []
    assert not (tmp_path / "again").exists()


@pytest.mark.needs_engine
@pytest.mark.parametrize(
    ("family", "wanted"),
    [
        ("c", "cc --version && g++ --version && make --version && cmake --version && echo 'int main(){}' | cc -xc -"),
        ("python", "python3 -m pip --version && python3 -m venv /tmp/v && /tmp/v/bin/pip --version"),
    ],
)
def test_a_family_has_its_tools_and_the_bases(family: str, wanted: str, tmp_path: Path) -> None:
    name = images.ensure(family, lambda _: None, scratch=tmp_path)
    script = f"cd /tmp && {wanted} && rg --version >/dev/null && python3 -m pytest --version >/dev/null && echo whole"
    assert images.output(name, ["sh", "-c", script]).endswith("whole")


@pytest.mark.needs_engine
def test_the_base_image_has_what_runs_need() -> None:
    wanted = [
        "sh",
        "-c",
        "python3 -m pytest --version && git --version && rg --version && locale && ls -A /var/lib/apt/lists",
    ]
    output = engine.client().containers.run(images.base_image(), wanted, network_mode="none", remove=True).decode()
    assert "pytest" in output
    assert "git version" in output
    assert "ripgrep" in output
    assert "LANG=C.UTF-8" in output
    assert not output.splitlines()[-1].endswith("Packages")


@pytest.mark.needs_engine
def test_a_build_that_fails_half_way_leaves_no_image(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN echo told-on-the-way && exit 7\n")
    name, told = "dreamdock/test-failing:half", list[str]()
    client = engine.client()
    with pytest.raises(ImageMissing) as caught:
        images.build(client, tmp_path, name, base=images.base_image(), report=told.append)
    assert "returned a non-zero code: 7" in caught.value.cause
    assert "told-on-the-way" in told
    assert client.api.images(name=name) == []


@pytest.mark.needs_engine
def test_two_builds_at_once_are_one(tmp_path: Path) -> None:
    names, told = list[str](), list[str]()
    threads = [
        threading.Thread(target=lambda: names.append(images.ensure("base", told.append, scratch=tmp_path)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(names) == {images.base_image()}
    assert len(names) == 3


@pytest.mark.needs_engine
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dreamdock/none:never", "docker pull dreamdock/none:never"),
        ("dreamdock/c:older", "dreamdock images build c"),
    ],
)
def test_an_image_that_the_engine_does_not_have_is_named(name: str, hint: str) -> None:
    with pytest.raises(ImageMissing, match=name) as caught:
        images.check(name)
    assert caught.value.hint == hint


@pytest.mark.needs_engine
def test_an_image_for_another_architecture_is_refused() -> None:
    with made_image("dreamdock-test/foreign:1", {"bin/sh": b"x"}, architecture="s390x") as name:
        with pytest.raises(ImageUnusable, match="for another architecture") as caught:
            images.check(name)
        assert "s390x" in caught.value.cause
        assert not isinstance(caught.value, ImageMissing)


@pytest.mark.needs_engine
def test_what_the_runner_lacks_is_found_from_inside(tmp_path: Path) -> None:
    assert probe.lacking_runner(images.base_image()) == ""
    arch = engine.client().version()["Arch"]
    with made_image("dreamdock-test/empty:1", {"data": b"x"}, architecture=arch) as name:
        assert probe.lacking_runner(name).startswith("it can't be started: ")
    (tmp_path / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN rm /usr/bin/python3* /bin/bash\n")
    client, name = engine.client(), "dreamdock-test/sh:1"
    images.build(client, tmp_path, name, base=images.base_image(), report=lambda _: None)
    try:
        assert probe.lacking_runner(name) == "no python3 (3.8 or later), no bash"
    finally:
        client.api.remove_image(name)


@pytest.mark.needs_engine
def test_the_engines_limits_reach_a_container() -> None:
    assert probe.lacking_limits(images.base_image()) == ()


@pytest.mark.needs_engine
def test_the_engine_says_what_it_is() -> None:
    info = engine.ping()
    assert engine.answers()
    assert info.version
    assert Path(info.root_dir).is_absolute()
