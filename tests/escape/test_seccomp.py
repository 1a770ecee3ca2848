"""The profile, rule by rule and call by call: 64-bit, 32-bit (`int 0x80`) and x32, in a real sandbox.

Nothing that is asked here is carried out; `sandbox.attack.calls` says how. The controls are containers without a
profile, and with the engine's own.
"""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any, Final

import pytest
import syscalls
from launching import launched
from syscalls import Call

from sandbox.attack.calls import INTERFACES, LET_THROUGH, MOST
from sandbox.container import seccomp_profile

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.open import Sandbox

pytestmark = [
    pytest.mark.needs_engine,
    pytest.mark.needs_root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="an ARM processor has no such other interfaces"),
]
RULES: Final[list[dict[str, Any]]] = json.loads(seccomp_profile())["syscalls"]
ALLOWING: Final = [rule for rule in RULES if rule["action"] == "SCMP_ACT_ALLOW"]
PLAIN: Final = {name for rule in ALLOWING if "args" not in rule for name in rule["names"]}
CONDITIONAL: Final = {name for rule in ALLOWING if "args" in rule for name in rule["names"]}
REFUSED: Final = sorted(set(syscalls.table().values()) - PLAIN - CONDITIONAL)

UNFILTERED: Final = {335: "uretprobe", 336: "uprobe"}
"""From Linux 6.14 on no filter is asked for these, and they end whoever isn't one of the kernel's own trampolines."""

BY_DEFAULT_LESS: Final = {"pkey_alloc", "pkey_free", "pkey_mprotect"}
"""What ours allows and the default of some engine doesn't: keys on pages of one's own memory."""

HIGH: Final = (1 << 32, 1 << 63)


@pytest.fixture(scope="module")
def told(sealed: Sandbox) -> dict[Call, str]:
    """Return what comes of every number of every interface."""
    calls = [Call(interface, number) for interface in INTERFACES for number in range(MOST)]
    return dict(zip(calls, syscalls.answers(sealed, calls), strict=True))


def is_refusal(call: Call, answer: str) -> bool:
    """Say whether the profile refused; another interface may also be one that this kernel hasn't got."""
    return answer in ({"EPERM", "ENOSYS"} if call.interface == "64-bit" else {"EPERM", "ENOSYS", "SIGSYS", "SIGSEGV"})


def test_every_number_is_refused_but_those_of_the_list(told: dict[Call, str]) -> None:
    listed = {number for name in PLAIN if (number := syscalls.number(name)) is not None}
    conditional = {number for name in CONDITIONAL if (number := syscalls.number(name)) is not None}
    assert len(listed) > 250
    for call, answer in told.items():
        if call.interface == "64-bit" and call.number in listed:
            assert answer == LET_THROUGH, call
        elif call.interface == "64-bit" and call.number in UNFILTERED:
            assert answer != LET_THROUGH, call
        elif call.interface != "64-bit" or call.number not in conditional:
            assert is_refusal(call, answer), (call, answer)


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_is_not_on_the_list_is_refused(name: str, told: dict[Call, str]) -> None:
    number = syscalls.number(name)
    assert number is not None
    calls = [Call("64-bit", number), Call("x32", number)]
    if (old := syscalls.number(name, "32-bit")) is not None:
        calls.append(Call("32-bit", old))
    answers = {call: told[call] for call in calls}
    assert all(is_refusal(call, answer) for call, answer in answers.items()), answers
    if name == "clone3":
        assert answers[calls[0]] == "ENOSYS", "the C library takes clone then"


@pytest.mark.parametrize("rule", ALLOWING, ids=lambda rule: f"{rule['comment'][:40]} {rule['names'][0]}")
def test_a_rule_lets_through_what_it_names_and_nothing_beside(rule: dict[str, Any], sealed: Sandbox) -> None:
    expected: dict[Call, bool] = {}
    for name in rule["names"]:
        number, old = syscalls.number(name), syscalls.number(name, "32-bit")
        assert number is not None or name == "sync_file_range2", "which is ARM's"
        for arguments in around(rule):
            if number is not None:
                expected[Call("64-bit", number, arguments)] = is_allowed(name, arguments)
                expected[Call("x32", number, arguments)] = False
            if old is not None:
                expected[Call("32-bit", old, arguments)] = False
    for (call, allowed), answer in zip(expected.items(), syscalls.answers(sealed, expected), strict=True):
        assert answer == LET_THROUGH if allowed else is_refusal(call, answer), (call, answer)
    native = [allowed for call, allowed in expected.items() if call.interface == "64-bit"]
    assert any(native)
    assert all(native) == ("args" not in rule)


def around(rule: dict[str, Any]) -> list[tuple[int, ...]]:
    """Return arguments that a rule allows, and their neighbours: one more or less, single bits, the upper half."""
    found: dict[tuple[int, ...], None] = {(0,) * 5: None}
    fitting = [0] * 5
    for argument in rule.get("args", ()):
        is_masked = argument["op"] == "SCMP_CMP_MASKED_EQ"
        fitting[argument["index"]] = argument["valueTwo"] if is_masked else argument["value"]
    found[tuple(fitting)] = None
    for argument in rule.get("args", ()):
        at = argument["index"]
        bits = range(64) if argument["op"] == "SCMP_CMP_MASKED_EQ" else (32, 63)
        values = [fitting[at] ^ 1 << bit for bit in bits] + [max(0, fitting[at] - 1), fitting[at] + 1]
        values += [value | high for value in (fitting[at] + 1, fitting[at] ^ argument["value"]) for high in HIGH]
        for value in values:
            near = list(fitting)
            near[at] = value
            found[tuple(near)] = None
    return list(found)


def is_allowed(name: str, arguments: tuple[int, ...]) -> bool:
    """Read the profile as it is meant, with all 64 bits of each argument."""
    return any(
        all(is_fitting(argument, arguments[argument["index"]]) for argument in rule.get("args", ()))
        for rule in ALLOWING
        if name in rule["names"]
    )


def is_fitting(argument: dict[str, Any], value: int) -> bool:
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        return value & int(argument["value"]) == int(argument["valueTwo"])
    assert argument["op"] == "SCMP_CMP_EQ"
    return value == int(argument["value"])


NEW: Final = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
"""Namespaces: mount, cgroup, uts, ipc, user, pid, net. That of time can't be asked of clone."""
SIGCHLD: Final = 17
THREAD: Final = 0x3D0F00
"""What the C library starts a thread with."""

FILES: Final = {0, 0o10000, 0o100000, 0o140000}
"""Kinds that mknod may make: a plain file (named in two ways), a pipe, a socket."""
KINDS: Final = range(0, 0o200000, 0o10000)
OWN: Final = ("prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler")

FACTS: Final[list[tuple[str, tuple[int, ...], bool]]] = [
    # Written down by hand: the cases above are derived from the profile, and would follow it into a mistake.
    *(("socket", (family,), family in {1, 2, 10, 16}) for family in range(64)),
    *(("socket", (family | high,), False) for family in (1, 2, 10, 16, 17, 38, 40) for high in HIGH),
    *(("socketpair", (family,), family == 1) for family in range(64)),
    *(("socketpair", (1 | high,), False) for high in HIGH),
    *((name, (pid,), pid == 0) for name in OWN for pid in (0, 1, 2, *HIGH)),
    *(("setpriority", pair, pair == (0, 0)) for pair in ((0, 0), (0, 1), (1, 0), (2, 0), (1 << 32, 0), (0, 1 << 32))),
    *(
        ("ioprio_set", pair, pair == (1, 0))
        for pair in ((1, 0), (1, 1), (2, 0), (3, 0), (1 | 1 << 32, 0), (1, HIGH[0]))
    ),
    *(("clone", (flags,), True) for flags in (SIGCHLD, THREAD, 0x4111)),  # fork, thread, vfork.
    *(("clone", (SIGCHLD | flag | high,), False) for flag in NEW for high in (0, *HIGH)),
    *(("personality", (value,), value in {0, 0xFFFFFFFF}) for value in (0, 0xFFFFFFFF, 8, 0x20000, 0x40000, 1 << 32)),
    *(("mknod", (0, kind | 0o644), kind in FILES) for kind in KINDS),
    *(("mknodat", (0, 0, kind | 0o644), kind in FILES) for kind in KINDS),
]


@pytest.mark.parametrize("name", sorted(CONDITIONAL))
def test_arguments_decide_as_the_field_knows_them(name: str, sealed: Sandbox) -> None:
    number, facts = syscalls.number(name), [fact for fact in FACTS if fact[0] == name]
    assert number is not None
    assert {allowed for *_, allowed in facts} == {True, False}
    answers = syscalls.answers(sealed, [Call("64-bit", number, arguments) for _, arguments, _ in facts])
    for (_, arguments, allowed), answer in zip(facts, answers, strict=True):
        assert answer == (LET_THROUGH if allowed else "EPERM"), (name, arguments)
    if (old := syscalls.number(name, "32-bit")) is not None:
        calls = [Call("32-bit", old, arguments) for _, arguments, _ in facts]
        assert all(map(is_refusal, calls, syscalls.answers(sealed, calls)))


def test_no_socket_call_of_the_old_interface_is_let_through(sealed: Sandbox) -> None:
    number = syscalls.number("socketcall", "32-bit")
    assert number == 102
    calls = [Call("32-bit", number, (which,)) for which in range(22)]
    assert all(map(is_refusal, calls, syscalls.answers(sealed, calls)))


REAL: Final = r"""
import ctypes, os, resource, socket, subprocess, threading
libc = ctypes.CDLL(None, use_errno=True)
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
    socket.socket(family, socket.SOCK_DGRAM).close()
one, other = socket.socketpair()
one.send(b"x"), other.recv(1)
resource.prlimit(0, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
os.sched_setaffinity(0, os.sched_getaffinity(0))
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
os.sched_setparam(0, os.sched_param(0))
os.setpriority(os.PRIO_PROCESS, 0, 5)
for arguments in ((251, 1, 0, 3 << 13), (135, 0xFFFFFFFF), (135, 0)):
    assert libc.syscall(*map(ctypes.c_ulong, arguments)) >= 0, arguments
for kind in (0o10000, 0o100000, 0o140000):
    os.mknod(f"/tmp/seccomp-{kind}", kind | 0o644)
    os.unlink(f"/tmp/seccomp-{kind}")
thread = threading.Thread(target=subprocess.run, args=(["true"],), kwargs={"check": True})
thread.start()
thread.join()
print("all work")
"""


def test_what_the_rules_allow_works_in_earnest(sealed: Sandbox) -> None:
    result = sealed.exec(["python3", "-I", "-c", REAL])
    assert result.output.decode() == "all work\n"


def test_the_probe_sees_it_where_there_is_no_profile(slot: Path) -> None:
    with launched(slot, config={"SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]}) as container:
        for interface in INTERFACES:
            calls = [Call(interface, number) for number in range(MOST) if number not in UNFILTERED]
            answers = set(syscalls.answers(container.shell, calls))
            assert answers == {LET_THROUGH} or (interface == "32-bit" and answers == {"SIGSEGV"}), interface


def test_ours_allows_nothing_that_the_engines_default_refuses(told: dict[Call, str], slot: Path) -> None:
    ours = {call for call, answer in told.items() if answer == LET_THROUGH}
    with launched(slot, config={"SecurityOpt": ["no-new-privileges"]}) as container:
        answers = dict(zip(ours, syscalls.answers(container.shell, ours), strict=True))
    names = syscalls.table()
    more = {names[call.number] for call, answer in answers.items() if answer != LET_THROUGH}
    assert more <= BY_DEFAULT_LESS
