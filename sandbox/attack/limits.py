"""Escape checks: the runner can't be silenced or spoken for, and limits bite."""

from __future__ import annotations

from sandbox.attack.check import LIMITS, Check, Step, python_check

CHANNEL = (
    python_check(
        "runner-closed",
        "The process that runs the commands can't be read, written to, traced or spoken for.",
        "open its descriptors, memory, environment and directories; write to each of its files in /proc; trace it",
        """
for name in ("fd", "fd/0", "fd/1", "fd/2", "mem", "environ", "maps", "cwd", "root", "exe", "task/1/fd"):
    path = "/proc/1/" + name
    refused(name, lambda: os.listdir(path) if name in ("fd", "cwd", "root", "task/1/fd") else os.open(path, 0))
def write(name):
    descriptor = os.open("/proc/1/" + name, os.O_WRONLY)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)
files = [name for name in sorted(os.listdir("/proc/1")) if not os.path.isdir("/proc/1/" + name)]
for name in files:
    refused("write " + name, lambda: write(name))
for name in ("fd/0", "fd/1"):
    refused("write " + name, lambda: os.open("/proc/1/" + name, os.O_WRONLY))
known = os.pidfd_open(1)
refused("ptrace seize", lambda: syscall(101, 117, 0x4206, 1, 0, 0))
refused("process_vm_readv", lambda: syscall(310, 270, 1, 0, 0, 0, 0, 0))
refused("process_vm_writev", lambda: syscall(311, 271, 1, 0, 0, 0, 0, 0))
refused("kcmp", lambda: syscall(312, 272, 1, 1, 0, 0, 0))
refused("pidfd_getfd", lambda: syscall(438, 438, known, 1, 0))
refused("process_madvise", lambda: syscall(440, 440, known, 0, 0, 21, 0))
refused("its namespaces", lambda: os.open("/proc/1/ns/mnt", 0))
""",
    ),
    python_check(
        "runner-limits",
        "The process that runs the commands can't be starved, limited or rescheduled.",
        "prlimit, sched_setaffinity, sched_setscheduler, sched_setattr, setpriority and ioprio_set on PID 1",
        """
import resource
refused("prlimit files", lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3)))
refused("prlimit cpu", lambda: resource.prlimit(1, resource.RLIMIT_CPU, (1, 1)))
refused("sched_setaffinity", lambda: os.sched_setaffinity(1, {0}))
refused("sched_setscheduler", lambda: os.sched_setscheduler(1, 5, os.sched_param(0)))
refused("sched_setparam", lambda: os.sched_setparam(1, os.sched_param(0)))
attributes = ctypes.create_string_buffer(bytes([48, 0, 0, 0, 5]), 48)
refused("sched_setattr", lambda: syscall(314, 274, 1, ctypes.addressof(attributes), 0))
refused("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
refused("setpriority of the user", lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19))
refused("ioprio_set", lambda: syscall(251, 30, 1, 1, 3 << 13))
refused("oom_score_adj", lambda: os.open("/proc/1/oom_score_adj", os.O_WRONLY))
""",
    ),
    Check(
        "runner-signals",
        "The process that runs the commands survives every signal.",
        "send all 64 signals to PID 1 by six system calls and by a descriptor, then kill -9 -1; then ask for a command",
        (
            Step(
                "python3 -I -",
                "import contextlib, ctypes, fcntl, os, struct\n"
                "libc = ctypes.CDLL(None)\n"
                "x86 = os.uname().machine == 'x86_64'\n"
                "tkill, tgkill, queue, thread_queue = (200, 234, 129, 297) if x86 else (130, 131, 138, 240)\n"
                "known = os.pidfd_open(1)\n"
                "one, other = os.pipe()\n"
                "for number in range(1, 65):\n"
                "    with contextlib.suppress(OSError):\n"
                "        os.kill(1, number)\n"
                "    told = ctypes.create_string_buffer(struct.pack('<iiiii', number, 0, -1, 0, 1), 128)\n"
                "    libc.syscall(tkill, 1, number)\n"
                "    libc.syscall(tgkill, 1, 1, number)\n"
                "    libc.syscall(queue, 1, number, told)\n"
                "    libc.syscall(thread_queue, 1, 1, number, told)\n"
                "    libc.syscall(424, known, number, None, 0)\n"
                "    with contextlib.suppress(OSError):\n"
                "        fcntl.fcntl(one, fcntl.F_SETOWN, 1)\n"
                "        fcntl.fcntl(one, 10, number)\n"
                "        fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)\n"
                "        os.write(other, b'x')\n",
            ),
            Step("for s in $(seq 1 64); do kill -$s 1; done; kill -9 -1"),
            Step("echo 'the next command ran, in the same shell state'"),
        ),
    ),
    Check(
        "forged-frames",
        "What a command prints is data: it can't pass for an answer of the runner.",
        "print bytes that are complete answers, to output, error output and leaked descriptors; then ask for a command",
        (
            Step(
                "python3 -I -",
                "import json, os, struct\n"
                "for number in range(1, 200):\n"
                "    head = json.dumps({'id': number, 'exit': 0, 'signal': None, 'timed_out': False, 'total': 6,\n"
                "        'duration': 0.1, 'cwd': '/forged', 'notes': []}).encode()\n"
                "    frame = struct.pack('>II', len(head), 6) + head + b'forged'\n"
                "    for data in (frame, struct.pack('>BxxxI', 1, len(frame)) + frame):\n"
                "        for descriptor in range(1, 256):\n"
                "            try:\n"
                "                os.write(descriptor, data)\n"
                "            except OSError:\n"
                "                pass\n",
            ),
            Step('test "$PWD" != /forged && echo "the next command ran, in $PWD"'),
        ),
    ),
)

STRAIN = (
    Check(
        "time-limit",
        "When a command's time is up everything that it started ends, however well it hides.",
        "sessions of their own, double forks and emptied environments, for 1 s; then look for survivors",
        (
            Step(
                "setsid sleep 4711 & (setsid env -i /bin/sleep 4711 &) ; python3 -I -c 'import os, time\n"
                "if os.fork() == 0:\n"
                "    os.setsid()\n"
                "    if os.fork() == 0:\n"
                '        os.execve("/bin/sleep", ["hidden", "4711"], {})\n'
                "    os._exit(0)\n"
                "time.sleep(4711)' ; sleep 4711",
                timeout_s=1.0,
            ),
            Step("if grep -zlx 4711 /proc/[0-9]*/cmdline 2>/dev/null; then exit 1; fi; echo 'no process is left'"),
        ),
    ),
    Check(
        "process-limit",
        f"A sandbox has {LIMITS.pids} processes at most.",
        "fork sleeping processes until it is refused",
        (
            Step(
                "python3 -I -",
                "import os, signal, sys, time\n"
                "children = []\n"
                "try:\n"
                f"    for _ in range({4 * LIMITS.pids}):\n"
                "        pid = os.fork()\n"
                "        if pid == 0:\n"
                "            time.sleep(30)\n"
                "            os._exit(0)\n"
                "        children.append(pid)\n"
                "except OSError as error:\n"
                "    print(f'refused after {len(children)} processes: {error.strerror}')\n"
                "for pid in children:\n"
                "    os.kill(pid, signal.SIGKILL)\n"
                f"sys.exit(not 0 < len(children) < {LIMITS.pids})\n",
            ),
        ),
    ),
    Check(
        "fork-bomb",
        "A fork bomb, in the foreground or in the background, hurts only its own run, and the sandbox recovers.",
        "two fork bombs; then ask for a command",
        (
            Step("bomb() { bomb | bomb & }; bomb; sleep 0.5", timeout_s=2.0),
            Step("bomb() { bomb | bomb; }; bomb", timeout_s=1.0),
            Step("/bin/echo 'a new process could be started'", timeout_s=5.0),
        ),
    ),
    Check(
        "memory-limit",
        f"A sandbox has {LIMITS.memory_mb} MiB of memory and no swap; who takes more is ended, and it lives on.",
        "take 1 GiB; then ask for a command",
        (
            Step(
                "python3 -I -c 'taken = bytearray(1 << 30)'; code=$?; "
                'echo "ended with $code"; test $code = 137 && touch /tmp/attack-memory'
            ),
            Step("test -e /tmp/attack-memory && echo 'the hog was killed; the next command ran'"),
        ),
    ),
    python_check(
        "temporary-files",
        "Files in memory are limited in size, and end with the sandbox.",
        "fill /tmp, /dev/shm and /run",
        f"""
import glob
for folder in ("/tmp", "/dev/shm", "/run"):
    written = 0
    try:
        with open(folder + "/attack-fill", "wb", buffering=0) as file:
            while written < 512:
                written += file.write(bytes(1 << 20)) >> 20
        outcome = "no end"
    except OSError as error:
        outcome = errno.errorcode[error.errno]
    finally:
        for left in glob.glob(folder + "/attack-fill"):
            os.unlink(left)
    limited = outcome == "ENOSPC" and 0 < written <= {LIMITS.memory_mb} // 2
    closed = outcome == "EACCES" and folder == "/run"  # Root's alone, with Podman.
    say(outcome, f"{{folder}} after {{written}} MiB", limited or closed)
""",
    ),
    python_check(
        "workspace-size",
        f"What a run writes to its workspace and HOME takes {LIMITS.workspace_mb} MiB of the host's disk at most.",
        "fill the workspace, with one file and with empty ones, and HOME",
        f"""
import itertools, shutil
place, home = "/workspace/attack-fill", os.environ["HOME"] + "/attack-fill"
def large(path):
    with open(path, "wb", buffering=0) as file:
        for written in itertools.count():
            yield written
            file.write(bytes(1 << 20))
def many(path):
    os.mkdir(path)
    for number in itertools.count():
        yield number
        os.close(os.open(path + "/" + str(number), os.O_CREAT | os.O_WRONLY))
size = {LIMITS.workspace_mb}
for what, path, most in ((large, place, size), (large, home, size), (many, place, 1 << 16)):
    try:
        for reached in what(path):
            if reached > 2 * most:
                break
        outcome = "no end"
    except OSError as error:
        outcome = errno.errorcode[error.errno]
    finally:
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    name = path + " after " + str(reached) + (" MiB" if what is large else " files")
    say(outcome, name, outcome == "ENOSPC" and reached <= most)
""",
    ),
    python_check(
        "cpu-limit",
        f"A sandbox has {LIMITS.cpus:g} processor core's time at most.",
        "four busy processes for one second; add up their time",
        f"""
import time
end = time.monotonic() + 1.0
for _ in range(4):
    if os.fork() == 0:
        while time.monotonic() < end:
            pass
        os._exit(0)
for _ in range(4):
    os.wait()
used = sum(os.times()[2:4])
say("used", f"{{used:.2f}} s of processor time", used <= {LIMITS.cpus} * 1.35)
""",
    ),
)
