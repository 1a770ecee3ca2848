"""Every promise of a sealed sandbox, attacked; and every check proven able to fail, on a sandbox that isn't sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from launching import launched

from sandbox.attack.suite import CHECKS, Bait, attack, carry_out
from sandbox.container import Container, runner_source
from sandbox.images import base_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.open import Sandbox

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]
BY_ID = {check.id: check for check in CHECKS}


@pytest.mark.parametrize("name", BY_ID)
def test_a_sealed_sandbox_keeps_the_promise(name: str, sealed: Sandbox, bait: Bait) -> None:
    verdict = carry_out(BY_ID[name], sealed, bait)
    assert verdict.held, verdict.result
    assert verdict.result


def test_the_checks_cover_what_the_readers_of_the_page_ask_for() -> None:
    assert len(BY_ID) == len(CHECKS)
    for check in CHECKS:
        assert check.promise.endswith(".")
        assert check.attempt


def test_the_attack_as_a_whole_runs_in_a_sandbox_of_its_own_and_cleans_up(tmp_path: Path) -> None:
    verdicts = attack(base_image(), tmp_path / "root")
    assert next(verdicts).held
    verdicts.close()
    assert list((tmp_path / "root").iterdir()) == []


# The same checks where they have to fail. Each way of being weak is one that a mistake could bring about.


UNSEALED = {
    "NetworkMode": "host",
    "Dns": [],
    "ExtraHosts": ["example.com:127.0.0.1"],
    "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
    "CapDrop": [],
    "CapAdd": ["SYS_ADMIN", "SYS_PTRACE"],
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "ReadonlyRootfs": False,
    "Sysctls": {},
    "Tmpfs": {},
    "CpuQuota": 0,
    "Memory": 0,
    "MemorySwap": 0,
    "PidsLimit": 0,
}
EVERYTHING = {
    "network-interfaces",
    "network-connect",
    "network-dns",
    "network-host-loopback",
    "network-abstract-socket",
}
EVERYTHING |= {
    "socket-families",
    "syscalls-32-bit",
    "io-uring",
    "host-mounts",
    "host-files",
    "root-read-only",
    "devices",
}
EVERYTHING |= {
    "mounting",
    "engine-socket",
    "environment",
    "host-identity",
    "masked-paths",
    "capabilities",
    "become-root",
}
EVERYTHING |= {"namespaces", "tracing", "kernel-interfaces", "runner-closed", "runner-limits"}


@pytest.fixture(scope="module")
def unsealed(slot: Path, bait: Bait, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Yield a container of root on the host's network, with files of the host and a secret."""
    socket = tmp_path_factory.mktemp("engine") / "docker.sock"
    socket.touch()
    binds = [f"{bait.canary}:{bait.canary}", f"{socket}:/var/run/docker.sock"]
    environment = ["API_TOKEN=sk-0123456789abcdef0123"]
    with launched(slot, config=UNSEALED | {"Binds": binds}, User="0:0", Hostname="", Env=environment) as container:
        yield container


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_an_unsealed_sandbox_is_found_out(name: str, unsealed: Container, bait: Bait) -> None:
    verdict = carry_out(BY_ID[name], unsealed.shell, bait)
    assert not verdict.held, verdict.result


def test_no_limits_are_found_out(slot: Path, bait: Bait) -> None:
    config = {"PidsLimit": 2000, "Memory": 3 << 30, "MemorySwap": 3 << 30, "CpuQuota": 400_000, "ReadonlyRootfs": False}
    config |= {"Tmpfs": {"/tmp": "size=1g,mode=1777"}}  # noqa: S108  # A path inside.
    with launched(slot, config=config) as container:
        for name in ("process-limit", "memory-limit", "temporary-files"):
            assert not carry_out(BY_ID[name], container.shell, bait).held, name


WEAK_RUNNERS = {
    "forged-frames": {"moves = [(stdin, 0), ": "moves = [(self.answers, 150), (stdin, 0), "},
    "time-limit": {"self.kill_command()": "os.kill(child.pid, 9); child.status = 9"},
    "fork-bomb": {"        os.kill(pid, number)": "        pass", "KILL_SECONDS = 5.0": "KILL_SECONDS = 0.1"},
}


@pytest.mark.parametrize("name", WEAK_RUNNERS)
def test_a_weak_runner_is_found_out(name: str, slot: Path, bait: Bait) -> None:
    source = runner_source()
    for strong, weak in WEAK_RUNNERS[name].items():
        assert strong in source
        source = source.replace(strong, weak)
    with launched(slot, source=source) as container:
        for _ in range(3):
            container.shell.run("true")  # In shells from before the line was taken.
        assert not carry_out(BY_ID[name], container.shell, bait).held


def test_a_runner_that_isnt_the_first_process_is_found_out(slot: Path, bait: Bait) -> None:
    with launched(slot, config={"Init": True}) as container:
        assert not carry_out(BY_ID["runner-signals"], container.shell, bait).held
