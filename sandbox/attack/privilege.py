"""Escape checks: no privilege to gain."""

from __future__ import annotations

from sandbox.attack.check import python_check
from sandbox.spec import JOB_UID

PRIVILEGE = (
    python_check(
        "capabilities",
        "No process has a capability or can get one, and the uid is one that no account has.",
        "read the status of this process and of PID 1",
        f"""
for pid in ("self", "1"):
    status = dict(line.rstrip().split(":\\t", 1) for line in open(f"/proc/{{pid}}/status") if ":\\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        say("0", f"{{name}} of {{pid}}", int(status[name], 16) == 0)
    say("no_new_privs " + status["NoNewPrivs"], pid, status["NoNewPrivs"] == "1")
    say("seccomp " + status["Seccomp"], pid, status["Seccomp"] == "2")
    say("uid " + status["Uid"].replace("\\t", " "), pid, set(status["Uid"].split()) == {{"{JOB_UID}"}})
import pwd
accounts = [entry for entry in pwd.getpwall() if entry.pw_uid == {JOB_UID}]
# Podman writes the container's user into a passwd file of its own, without a password.
say("account", "none", all((entry.pw_passwd, entry.pw_gecos) == ("*", "container user") for entry in accounts))
""",
    ),
    python_check(
        "become-root",
        "Nobody becomes root: not by a system call, not through a set-uid program.",
        "setuid(0), setgid(0), setgroups, chown; start a set-uid program of the image and look at its uid",
        """
import glob, stat, subprocess, time
refused("setuid", lambda: os.setuid(0))
refused("setresuid", lambda: os.setresuid(0, 0, 0))
refused("setgid", lambda: os.setgid(0))
refused("setgroups", lambda: os.setgroups([0]))
open("/tmp/attack-own", "w").close()
refused("chown", lambda: os.chown("/tmp/attack-own", 0, 0))
programs = [path for path in glob.glob("/usr/bin/*") if os.stat(path).st_mode & stat.S_ISUID]
if "/usr/bin/su" in programs:
    # It asks for a password that never comes: time enough to see as whom it runs.
    pipe = subprocess.PIPE
    program = subprocess.Popen(["/usr/bin/su", "-c", "id"], stdin=pipe, stdout=pipe, stderr=pipe)
    uid = "unseen"
    for _ in range(200):
        try:
            name, status = (open(f"/proc/{program.pid}/{file}").read() for file in ("comm", "status"))
        except OSError:
            break
        if name.strip() == "su":
            uid = [line for line in status.splitlines() if line.startswith("Uid")][0].split()[2]
            break
        time.sleep(0.002)
    program.kill()
    printed = b"".join(program.communicate())
    say("runs as " + uid, "su", uid not in ("0", "unseen") and b"uid=0" not in printed)
else:
    say("in the image", "no su to try", "NoNewPrivs:\\t1" in open("/proc/self/status").read())
""",
    ),
    python_check(
        "namespaces",
        "No new namespace can be made or entered: a user namespace would give capabilities.",
        "unshare and clone with each namespace flag, clone3, setns",
        """
flags = {
    "user": 0x10000000, "mount": 0x20000, "network": 0x40000000, "pid": 0x20000000,
    "ipc": 0x8000000, "uts": 0x4000000, "cgroup": 0x2000000,
}
def clone(flag):
    if syscall(56, 220, flag | 17, 0, 0, 0, 0) == 0:
        os._exit(0)
    os.wait()
for name, flag in flags.items():
    refused("unshare " + name, lambda: syscall(272, 97, flag))
    refused("clone " + name, lambda: clone(flag))
refused("clone3", lambda: syscall(435, 435, 0, 0), (errno.ENOSYS,))
refused("setns", lambda: syscall(308, 268, os.open("/proc/self/ns/mnt", 0), 0))
""",
    ),
    python_check(
        "tracing",
        "No process can trace or read another: neither ptrace nor its relatives work.",
        "ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_getfd, process_madvise",
        """
refused("ptrace", lambda: syscall(101, 117, 0, 0, 0, 0))
refused("process_vm_readv", lambda: syscall(310, 270, os.getpid(), 0, 0, 0, 0, 0))
refused("process_vm_writev", lambda: syscall(311, 271, os.getpid(), 0, 0, 0, 0, 0))
refused("kcmp", lambda: syscall(312, 272, os.getpid(), os.getpid(), 0, 0, 0))
refused("pidfd_getfd", lambda: syscall(438, 438, 0, 0, 0))
refused("process_madvise", lambda: syscall(440, 440, 0, 0, 0, 0, 0))
""",
    ),
    python_check(
        "kernel-interfaces",
        "The kernel's keyring, BPF, performance counters, modules, clock and similar interfaces are closed.",
        "keyctl, add_key, request_key, bpf, perf_event_open, userfaultfd, init_module, finit_module, kexec_load, "
        "reboot, swapon, clock_settime, syslog, quotactl, fanotify_init, acct, iopl",
        """
calls = {
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "init_module": (175, 105), "finit_module": (313, 273),
    "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224), "clock_settime": (227, 112),
    "syslog": (103, 116), "quotactl": (179, 60), "fanotify_init": (300, 262), "acct": (163, 89),
}
if X86:
    calls["iopl"] = (172, -1)
for name, (x86, arm) in calls.items():
    refused(name, lambda: syscall(x86, arm, 0, 0, 0, 0, 0))
""",
    ),
)
