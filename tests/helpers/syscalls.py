"""What a container's seccomp profile says to system calls, asked by the probe of `sandbox.attack.calls`."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sandbox.attack.calls import INTERFACES, MOST, PROBE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.exec_shell import ExecShell
    from sandbox.open import Sandbox
    from sandbox.shell import Shell

Interface = Literal["64-bit", "32-bit", "x32"]

_SCMP: Final = {"64-bit": 0xC000003E, "32-bit": 0x40000003}
_ASK: Final = """
import json
told = [answer(interface, number, arguments + [0] * (5 - len(arguments)))
        for interface, number, *arguments in json.load(sys.stdin)]
print(json.dumps(told))
"""


class Call(NamedTuple):
    """One system call: by which interface, its number, its first five arguments."""

    interface: Interface
    number: int
    arguments: tuple[int, ...] = ()


def number(name: str, interface: Interface = "64-bit") -> int | None:
    """Return a call's number as libseccomp knows it, which engines ask as well; None where the interface hasn't it."""
    found = int(_library().seccomp_syscall_resolve_name_arch(_SCMP[interface], name.encode()))
    return found if found >= 0 else None


def table(interface: Interface = "64-bit") -> dict[int, str]:
    """Return every call of an interface that libseccomp knows, by number. A kernel may know newer ones."""
    library = _library()
    found = {}
    for at in range(MOST):
        name = library.seccomp_syscall_resolve_num_arch(_SCMP[interface], at)
        if name:
            found[at] = name.decode()
    return found


def answers(shell: Sandbox | Shell | ExecShell, calls: Iterable[Call]) -> list[str]:
    """Return what comes of each call: `LET_THROUGH`, or the name of the error or of the signal that refuses it."""
    calls = list(calls)
    plan = [[INTERFACES.index(call.interface), call.number, *call.arguments] for call in calls]
    result = shell.exec(["python3", "-I", "-c", PROBE + _ASK], stdin=json.dumps(plan).encode(), timeout_s=60)
    assert (result.exit_code, result.timed_out) == (0, False), result
    told: list[str] = json.loads(result.output)
    assert len(told) == len(plan)
    return told


def _library() -> Any:
    library = ctypes.CDLL("libseccomp.so.2")  # Debian's and Ubuntu's apt, systemd and engines need it too.
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p  # A few bytes each that nobody frees.
    library.seccomp_syscall_resolve_num_arch.argtypes = (ctypes.c_uint32, ctypes.c_int)
    library.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    return library
