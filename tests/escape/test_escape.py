"""Every promise of a sealed sandbox, attacked; and every check proven able to fail, on a sandbox that isn't sealed."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from launching import launched

from orchestrator.cli.attacks import ALL
from orchestrator.cli.terminal_attack import SEQUENCES, obeyed
from orchestrator.cli.text import visible
from sandbox.attack.check import Check, Ground, HostCheck, NotHeld
from sandbox.attack.hostile import hostile_source
from sandbox.attack.neighbour import beside
from sandbox.attack.opening import opened
from sandbox.attack.suite import CHECKS, Bait, act, attack, carry_out
from sandbox.container import runner_source
from sandbox.errors import ChannelLost
from sandbox.images import base_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.container import Container
    from sandbox.open import Sandbox

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]
INSIDE = {check.id: check for check in CHECKS if isinstance(check, Check)}
FROM_THE_HOST = {check.id: check for check in ALL if isinstance(check, HostCheck)}


@pytest.mark.parametrize("name", INSIDE)
def test_a_sealed_sandbox_keeps_the_promise(name: str, sealed: Sandbox, bait: Bait) -> None:
    verdict = carry_out(INSIDE[name], sealed, bait)
    assert verdict.held, verdict.result
    assert verdict.result


@pytest.mark.parametrize("name", FROM_THE_HOST)
def test_the_host_keeps_the_promise(name: str, sealed: Sandbox, bait: Bait, tmp_path: Path) -> None:
    verdict = act(FROM_THE_HOST[name], sealed, base_image(), tmp_path, bait)
    assert verdict.held, verdict.result
    assert verdict.result
    assert list(tmp_path.iterdir()) == []


def test_the_checks_cover_what_the_readers_of_the_page_ask_for() -> None:
    assert len(INSIDE) + len(FROM_THE_HOST) == len({check.id for check in ALL}) == len(ALL)
    for check in ALL:
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
    verdict = carry_out(INSIDE[name], unsealed.shell, bait)
    assert not verdict.held, verdict.result


def test_no_limits_are_found_out(slot: Path, bait: Bait) -> None:
    config = {"PidsLimit": 2000, "Memory": 3 << 30, "MemorySwap": 3 << 30, "CpuQuota": 400_000, "ReadonlyRootfs": False}
    config |= {"Tmpfs": {"/tmp": "size=1g,mode=1777"}}  # noqa: S108  # A path inside.
    with launched(slot, config=config) as container:
        for name in ("process-limit", "memory-limit", "temporary-files"):
            assert not carry_out(INSIDE[name], container.shell, bait).held, name


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
        assert not carry_out(INSIDE[name], container.shell, bait).held


def test_a_runner_that_isnt_the_first_process_is_found_out(slot: Path, bait: Bait) -> None:
    with launched(slot, config={"Init": True}) as container:
        assert not carry_out(INSIDE["runner-signals"], container.shell, bait).held


# And those that act from the host.


@pytest.fixture
def ground(sealed: Sandbox, bait: Bait, tmp_path: Path) -> Ground:
    return Ground(box=sealed, image=base_image(), folder=tmp_path, canary=bait.canary, token=bait.token)


def test_what_a_repository_executes_on_the_host_is_found_out(ground: Ground) -> None:
    (ground.folder / "executed").write_text("a hook")
    with pytest.raises(NotHeld, match="executed on the host: 'a hook'"):
        FROM_THE_HOST["hostile-repository"].probe(ground)


def test_a_hostile_repository_is_hostile_to_plain_git(tmp_path: Path, bait: Bait) -> None:
    evil, proof = tmp_path / "evil.sh", tmp_path / "executed"
    evil.write_text(f'#!/bin/sh\necho "$0" >>{proof}\ncat\n')
    evil.chmod(0o755)
    source = hostile_source(tmp_path, evil, bait.canary)
    for command in (["status"], ["diff"], ["checkout", "HEAD", "--", "a"]):
        proof.unlink(missing_ok=True)
        plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        subprocess.run(["git", "-C", source, *command], env=plain, capture_output=True, check=False)
        assert proof.exists(), command


def test_a_neighbour_that_suffers_is_found_out(ground: Ground) -> None:
    with opened(base_image(), ground.folder) as neighbour:
        neighbour.kill()
        with pytest.raises(ChannelLost):
            beside(ground.box, neighbour)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_that_came_through_would_be_seen(name: str) -> None:
    assert obeyed(SEQUENCES[name])
    assert not obeyed(visible(SEQUENCES[name]))
