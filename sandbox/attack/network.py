"""Escape checks: no network of any kind."""

from __future__ import annotations

import textwrap

from sandbox.attack.calls import MOST, PROBE
from sandbox.attack.check import python_check

NETWORK = (
    python_check(
        "network-interfaces",
        "There is no network: no interface but the sandbox's own loopback, and no route.",
        "list interfaces, addresses and routes",
        """
names = [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]]
for name in names:
    say("interface", name, name == "lo")
routes = open("/proc/net/route").readlines()[1:]
say("routes", str(len(routes)), not routes)
for line in open("/proc/net/if_inet6").readlines() if os.path.exists("/proc/net/if_inet6") else []:
    say("IPv6 on", line.split()[-1], line.split()[-1] == "lo")
""",
    ),
    python_check(
        "network-connect",
        "Nothing outside can be reached, over IPv4 or IPv6, TCP or UDP.",
        "connect to addresses of the internet, of private networks, of the engine's bridge and of a cloud's metadata",
        """
for host in ("1.1.1.1", "10.0.0.1", "192.168.0.1", "172.17.0.1", "169.254.169.254", "2606:4700:4700::1111", "fe80::1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for kind, label in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        with socket.socket(family, kind) as sock:
            sock.settimeout(2)
            unreachable = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT)
            refused(f"{host} {label}", lambda: sock.connect((host, 443)), unreachable)
""",
    ),
    python_check(
        "network-dns",
        "No name can be resolved, so none can carry data out.",
        "look up example.com",
        """
try:
    found = socket.getaddrinfo("example.com", 80)
except socket.gaierror as error:
    say(str(error), "example.com", True)
else:
    say("resolved", str(found[0][4][0]), False)
""",
    ),
    python_check(
        "network-host-loopback",
        "Servers on the host's loopback can't be reached.",
        "connect to a port of 127.0.0.1 on which the host listens right now",
        """
with socket.socket() as sock:
    sock.settimeout(2)
    refused("127.0.0.1", lambda: sock.connect(("127.0.0.1", @port@)), (errno.ECONNREFUSED,))
say("listeners here", "0", len(open("/proc/net/tcp").readlines()) == 1)
""",
    ),
    python_check(
        "network-abstract-socket",
        "Abstract Unix sockets of the host can't be reached.",
        "connect to one on which the host listens right now",
        """
with socket.socket(socket.AF_UNIX) as sock:
    refused("abstract socket", lambda: sock.connect("\\0@abstract@"), (errno.ECONNREFUSED,))
say("abstract sockets here", "0", "@" not in open("/proc/net/unix").read())
""",
    ),
    python_check(
        "socket-families",
        "Sockets that a network namespace doesn't cover (VM, Bluetooth, crypto and others) can't even be made.",
        "make a socket of every family from 0 to 63 but Unix, IPv4, IPv6 and netlink, also with the upper half of the "
        "argument set",
        """
for family in sorted(set(range(64)) - {1, 2, 10, 16}):
    for kind in (1, 2, 3, 5):
        refused(str(family), lambda: syscall(41, 198, family, kind, 0), (errno.EPERM,))
for family in (40, 17, 2, 1):
    refused(f"{family} + 2^32", lambda: syscall(41, 198, family | 1 << 32, 1, 0), (errno.EPERM,))
counts = {outcome: [f"{len(set(names))} families"] for outcome, names in seen.items()}
seen.clear()
seen.update(counts)
""",
    ),
    python_check(
        "syscalls-32-bit",
        "System calls of the 32-bit and x32 interfaces, for which there are other rules, are refused, all of them.",
        f"every number from 0 to {MOST - 1} by `int 0x80` and by x32, each in a process of its own",
        f"""
if X86:
{textwrap.indent(PROBE, "    ")}
    for interface, name in ((1, "32-bit"), (2, "x32")):
        for number in range({MOST}):
            outcome = answer(interface, number, [0] * 5)
            say(outcome, f"{{name}} {{number}}", outcome in ("EPERM", "ENOSYS", "SIGSYS", "SIGSEGV"))
    seen = {{outcome: [f"{{len(names)}} calls"] for outcome, names in seen.items()}}
else:
    say("this processor", "has no such interface here", True)
""",
        timeout_s=60.0,  # 1,400 processes: two seconds on a quiet machine.
    ),
    python_check(
        "io-uring",
        "io_uring, which can do what system calls are refused for, can't be used.",
        "io_uring_setup, io_uring_enter, io_uring_register",
        """
refused("io_uring_setup", lambda: syscall(425, 425, 1, 0))
refused("io_uring_enter", lambda: syscall(426, 426, 0, 0, 0, 0, 0, 0))
refused("io_uring_register", lambda: syscall(427, 427, 0, 0, 0, 0))
""",
    ),
)
