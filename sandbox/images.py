"""Our own images of the sandboxes, each named after what it is made from; built where the engine doesn't have it.

A family is a folder of `images/`: the base, and what is built on the base. A bare family name means our own image.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sandbox import engine, rootfs
from sandbox.errors import DiskFull, EngineUnavailable, ImageMissing, ImageUnusable, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sandbox.spec import Base

PUBLIC = "debian:bookworm-slim"
BASE: Final = "base"
FAMILIES: Final = (BASE, "python", "node", "c")
_OWN: Final = "dreamdock/"
_TEMPORARY = "dreamdock/rootfs"
_AGAIN = "the same command again; dreamdock doctor tells what is wrong"
_NEEDED_BYTES = 1_500_000_000
_REGISTRY_SECONDS = 15.0
_BUILD_SECONDS = 1800.0


class Facts(NamedTuple):
    """What the engine says of an image. `id` is `sha256:` and 64 hex digits, `architecture` as in `amd64`."""

    id: str
    size_bytes: int
    architecture: str


def recipe(family: str = BASE, root: Path | None = None) -> Path:
    """Return the folder that an image is made from. Raises ImageMissing where it isn't there."""
    folder = (root or Path(__file__).resolve().parent.parent / "images") / family
    if not folder.is_dir():
        cause = f"{folder} isn't there: DreamDock was installed without its images"
        raise ImageMissing(
            f"the {family} image can't be built", cause=cause, hint="pip install --editable the repository"
        )
    return folder


def image_name(family: str, root: Path | None = None) -> str:
    """Return the name of our own image; its tag is a hash of its recipe, and of the base's tag where it has one."""
    digest = hashlib.sha256(b"" if family == BASE else image_name(BASE, root).encode())
    for file in sorted(recipe(family, root).iterdir()):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return f"{_OWN}{family}:{digest.hexdigest()[:12]}"


def base_image() -> str:
    """Return the base image's name."""
    return image_name(BASE)


def named(image: str) -> str:
    """Return the image that is meant: of a bare family name our own, else the name as it is. Raises ImageMissing."""
    return image_name(image) if image in FAMILIES else image


def family_of(name: str) -> str | None:
    """Return the family whose image has this name, as `image_name` gives it or with an older tag."""
    family = name.partition(":")[0].removeprefix(_OWN)
    return family if name.startswith(_OWN) and family in FAMILIES else None


def repo_image(base: Base, path: str) -> str:
    """Return the name of the image of a Dockerfile that lies at `path` in a base commit; see `sandbox.repo_image`."""
    digest = hashlib.sha256(f"{base.project}\0{base.tree}\0{path}".encode("utf-8", "surrogatepass"))
    return f"{_OWN}repo:{digest.hexdigest()[:16]}"


def packages(folder: Path) -> list[str]:
    """Return the Debian packages that a recipe wants."""
    lines = (folder / "packages").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def check(name: str) -> None:
    """Raise where the engine can't start this image: ImageMissing, ImageUnusable (built for another architecture).

    Raises EngineUnavailable where the engine doesn't answer.
    """
    found, client = facts(name), engine.client()
    if found is None:
        raise missing(name)
    ours = str(client.version()["Arch"])
    if found.architecture and found.architecture != ours:
        cause = f"it was built for {found.architecture}, and the engine runs {ours}"
        hint = f"build or pull it for {ours}"
        raise ImageUnusable(f"the image {name} is for another architecture", cause=cause, hint=hint)


def missing(name: str) -> ImageMissing:
    """Return the error for an image that the engine doesn't have."""
    if (family := family_of(name)) is not None:
        cause = "DreamDock's own images are built on the machine that runs them"
        return ImageMissing(f"no image {name}", cause=cause, hint=f"dreamdock images build {family}")
    cause = "the engine doesn't have it, and images aren't fetched behind your back"
    return ImageMissing(f"no image {name}", cause=cause, hint=f"docker pull {name}")


def facts(name: str) -> Facts | None:
    """Return what the engine says of an image, None where it has none of that name. Raises EngineUnavailable."""
    import docker  # noqa: PLC0415  # As in `public_base`.

    try:
        told = engine.client().api.inspect_image(name)
    except docker.errors.ImageNotFound:
        return None
    return Facts(id=str(told["Id"]), size_bytes=int(told["Size"]), architecture=str(told.get("Architecture") or ""))


def names() -> list[str]:
    """Return the names of all images that the engine has, with tags and digests. Raises EngineUnavailable."""
    import docker  # noqa: PLC0415  # As in `public_base`.
    import requests  # noqa: PLC0415  # As in `public_base`.

    if not engine.answers():  # The SDK leaves a socket open where nobody listens, and this is asked again and again.
        raise EngineUnavailable("the engine doesn't answer", hint="dreamdock doctor")
    try:
        with closing(engine.client(timeout_s=_REGISTRY_SECONDS)) as client:
            found = client.api.images()
    except (docker.errors.APIError, requests.RequestException) as error:
        raise EngineUnavailable("the engine doesn't list its images", cause=str(error), hint=_AGAIN) from error
    return [name for image in found for kind in ("RepoTags", "RepoDigests") for name in image.get(kind) or ()]


def find(family: str) -> str | None:
    """Return the name of our own image if the engine has it. Raises EngineUnavailable."""
    name = image_name(family)
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


def ensure(family: str, report: Callable[[str], None], *, scratch: Path, public: str | None = None) -> str:
    """Return the name of our own image, after building it, and its base, if the engine doesn't have it.

    `public` is the image to build the base from; without it a root file system is made with mmdebstrap. `scratch` takes
    a lock and, for that time, the root file system. `report` gets lines of progress. An image appears whole or not at
    all. Raises ImageMissing, DiskFull, EngineUnavailable, and WorkspaceError where this account may not use `scratch`.
    """
    name, client = image_name(family), engine.client(timeout_s=_BUILD_SECONDS)
    if _have(client, name):
        return name
    base = None if family == BASE else ensure(BASE, report, scratch=scratch, public=public)
    with _alone(scratch):
        if _have(client, name):
            return name
        _check_disk(scratch, name)
        if (source := base or public) is not None:
            build(client, recipe(family), name, base=source, report=report)
            return name
        with _imported(client, scratch, report) as made:
            build(client, recipe(family), name, base=made, report=report)
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
        found = engine.printed(name, argv, network_mode="none")
    except docker.errors.DockerException as error:
        hint = "docker run --rm shows what it does"
        raise ImageUnusable(f"{argv[0]} doesn't run in {name}", cause=str(error)[:300], hint=hint) from error
    return found.decode().strip()


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
    if network == "host" and engine.shift():
        network = "default"  # A daemon that remaps users doesn't share the host's.
    options: dict[str, Any] = {"buildargs": {"BASE": base}, "network_mode": network, "labels": dict(labels or {})}
    options |= {"rm": True, "forcerm": True, "decode": True}
    hint = f"the same command again; docker build {folder} shows the whole log"
    failed = f"{name} can't be built"
    follow(lambda: client.api.build(path=str(folder), tag=name, **options), report, failed=failed, hint=hint)


def follow(start: Callable[[], Any], report: Callable[[str], None], *, failed: str, hint: str) -> None:
    """Run a long request to the engine, and tell what it says."""
    import docker  # noqa: PLC0415  # As in `public_base`.
    import requests  # noqa: PLC0415  # As in `public_base`.
    import urllib3  # noqa: PLC0415  # What requests lets through in the middle of an answer.

    last = ""
    try:
        for event in start():
            if not isinstance(event, dict):
                continue
            if "error" in event:
                raise ImageMissing(failed, cause=f"{event['error']} {last}".strip(), hint=hint)
            if text := str(event.get("stream") or event.get("status") or "").strip():
                last = text
                report(text)
    except docker.errors.APIError as error:
        raise ImageMissing(failed, cause=str(error.explanation or error), hint=_AGAIN) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise EngineUnavailable("the engine stopped answering", cause=str(error), hint="dreamdock doctor") from error


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
        found = re.search(r"sha256:[0-9a-f]{64}", str(said))
        if found and not _have(client, temporary):  # Podman passes over the name.
            client.api.tag(found[0], name, tag)
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


def _have(client: Any, name: str) -> bool:
    import docker  # noqa: PLC0415  # As in `public_base`.

    try:
        client.api.inspect_image(name)
    except docker.errors.ImageNotFound:
        return False
    return True


def _check_disk(scratch: Path, name: str) -> None:
    folders = (scratch, Path(tempfile.gettempdir()), Path(engine.ping().root_dir))
    for folder in (folder for folder in folders if folder.is_dir()):
        if (free := shutil.disk_usage(folder).free) < _NEEDED_BYTES:
            cause = f"{folder} has {free // 1_000_000} MB free; building takes {_NEEDED_BYTES // 1_000_000} MB"
            raise DiskFull(f"no room to build {name}", cause=cause, hint="docker system df shows what can go")


@contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    try:
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (scratch / "image.lock").open("w")
    except PermissionError as error:
        hint = "the same command as root"
        raise WorkspaceError(f"{scratch} can't be written to", cause=str(error), hint=hint) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
