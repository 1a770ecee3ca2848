"""System calls tried without being carried out: what a container's seccomp profile says to each, bit by bit.

The probe runs inside. It sets up a second filter that hands every call with a certain sixth argument to a thread of its
own (SECCOMP_RET_USER_NOTIF), and that thread answers EOWNERDEAD, which the kernel itself gives to none of these. A
refusal by the container's profile takes precedence over that. So the answer says for certain what the profile says,
and whatever is asked (reboot, mount, exit) nothing happens. No rule looks at a sixth argument.
"""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.exec_shell import ExecShell
    from sandbox.open import Sandbox
    from sandbox.shell import Shell

LET_THROUGH: Final = "let through"
INTERFACES: Final = ("64-bit", "32-bit", "x32")
Interface = Literal["64-bit", "32-bit", "x32"]

_SCMP: Final = {"64-bit": 0xC000003E, "32-bit": 0x40000003}
MOST: Final = 700
"""Above the numbers of all calls, in every interface."""


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
    result = shell.exec(["python3", "-I", "-c", _PROBE], stdin=json.dumps(plan).encode(), timeout_s=60)
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


_PROBE: Final = r"""
import ctypes, errno, fcntl, json, mmap, os, signal, struct, sys, threading

MARK, OURS, X32 = 0x5EC0DE, errno.EOWNERDEAD, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)

# if args[5] == MARK: USER_NOTIF, else ALLOW
lines = (0x20, 0, 0, 56), (0x15, 0, 1, MARK), (0x06, 0, 0, 0x7FC00000), (0x06, 0, 0, 0x7FFF0000)
code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in lines))
program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(lines), ctypes.addressof(code)))
listener = libc.syscall(317, 1, 8, ctypes.c_void_p(ctypes.addressof(program)))
if listener < 0:
    sys.exit("no second filter: " + errno.errorcode[ctypes.get_errno()])

def answer_all():
    while True:
        asked = bytearray(80)
        fcntl.ioctl(listener, 0xC0502100, asked)
        fcntl.ioctl(listener, 0xC0182101, asked[:8] + struct.pack("<qiI", 0, -OURS, 0))

threading.Thread(target=answer_all, daemon=True).start()

# push rbx, rbp; eax, ebx, ecx, edx, esi, ebp, edi from the table at rdi; int 0x80; pop rbp, rbx; ret
stub = bytes.fromhex("53 55 8b07 8b5f04 8b4f08 8b570c 8b7710 8b6f18 8b7f14 cd80 5d 5b c3")
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(stub)
old = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

def word(number):
    return "let through" if number == OURS else errno.errorcode.get(number, str(number))

def native(number, arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*map(ctypes.c_ulong, (number, *arguments, MARK)))
    return ctypes.get_errno() if result == -1 else 0

def legacy(number, arguments):
    return -old(struct.pack("<7I", number, *(value & 0xFFFFFFFF for value in arguments), MARK))

def answer(interface, number, arguments):
    # In a process of its own: the usual answer to another interface is death, as the kernel's own to a false uprobe is.
    child = os.fork()
    if child == 0:
        call = legacy if interface == 1 else native
        os._exit(call(number | X32 if interface == 2 else number, arguments) & 0xFF)
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else word(os.WEXITSTATUS(status))

told = [answer(interface, number, arguments + [0] * (5 - len(arguments)))
        for interface, number, *arguments in json.load(sys.stdin)]
print(json.dumps(told))
"""
