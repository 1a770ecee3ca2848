"""What is seen inside a real container, held against what the engine was told, and against what it wasn't."""

from __future__ import annotations

import contextlib
import copy
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from launching import launched

from sandbox import outside, podman
from sandbox.attack.check import LIMITS
from sandbox.container import Container, runner_source, seccomp_profile
from sandbox.errors import PolicyRefused
from sandbox.exec_scripts import SEE
from sandbox.images import base_image
from sandbox.policy import container_settings
from sandbox.sealed import SEEN, SHM_FORCED, STATUS, host_id, require
from sandbox.slot import Slot
from sandbox.spec import JOB_UID, Limits, SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Seen = dict[str, str]
SPEC = SandboxSpec(image="any", limits=Limits(memory_mb=256, cpus=1.5, pids=100, files=1000, tmpfs_mb=32))


@pytest.fixture(scope="module", params=["inside", "outside"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Return what a process of a real sandbox sees, which has what PID 1 has; or what is seen of PID 1 from here."""
    slot = Slot.make(tmp_path_factory.mktemp("sealed"), "r", size_mb=64)
    spec = SPEC.model_copy(update={"image": base_image()})
    with contextlib.ExitStack() as stack:
        stack.callback(slot.remove)
        container = stack.enter_context(contextlib.closing(Container.start(spec, workspace=slot.merged)))
        assert container.uid == JOB_UID
        paths = " ".join(SEEN).replace("/proc/1/", "/proc/self/")
        words = container.shell.exec(["sh", "-c", SEE % paths]).output.decode().split("\0")[1:]
        pairs = zip(words[::2], words[1::2], strict=True)
        found = {path.replace("/proc/self/", "/proc/1/"): text for path, text in pairs}
        if request.param == "outside":
            # Whatever is told there: what counts is seen from here, but for what is of the IPC namespace.
            lies = dict.fromkeys(SEEN, "a lie") | {SHM_FORCED: found[SHM_FORCED]}
            known = outside.seen(container._pid, container.id, lies)
            differing = {path for path, text in found.items() if plain(known[path]) != plain(text)}
            assert differing == {STATUS}, "another process's"
            assert {path for path in known if known[path] == "a lie"} == set()
            found = known
    return found


def plain(text: str) -> str:
    """Drop what a mount of cgroups shows: each reader is told it from its own."""
    return re.sub(r" /\S+ (/sys/fs/cgroup)", r" / \1", text)


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    made = Slot.make(tmp_path, "r", size_mb=64)
    yield made
    made.remove()


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return container_settings(SPEC, workspace=tmp_path, runner_source="", seccomp=seccomp_profile())


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_what_was_asked_for_is_in_force(settings: dict[str, Any], seen: Seen) -> None:
    require(settings, seen)
    assert host_id(seen, JOB_UID) == JOB_UID


LACKING = {
    "user": ("User", "1000:61357"),
    "group": ("User", "61357:1000"),
    "memory": ("Memory", 1 << 20),
    "pids": ("PidsLimit", 99),
    "cpu": ("CpuQuota", 1),
    "ulimit nofile": ("Ulimits", [{"Name": "nofile", "Soft": 1, "Hard": 1}]),
    "tmpfs": ("Tmpfs", {"/tmp": "size=1m"}),  # noqa: S108  # A path inside.
    "shared memory": ("ShmSize", 1024),
    "masked paths": ("MaskedPaths", ["/proc/version"]),
}


@pytest.mark.needs_engine
@pytest.mark.needs_root
@pytest.mark.parametrize("rule", LACKING)
def test_what_isnt_as_it_was_asked_for_is_named(rule: str, settings: dict[str, Any], seen: Seen) -> None:
    key, value = LACKING[rule]
    changed = copy.deepcopy(settings)
    (changed if key == "User" else changed["HostConfig"])[key] = value
    with pytest.raises(PolicyRefused) as refused:
        require(changed, seen)
    assert refused.value.rule == rule


OPENED = {
    "capabilities": ("/proc/1/status", "CapEff:\t0000000000000000", "CapEff:\t0000000000200000"),
    "no-new-privileges": ("/proc/1/status", "NoNewPrivs:\t1", "NoNewPrivs:\t0"),
    "seccomp": ("/proc/1/status", "Seccomp:\t2", "Seccomp:\t0"),
    "network": ("/proc/net/dev", "    lo:", "  eth0: 0\n    lo:"),
    "sysctl": ("/proc/sys/kernel/shm_rmid_forced", "1", "0"),
    "root file system": ("/proc/1/mountinfo", " / / ro,", " / / rw,"),
}


@pytest.mark.needs_engine
@pytest.mark.needs_root
@pytest.mark.parametrize("rule", OPENED)
def test_what_an_engine_would_have_passed_over_is_named(rule: str, settings: dict[str, Any], seen: Seen) -> None:
    path, closed, opened = OPENED[rule]
    assert closed in seen[path]
    with pytest.raises(PolicyRefused) as refused:
        require(settings, seen | {path: seen[path].replace(closed, opened)})
    assert refused.value.rule == rule


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_the_files_of_the_unified_cgroup_count_too(settings: dict[str, Any], seen: Seen) -> None:
    """In the kernel's documented form: where v1 has the controllers, no real ones can be had beside."""
    root = "/sys/fs/cgroup"
    unified = {f"{root}/memory.max": f"{256 << 20}\n", f"{root}/memory.swap.max": "0\n"}
    unified |= {f"{root}/pids.max": "100\n", f"{root}/cpu.max": "150000 100000\n"}
    without = {path: text for path, text in seen.items() if not path.startswith(root)}
    require(settings, without | unified)
    for path, rule in zip(unified, ("memory", "swap", "pids", "cpu"), strict=True):
        with pytest.raises(PolicyRefused) as refused:
            require(settings, without | unified | {path: "max\n"})
        assert refused.value.rule == rule


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_an_image_that_lies_about_itself_is_not_asked(slot: Slot) -> None:
    said = '"seen": self.seen}'
    assert said in runner_source()
    lying = runner_source().replace(said, f'"seen": {{"{SHM_FORCED}": "1", "/proc/1/status": "Uid:\\t0"}}}}')
    with launched(slot.merged, source=lying) as container:
        assert container.uid == JOB_UID
    # Nor where the engine drops a rule, and the image says what is wanted.
    spec = SandboxSpec(image="any", limits=LIMITS)
    settings = container_settings(spec, workspace=slot.merged, runner_source="", seccomp=seccomp_profile())
    wanted = str(settings["HostConfig"]["Memory"])
    told = {"/sys/fs/cgroup/memory.max": wanted, "/sys/fs/cgroup/memory/memory.limit_in_bytes": wanted}
    with launched(slot.merged, config={"Memory": 300 << 20, "MemorySwap": 300 << 20}) as container:
        with pytest.raises(PolicyRefused) as refused:
            require(settings, outside.seen(container._pid, container.id, {**told, SHM_FORCED: "1"}))
        assert refused.value.rule == "memory"


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_what_can_not_be_seen_from_here_is_taken_as_it_is_told(slot: Slot) -> None:
    told = dict.fromkeys(SEEN, "told")
    assert outside.seen(os.getpid(), "0" * 64, told) == outside.seen(0, "0" * 64, told) == told
    with launched(slot.merged) as container:
        assert outside.seen(os.getpid(), container.id, told) == told, "the number is another process's here"


@pytest.mark.parametrize(
    ("users", "groups", "found"),
    [
        ("0 0 4294967295", "0 0 4294967295", 61357),
        ("0 100000 65536", "0 100000 65536", 161357),
        ("0 5 9\n9 70 65536", "0 5 9\n9 70 65536", 61418),
    ],
)
def test_the_hosts_user_is_found(users: str, groups: str, found: int) -> None:
    assert host_id({"/proc/1/uid_map": users, "/proc/1/gid_map": groups}, JOB_UID) == found


@pytest.mark.parametrize("groups", ["0 200000 65536", "0 100000 100", ""])
def test_a_user_that_isnt_one_on_the_host_is_refused(groups: str) -> None:
    with pytest.raises(PolicyRefused, match="of one number"):
        host_id({"/proc/1/uid_map": "0 100000 65536", "/proc/1/gid_map": groups}, JOB_UID)


def test_podman_is_told_the_same_in_its_words(settings: dict[str, Any], tmp_path: Path) -> None:
    before = copy.deepcopy(settings)
    body, files = podman.translated(settings, tmp_path)
    assert settings == before
    assert set(files) == {"seccomp.json", "hosts", "resolv.conf"}
    assert files["seccomp.json"] == seccomp_profile()
    no_new, seccomp, mask = body["HostConfig"]["SecurityOpt"]
    assert (no_new, seccomp) == ("no-new-privileges", f"seccomp={tmp_path}/seccomp.json")
    assert {"/proc/keys", "/sys/devices", "/sys/module"} <= set(mask.removeprefix("mask=").split(":"))
    assert body["HostConfig"]["Tmpfs"]["/var/tmp"].startswith("ro,")  # noqa: S108  # A path inside.
    assert [mount["Target"] for mount in body["HostConfig"]["Mounts"]] == [
        "/workspace",
        "/etc/hosts",
        "/etc/resolv.conf",
    ]
    assert runner_source() not in str(files)
