"""System calls tried without being carried out: what a sandbox's seccomp profile says to each, bit by bit.

The probe runs inside. It sets up a second filter that hands every call with a certain sixth argument to a thread of its
own (SECCOMP_RET_USER_NOTIF; Linux 5.0), and that thread answers EOWNERDEAD, which the kernel itself gives to none of
these. A refusal by the sandbox's profile takes precedence over that. So the answer says for certain what the profile
says, and whatever is asked (reboot, mount, exit) nothing happens. No rule looks at a sixth argument.
"""

from __future__ import annotations

from typing import Final

INTERFACES: Final = ("64-bit", "32-bit", "x32")
"""Ways into the kernel of x86-64. The first argument of the probe's `answer` is an index of this."""

LET_THROUGH: Final = "let through"
"""What `answer` returns for a call that no profile refuses; else it's the name of an error or of a signal."""

MOST: Final = 700
"""Above the numbers of all calls, in every interface."""

PROBE: Final = r"""
import ctypes, errno, fcntl, mmap, os, signal, struct, sys, threading

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
"""
