"""The container engine: where it listens, whether it answers, what it is."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_PODMAN = "Podman"


@dataclass(frozen=True)
class EngineInfo:
    """What an engine says of itself."""

    version: str
    api_version: str
    storage_driver: str
    cgroup_version: str
    root_dir: str
    """Where it keeps its images and containers, a path on the engine's host."""
    name: str = "Docker"
    shift: int = 0
    """What is added to the ids of a container to get the host's: more than 0 where it remaps users (userns-remap)."""


def address() -> str:
    """Return the engine's address: `DOCKER_HOST`, the variable of every Docker tool, else the local socket."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_ADDRESS


def is_there() -> bool:
    """Whether a local engine listens, also where this user may not talk to it."""
    return address().startswith("unix://") and Path(address().removeprefix("unix://")).is_socket()


def answers(timeout_s: float = 2.0) -> bool:
    """Whether the engine answers a ping. A unix socket is asked directly (about 1 ms, no SDK imported)."""
    if not address().startswith("unix://"):
        try:
            return bool(client(timeout_s=timeout_s).ping())
        except EngineUnavailable:
            return False
        except Exception:  # noqa: BLE001  # The SDK lets errors of requests, urllib3 and paramiko through.
            return False
    return _pinged(timeout_s) is not None


def client(*, timeout_s: float = 60.0) -> Any:
    """Return a connected `docker.DockerClient`; `timeout_s` is its longest wait for one answer, in seconds.

    Raises EngineUnavailable.
    """
    import docker  # noqa: PLC0415  # 70 ms that `ps` and `--help` don't pay.

    # The SDK would ask for the version of everything, which takes Podman half a second.
    told = (_pinged() or {}).get("Api-Version") or "auto"
    try:
        return docker.from_env(version=told, timeout=timeout_s)
    except docker.errors.DockerException as error:
        raise _unavailable(error) from error


def printed(image: str, argv: Sequence[str], *, timeout_s: float = 60.0, **options: Any) -> bytes:
    """Run a small container that only looks, and return what it prints to its output; it's removed.

    `options` are those of the SDK. Raises what the SDK does, ContainerError where it ends with something else than 0.
    """
    import docker  # noqa: PLC0415  # As in `client`.

    # Podman's own defaults of the limits may be more than it may give, its default log where nobody can read it.
    limits = [docker.types.Ulimit(name=name, soft=4096, hard=4096) for name in ("nofile", "nproc")]
    options |= {"ulimits": limits, "log_config": docker.types.LogConfig(type="json-file")}
    with contextlib.closing(client(timeout_s=timeout_s)) as engine:
        container = engine.containers.create(image, list(argv), **options)
        try:
            container.start()
            status = container.wait()["StatusCode"]
            output: bytes = container.logs(stdout=True, stderr=False)
            if status:
                said = container.logs(stdout=False, stderr=True)
                raise docker.errors.ContainerError(container, status, argv, image, said)
        finally:
            container.remove(force=True)
        return output


def shift() -> int:
    """Return what the engine adds to a container's ids, see `EngineInfo`; a busy one is waited for."""
    return ping(timeout_s=60.0).shift


def ping(timeout_s: float = 5.0) -> EngineInfo:
    """Ask the engine what it is. Raises EngineUnavailable."""
    import docker  # noqa: PLC0415  # As in `client`.
    import requests  # noqa: PLC0415  # What the SDK lets through when the connection breaks.

    try:
        engine = client(timeout_s=timeout_s)
        info, version = engine.info(), engine.version()
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise _unavailable(error) from error
    return EngineInfo(
        version=version["Version"],
        api_version=version["ApiVersion"],
        storage_driver=info["Driver"],
        cgroup_version=info.get("CgroupVersion", "1"),
        root_dir=info["DockerRootDir"],
        name=_PODMAN if _is_podman(version) else "Docker",
        shift=_shift(info),
    )


def is_podman() -> bool:
    """Whether the engine is Podman behind its Docker-compatible door (1 ms). Raises EngineUnavailable."""
    headers = _pinged()
    return _is_podman(client().version()) if headers is None else "Libpod-Api-Version" in headers


def _is_podman(version: dict[str, Any]) -> bool:
    return any(part.get("Name") == f"{_PODMAN} Engine" for part in version.get("Components") or ())


def _shift(info: dict[str, Any]) -> int:
    """Return where a remapping daemon's ids start: it names its directory after them, and tells them nowhere else."""
    remaps = any(option.startswith("name=userns") for option in info.get("SecurityOptions") or ())
    found = re.search(r"/(\d+)\.(\d+)/?$", info["DockerRootDir"]) if remaps else None
    return int(found[1]) if found else 0


def _pinged(timeout_s: float = 2.0) -> Mapping[str, str] | None:
    """Return the headers of the engine's answer to a ping; None where there's none, or no unix socket to ask."""
    if not address().startswith("unix://"):
        return None
    connection = _UnixConnection(address().removeprefix("unix://"), timeout_s)
    try:
        connection.request("GET", "/_ping")
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return dict(answer.headers.items()) if answer.status == http.HTTPStatus.OK else None
    finally:
        connection.close()


def _unavailable(error: Exception) -> EngineUnavailable:
    if "Permission denied" in str(error):
        return EngineUnavailable(
            f"no right to talk to the container engine at {address()}",
            cause="its socket belongs to root and the group docker",
            hint="dreamdock up (as root or with password-less sudo), or join the group: sudo usermod -aG docker $USER",
        )
    return EngineUnavailable(
        f"no container engine answers at {address()}",
        cause=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
        hint="start it, or unset DOCKER_HOST" if os.environ.get("DOCKER_HOST") else "dreamdock up",
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
