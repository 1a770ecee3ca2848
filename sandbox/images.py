"""The base image of the sandboxes, named after what it is made from; built where the engine doesn't have it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import engine, rootfs
from sandbox.errors import DiskFull, EngineUnavailable, ImageMissing, ImageUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PUBLIC = "debian:bookworm-slim"
REPOSITORY = "dreamdock/base"
_TEMPORARY = "dreamdock/rootfs"
_AGAIN = "the same command again; dreamdock doctor tells what is wrong"
_NEEDED_BYTES = 1_500_000_000
_REGISTRY_SECONDS = 15.0
_BUILD_SECONDS = 1800.0


def recipe() -> Path:
    """Return the folder that the base image is made from. Raises ImageMissing where it isn't there."""
    folder = Path(__file__).resolve().parent.parent / "images" / "base"
    if not folder.is_dir():
        cause = f"{folder} isn't there: DreamDock was installed without its images"
        raise ImageMissing("the base image can't be built", cause=cause, hint="pip install --editable the repository")
    return folder


def base_image(folder: Path | None = None) -> str:
    """Return the base image's name; its tag is a hash of the recipe."""
    digest = hashlib.sha256()
    for file in sorted((folder or recipe()).iterdir()):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return f"{REPOSITORY}:{digest.hexdigest()[:12]}"


def packages(folder: Path) -> list[str]:
    """Return the Debian packages that a recipe wants."""
    lines = (folder / "packages").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def check(name: str) -> None:
    """Raise ImageMissing where the engine doesn't have this image, EngineUnavailable where it doesn't answer."""
    if not _have(engine.client(), name):
        cause = "the engine doesn't have it, and images aren't fetched behind your back"
        raise ImageMissing(f"no image {name}", cause=cause, hint=f"docker pull {name}")


def find_base() -> str | None:
    """Return the base image's name if the engine has it. Raises EngineUnavailable."""
    name = base_image()
    return name if _have(engine.client(), name) else None


def public_base() -> str | None:
    """Return the public image to build from, if the engine has it or a registry answers (15 s at most), else None."""
    import docker  # noqa: PLC0415  # 70 ms that only set-up pays.
    import requests  # noqa: PLC0415  # As above.

    client = engine.client(timeout_s=_REGISTRY_SECONDS)
    try:
        if not _have(client, PUBLIC):
            client.api.inspect_distribution(PUBLIC)
    except (docker.errors.APIError, requests.RequestException):
        return None
    return PUBLIC


def ensure_base(report: Callable[[str], None], *, scratch: Path, public: str | None) -> str:
    """Return the base image's name, after building it if the engine doesn't have it.

    `public` is the image to build from; without it a root file system is made with mmdebstrap. `scratch` takes a lock
    and, for that time, the root file system. `report` gets lines of progress. An image appears whole or not at all.
    Raises ImageMissing, DiskFull, EngineUnavailable.
    """
    name, client = base_image(), engine.client(timeout_s=_BUILD_SECONDS)
    if _have(client, name):
        return name
    with _alone(scratch):
        if _have(client, name):
            return name
        _check_disk(scratch)
        if public is not None:
            build(client, recipe(), name, base=public, report=report)
            return name
        with _imported(client, scratch, report) as base:
            build(client, recipe(), name, base=base, report=report)
        return name


def label(name: str, key: str) -> str | None:
    """Return a label of an image; None where the engine has no such image, or it no such label."""
    client = engine.client()
    if not _have(client, name):
        return None
    value: str | None = (client.api.inspect_image(name)["Config"]["Labels"] or {}).get(key)
    return value


def prune(key: str) -> None:
    """Remove the images with this label that have lost their name to a newer one and that no container uses."""
    engine.client().images.prune(filters={"dangling": True, "label": key})


def output(name: str, argv: Sequence[str]) -> str:
    """Run a program of an image, without a network, and return what it prints. Raises ImageUnusable."""
    import docker  # noqa: PLC0415  # As in `public_base`.

    try:
        printed: bytes = engine.client().containers.run(name, list(argv), network_mode="none", remove=True)
    except docker.errors.DockerException as error:
        hint = "docker run --rm shows what it does"
        raise ImageUnusable(f"{argv[0]} doesn't run in {name}", cause=str(error)[:300], hint=hint) from error
    return printed.decode().strip()


def build(
    client: Any,
    folder: Path,
    name: str,
    *,
    base: str,
    report: Callable[[str], None],
    network: str = "host",
    labels: Mapping[str, str] | None = None,
) -> None:
    """Build `folder` on `base` and name it; on failure the name isn't given. Raises ImageMissing, EngineUnavailable."""
    options: dict[str, Any] = {"buildargs": {"BASE": base}, "network_mode": network, "labels": dict(labels or {})}
    options |= {"rm": True, "forcerm": True, "decode": True}
    _follow(lambda: client.api.build(path=str(folder), tag=name, **options), report, failed=f"{name} can't be built")


@contextmanager
def _imported(client: Any, scratch: Path, report: Callable[[str], None]) -> Iterator[str]:
    """Make a root file system and import it, under a name that lasts as long as the block."""
    import docker  # noqa: PLC0415  # As in `public_base`.

    temporary = f"{_TEMPORARY}:{hashlib.sha256(str(scratch).encode()).hexdigest()[:12]}"
    folder = scratch / "rootfs"
    shutil.rmtree(folder, ignore_errors=True)  # One that was killed left it.
    folder.mkdir()
    try:
        rootfs.make(folder / "rootfs.tar", packages(recipe()), report)
        report("importing the root file system")
        name, _, tag = temporary.partition(":")
        said = client.api.import_image_from_file(str(folder / "rootfs.tar"), name, tag)
        if not _have(client, temporary):
            raise ImageMissing("the root file system can't be imported", cause=str(said).strip(), hint=_AGAIN)
    except docker.errors.APIError as error:
        raise ImageMissing("the root file system can't be imported", cause=str(error), hint=_AGAIN) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        yield temporary
    finally:
        try:
            client.api.remove_image(temporary, noprune=True)  # Only its name: what was built on it keeps its layers.
        except docker.errors.APIError as error:
            report(str(error))


def _follow(start: Callable[[], Any], report: Callable[[str], None], *, failed: str) -> None:
    """Run a long request to the engine, and tell what it says."""
    import docker  # noqa: PLC0415  # As in `public_base`.
    import requests  # noqa: PLC0415  # As in `public_base`.

    last = ""
    try:
        for event in start():
            if not isinstance(event, dict):
                continue
            if "error" in event:
                hint = "the same command again; docker build images/base shows the whole log"
                raise ImageMissing(failed, cause=f"{event['error']} {last}".strip(), hint=hint)
            if text := str(event.get("stream") or event.get("status") or "").strip():
                last = text
                report(text)
    except docker.errors.APIError as error:
        raise ImageMissing(failed, cause=str(error.explanation or error), hint=_AGAIN) from error
    except requests.RequestException as error:
        raise EngineUnavailable("the engine stopped answering", cause=str(error), hint="dreamdock doctor") from error


def _have(client: Any, name: str) -> bool:
    import docker  # noqa: PLC0415  # As in `public_base`.

    try:
        client.api.inspect_image(name)
    except docker.errors.ImageNotFound:
        return False
    return True


def _check_disk(scratch: Path) -> None:
    folders = (scratch, Path(tempfile.gettempdir()), Path(engine.ping().root_dir))
    for folder in (folder for folder in folders if folder.is_dir()):
        if (free := shutil.disk_usage(folder).free) < _NEEDED_BYTES:
            cause = f"{folder} has {free // 1_000_000} MB free; building takes {_NEEDED_BYTES // 1_000_000} MB"
            raise DiskFull("no room to build the base image", cause=cause, hint="docker system df shows what can go")


@contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (scratch / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
