"""Escape checks: nothing of the host is readable, nothing tells whose it is."""

from __future__ import annotations

from sandbox.attack.check import python_check
from sandbox.policy import HOSTNAME, MASKED_PATHS
from sandbox.spec import WORKSPACE

HOST = (
    python_check(
        "host-mounts",
        "Nothing of the host is mounted but the workspace.",
        "read the mount table",
        f"""
virtual = {{"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs"}}
names = ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/etc/passwd", "/etc/group")
for line in open("/proc/self/mountinfo"):
    fields = line.split()
    place, options, kind = fields[4], fields[5].split(","), fields[fields.index("-") + 1]
    if place == "/":
        say("root", kind + " " + options[0], options[0] == "ro")
    elif place in names:
        say("the engine's, read-only", place, "ro" in options)
    elif place == "{WORKSPACE}":
        say("workspace", options[0], True)
    elif kind not in virtual:
        say("mounted", place, False)
    elif kind == "sysfs":
        say("sysfs", options[0], options[0] == "ro")
""",
    ),
    python_check(
        "host-files",
        "Files of the host can't be read, whatever path or link leads to them.",
        "open a readable file of the host by its path, by links out of the workspace, by /proc/1/root, by handle, by "
        "descriptors that were left open",
        f"""
import shutil
gone = REFUSALS + (errno.ENOENT,)
refused("path", lambda: open("@canary@"), gone)
shutil.rmtree("{WORKSPACE}/attack", ignore_errors=True)
os.mkdir("{WORKSPACE}/attack")
for name, target in (("up", "../" * 20), ("root", "/"), ("proc", "/proc/1/root"), ("cwd", "/proc/1/cwd")):
    os.symlink(target, "{WORKSPACE}/attack/" + name)
    refused("link " + name, lambda: open("{WORKSPACE}/attack/" + name + "/@canary@"), gone)
refused("hard link", lambda: os.link("@canary@", "{WORKSPACE}/attack/hard"), gone)
shutil.rmtree("{WORKSPACE}/attack")
handle = ctypes.create_string_buffer(b"\\x08\\0\\0\\0\\x01\\0\\0\\0\\x02\\0\\0\\0\\0\\0\\0\\0")
top = os.open("/", 0)
refused("handle", lambda: syscall(304, 265, top, ctypes.addressof(handle), 0))
os.close(top)
for name in os.listdir("/proc/self/fd"):
    try:
        target = os.readlink("/proc/self/fd/" + name)
    except OSError:
        continue
    say("open", target, target == "/dev/null" or target.startswith(("pipe:", "/memfd:")))
    refused("descriptor " + name, lambda: open(f"/proc/self/fd/{{name}}/../../..@canary@"), (errno.ENOTDIR,))
""",
    ),
    python_check(
        "root-read-only",
        "The image can't be changed: the root file system is read-only.",
        "make a file in directories of the system; write to kernel settings",
        """
closed = REFUSALS + (errno.EROFS, errno.ENOENT)
for folder in ("/", "/etc", "/usr/bin", "/var/tmp", "/root", "/sys/fs/cgroup"):
    refused(folder, lambda: open(f"{folder}/dreamdock-attack", "x"), closed)
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger"):
    if os.path.exists(path) and os.stat(path).st_rdev == os.makedev(1, 3):
        say("covered by /dev/null", path, True)
    else:
        refused(path, lambda: os.close(os.open(path, os.O_WRONLY)), closed)
""",
    ),
    python_check(
        "devices",
        "There is no device or terminal of the host, and none can be made.",
        "list /dev; make a memory device, a disk and an overlay whiteout; open the terminal and type into it (TIOCSTI)",
        """
import fcntl, stat
usual = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
for name in os.listdir("/dev"):
    mode = os.lstat("/dev/" + name).st_mode
    if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
        say("there", name, name in usual)
wanted = (("memory", stat.S_IFCHR, (1, 1)), ("disk", stat.S_IFBLK, (8, 0)), ("whiteout", stat.S_IFCHR, (0, 0)))
for name, kind, number in wanted:
    refused("make " + name, lambda: os.mknod("/tmp/attack-" + name, kind | 0o600, os.makedev(*number)))
refused("terminal", lambda: os.open("/dev/tty", os.O_RDWR), (errno.ENXIO,))
for descriptor in range(3):
    refused(f"type into {descriptor}", lambda: fcntl.ioctl(descriptor, 0x5412, b"x"), (errno.ENOTTY,))
""",
    ),
    python_check(
        "mounting",
        "Nothing can be mounted, unmounted or made the new root.",
        "mount, umount2, pivot_root, chroot, and the newer calls",
        """
text = ctypes.create_string_buffer(b"/tmp")
kind = ctypes.create_string_buffer(b"tmpfs")
path, name = ctypes.addressof(text), ctypes.addressof(kind)
refused("mount", lambda: syscall(165, 40, name, path, name, 0, 0))
refused("bind mount", lambda: syscall(165, 40, path, path, 0, 4096, 0))
refused("umount2", lambda: syscall(166, 39, path, 2))
refused("pivot_root", lambda: syscall(155, 41, path, path))
refused("chroot", lambda: os.chroot("/tmp"))
refused("open_tree", lambda: syscall(428, 428, -100, path, 1))
refused("move_mount", lambda: syscall(429, 429, -100, path, -100, path, 0))
refused("fsopen", lambda: syscall(430, 430, name, 0))
refused("mount_setattr", lambda: syscall(442, 442, -100, path, 0, 0, 0))
""",
    ),
    python_check(
        "engine-socket",
        "The engine's socket isn't there.",
        "look for the sockets of container engines",
        """
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock"):
    say("missing" if not os.path.exists(path) else "there", path, not os.path.exists(path))
""",
    ),
)

IDENTITY = (
    python_check(
        "environment",
        "No secret is in the environment: it is the image's own and a dozen fixed names.",
        "read the environments of all processes, and look for names and values of credentials",
        """
import re
found = dict(os.environ)
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        entries = open(f"/proc/{pid}/environ", errors="replace").read().split("\\0")
    except OSError:
        continue
    found.update(entry.split("=", 1) for entry in entries if "=" in entry)
suspect = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|REDIS|DOCKER|DREAMDOCK|SUDO|SSH", re.I)
for name, value in sorted(found.items()):
    say("set", name, not suspect.search(name) and not re.search("@token@|sk-[A-Za-z0-9]{16}|ghp_", value))
""",
    ),
    python_check(
        "host-identity",
        "Nothing tells whose machine this is: its names, name servers, search domains and mount sources are neutral.",
        "read the names, resolv.conf, hosts and the mount table; look for the host's name, home directories and paths",
        f"""
import re
say("host name", socket.gethostname(), socket.gethostname() == "{HOSTNAME}")
domain = open("/proc/sys/kernel/domainname").read().strip()
say("domain name", domain, domain in ("", "(none)"))
words = open("/etc/resolv.conf").read().split()
servers = [words[i + 1] for i, word in enumerate(words) if word == "nameserver"]
say("name servers", " ".join(servers), set(servers) <= {{"127.0.0.1"}})
say("search domains", str(words.count("search")), "search" not in words or words[words.index("search") + 1] == ".")
places = "".join(open(path).read() for path in ("/etc/hosts", "/etc/hostname", "/proc/self/mountinfo"))
say("home directories", "none", not re.search("/home/|/root/|/Users/", places))
mounts = [line.split() for line in open("/proc/self/mountinfo") if line.split()[4] == "{WORKSPACE}"]
named = [words for words in mounts if words[3] != "/" or re.search("(^|=|:)/", words[-2] + " " + words[-1])]
say("mounts of the workspace", "ids only" if not named else named[0][-1], bool(mounts) and not named)
host = "@host@"
told = re.search(rf"(?<![\\w-]){{re.escape(host)}}(?![\\w-])", places)
say("name of the host", "absent", host in ("localhost", "{HOSTNAME}") or not told)
""",
    ),
    python_check(
        "masked-paths",
        "The parts of /proc and /sys that tell of the host's disks, devices, boot and memory addresses are covered.",
        f"read {len(MASKED_PATHS)} paths",
        f"""
for path in {MASKED_PATHS!r}:
    try:
        empty = not os.listdir(path) if os.path.isdir(path) else not open(path, "rb").read(64)
        say("empty" if empty else "readable", path, empty)
    except OSError as error:
        say(errno.errorcode[error.errno], path, error.errno in REFUSALS + (errno.ENOENT,))
for outcome, names in list(seen.items()):
    seen[outcome] = [str(len(names))]
""",
    ),
)
