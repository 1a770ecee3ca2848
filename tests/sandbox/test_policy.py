from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sandbox.container import runner_source, seccomp_profile
from sandbox.policy import ENVIRONMENT, SETUP_CA, SETUP_ENVIRONMENT, container_settings, describe
from sandbox.spec import Limits, SandboxSpec, SetupSpec

SPEC = SandboxSpec(image="some/image:1", labels={"dreamdock.run": "r1", "dreamdock": "nonsense"})


def settings(spec: SandboxSpec = SPEC, **more: Any) -> dict[str, Any]:
    return container_settings(
        spec, workspace=Path("/slots/a1"), runner_source="print('runner')", seccomp='{"a": 1}', **more
    )


def host_config(spec: SandboxSpec = SPEC, **more: Any) -> dict[str, Any]:
    config: dict[str, Any] = settings(spec, **more)["HostConfig"]
    return config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NetworkMode", "none"),
        ("Privileged", False),
        ("CapDrop", ["ALL"]),
        ("CapAdd", []),
        ("SecurityOpt", ["no-new-privileges", 'seccomp={"a": 1}']),
        ("ReadonlyRootfs", True),
        ("IpcMode", "private"),
        ("CgroupnsMode", "private"),
        ("Dns", ["127.0.0.1"]),
        ("Init", False),
        ("RestartPolicy", {"Name": "no"}),
        ("LogConfig", {"Type": "none", "Config": {}}),
        ("Devices", []),
    ],
)
def test_every_sandbox_is_sealed_the_same_way(key: str, value: object) -> None:
    assert host_config()[key] == value


def test_limits_reach_the_engine_and_memory_leaves_no_swap() -> None:
    config = host_config(SandboxSpec(image="i", limits=Limits(memory_mb=1000, cpus=1.5, pids=77, files=300)))
    assert config["Memory"] == config["MemorySwap"] == 1000 * 1024 * 1024
    assert config["CpuQuota"] / config["CpuPeriod"] == 1.5
    assert config["PidsLimit"] == 77
    assert {"Name": "nofile", "Soft": 300, "Hard": 300} in config["Ulimits"]
    assert {"Name": "core", "Soft": 0, "Hard": 0} in config["Ulimits"]


def test_the_workspace_is_the_only_thing_of_the_host_that_is_mounted() -> None:
    config = host_config()
    assert "Binds" not in config
    (mount,) = config["Mounts"]
    assert (mount["Type"], mount["Source"], mount["Target"]) == ("bind", "/slots/a1", "/workspace")
    assert mount["BindOptions"] == {"Propagation": "rslave"}


def test_files_in_memory_can_never_fill_the_memory_limit() -> None:
    config = host_config(SandboxSpec(image="i", limits=Limits(memory_mb=64, tmpfs_mb=4096)))
    sizes = [int(options.split("size=")[1].split("m")[0]) for options in config["Tmpfs"].values()]
    assert sum(sizes) + config["ShmSize"] / 1024 / 1024 <= 32


def test_an_images_volumes_are_kept_off_the_hosts_disk() -> None:
    tmpfs = host_config(volumes=("/data", "/tmp", "/workspace"))["Tmpfs"]  # noqa: S108  # Paths inside.
    assert set(tmpfs) == {"/tmp", "/run", "/data"}  # noqa: S108  # As above.
    assert all("nosuid,nodev" in options for options in tmpfs.values())


def test_the_runner_goes_into_the_command_line_whole() -> None:
    assert "print('runner')" in settings()["Entrypoint"]
    assert settings()["Cmd"] == []
    assert len(runner_source().encode()) < 128 * 1024, "the kernel's limit for one argument"


def test_nothing_of_the_workers_environment_goes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-1")
    assert settings()["Env"] == [f"{name}={value}" for name, value in ENVIRONMENT.items()]


SETUP = SetupSpec(image="some/image:1", commands=("make deps",), environment={"PIP_INDEX_URL": "http://i/"})
ON = SETUP.model_copy(update={"network": True})


def test_set_up_is_sealed_as_a_sandbox_is_but_for_the_network() -> None:
    sealed, off, on = settings(), settings(SETUP), settings(ON)
    assert {key for key in sealed["HostConfig"] if sealed["HostConfig"][key] != on["HostConfig"][key]} == {
        *("NetworkMode", "Dns", "DnsSearch", "DnsOptions")
    }
    assert (off["HostConfig"], on["HostConfig"]["NetworkMode"]) == (sealed["HostConfig"], "bridge")
    assert {key for key in sealed if sealed[key] != off[key]} == {"Env", "Labels"}


def test_set_up_has_the_policys_variables_and_the_operators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-1")
    names = [item.partition("=")[0] for item in settings(SETUP)["Env"]]
    assert names == [*ENVIRONMENT, *SETUP_ENVIRONMENT, "PIP_INDEX_URL"]
    trusting = SETUP.model_copy(update={"ca_bundle": Path("/etc/ca.pem")})
    assert f"PIP_CERT={SETUP_CA}" in settings(trusting)["Env"]
    assert settings(trusting)["HostConfig"]["Mounts"] == host_config()["Mounts"], "a copy is given, no file of the host"


def test_the_description_says_that_set_up_has_a_network() -> None:
    assert describe(SETUP)["network"] == describe(SPEC)["network"]
    assert describe(ON)["network"].startswith("on")
    assert "PIP_INDEX_URL" in describe(ON)["environment"]
    assert "http://i/" not in str(describe(ON))


def test_the_description_says_what_keeps_the_workspaces_limit() -> None:
    assert describe(SPEC)["workspace"].startswith("a disk of its own of 8192 MiB")
    assert describe(SPEC, own_disk=False)["workspace"].startswith("8192 MiB, for what it changes; more ends the run")


def test_labels_say_whose_it_is_and_cant_hide_that_it_is_ours() -> None:
    assert settings()["Labels"] == {"dreamdock": "sandbox", "dreamdock.run": "r1"}


def test_the_description_tells_the_limits_and_the_image() -> None:
    said = describe(SandboxSpec(image="i", limits=Limits(memory_mb=1234, pids=99, cpus=0.5, command_seconds=7)))
    text = " ".join(said.values())
    assert said["image"] == "i"
    for fact in ("1234 MiB", "99", "0.5 cores", "7 s", "none", "read-only"):
        assert fact in text


@pytest.mark.parametrize("bad", [{"memory_mb": 1}, {"pids": 0}, {"cpus": 0}, {"network": "host"}, {"files": 10**6}])
def test_limits_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Limits(**bad)


def rules(name: str) -> list[dict[str, Any]]:
    return [rule for rule in json.loads(seccomp_profile())["syscalls"] if name in rule["names"]]


def test_what_is_not_allowed_is_refused_and_only_the_native_interface_exists() -> None:
    profile = json.loads(seccomp_profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(entry["subArchitectures"] == [] for entry in profile["archMap"])


@pytest.mark.parametrize(
    "name",
    [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "unshare",
        "setns",
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "open_tree",
        "move_mount",
        "fsopen",
        "fsmount",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_getfd",
        "kcmp",
        "keyctl",
        "add_key",
        "request_key",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "open_by_handle_at",
        "name_to_handle_at",
        "socketcall",
        "init_module",
        "finit_module",
        "kexec_load",
        "process_madvise",
        "move_pages",
        "migrate_pages",
        "quotactl",
        "syslog",
        "reboot",
        "clock_settime",
        "iopl",
        "ioperm",
        "modify_ldt",
    ],
)
def test_dangerous_calls_are_not_on_the_list(name: str) -> None:
    assert rules(name) == []


def test_socket_families_are_allowed_by_equality_alone() -> None:
    arguments = [rule["args"] for rule in rules("socket")]
    assert arguments == [[{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}] for family in (1, 2, 10, 16)]


@pytest.mark.parametrize("name", ["prlimit64", "sched_setaffinity", "sched_setattr", "sched_setscheduler"])
def test_limits_and_scheduling_are_ones_own(name: str) -> None:
    assert [rule["args"] for rule in rules(name)] == [[{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]]


def test_new_processes_get_no_new_namespace() -> None:
    (clone,) = rules("clone")
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    (clone3,) = rules("clone3")
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
