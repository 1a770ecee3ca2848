"""A machine with another kernel and cgroup v2 alone, emulated by QEMU: this one's files, and on top what is written.

It has this machine's programs, the project among them, read-only and by 9p; what it writes is gone when it ends. It has
no network. Its kernel is Debian's, which starts from an archive that is made here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Final

from platformdirs import user_cache_path

from sandbox import engine
from sandbox.images import base_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MODULES: Final = ("virtio_pci", "9p", "9pnet_virtio", "overlay", "loop", "ext4", "crc32c_generic")
_NEEDS: Final = re.compile(rb"\0depends=([^\0]*)\0")
_RUN_S: Final = 1500
_MEMORY_MB: Final = 4096

# From the archive: this machine's files below, memory on top.
_INIT: Final = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro,cache=loose host /host || poweroff -f
mount -t tmpfs -o size=90% top /top; mkdir /top/upper /top/work
mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work root /root || poweroff -f
umount /proc /sys; mount --move /dev /root/dev; cp /boot.sh /top/upper/boot.sh
exec switch_root /root /bin/bash /boot.sh
"""
# The engine gets a cgroup of its own, as from an init system: the root's has no limits that could be looked at.
_BOOT: Final = """
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TMPDIR=/scratch
export DREAMDOCK_STATE_DIR=/scratch/state DREAMDOCK_RUNTIME_DIR=/scratch/run XDG_CACHE_HOME=/scratch/cache
mkdir -p /dev/pts /dev/shm /dev/mqueue /scratch /out /var/lib/docker
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t cgroup2 none /sys/fs/cgroup
mount -t devpts devpts /dev/pts; mount -t mqueue mqueue /dev/mqueue
for place in /dev/shm /run /scratch /var/lib/docker; do mount -t tmpfs tmpfs $place; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /out
mkdir /sys/fs/cgroup/engine; echo $$ >/sys/fs/cgroup/engine/cgroup.procs
echo "+cpu +memory +pids +io" >/sys/fs/cgroup/cgroup.subtree_control
hostname emulated; ip link set lo up; ulimit -n 1048576
dockerd --bridge=none --iptables=false --ip6tables=false >/out/engine.log 2>&1 &
until docker load --quiet --input /out/base.tar >/out/load.log 2>&1; do sleep 0.2; done
bash /out/job.sh
echo o >/proc/sysrq-trigger; sleep 60
"""


def run(folder: Path, commands: Sequence[str]) -> list[tuple[int, str]]:
    """Run shell commands one after the other on such a machine; return each one's exit code and output.

    `folder` is an empty one to exchange files in. Raises RuntimeError with what the machine said, if it didn't come
    to the last one.
    """
    archive = _archive(folder / "start", kernel := _kernel())
    out = folder / "out"
    out.mkdir()
    with closing(engine.client(timeout_s=300)) as ours, (out / "base.tar").open("wb") as image:
        image.writelines(ours.api.get_image(base_image(), chunk_size=1 << 20))
    lines = [f"( {command} ) >/out/{n}.log 2>&1; echo $? >/out/{n}.code" for n, command in enumerate(commands)]
    (out / "job.sh").write_text("\n".join(lines) + "\n")
    emulator = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(_MEMORY_MB)),
        *("-nographic", "-no-reboot", "-nic", "none", "-kernel", str(next((kernel / "boot").glob("vmlinuz-*")))),
        *("-initrd", str(archive), "-append", "console=ttyS0 panic=-1 quiet"),
        *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
        *("-virtfs", f"local,path={out},mount_tag=out,security_model=none"),
    ]
    ran = subprocess.run(emulator, stdin=subprocess.DEVNULL, capture_output=True, timeout=_RUN_S, check=False)
    if not (out / f"{len(commands) - 1}.code").is_file():
        logs = [ran.stdout, ran.stderr, *(log.read_bytes() for log in sorted(out.glob("*.log")))]
        raise RuntimeError("\n".join(log.decode(errors="replace")[-4000:] for log in logs))
    return [(int((out / f"{n}.code").read_text()), (out / f"{n}.log").read_text()) for n in range(len(commands))]


def _kernel() -> Path:
    """Return the folder of Debian's kernel as its package has it, fetched once."""
    place = user_cache_path("dreamdock", ensure_exists=True) / "kernel"
    if not place.is_dir():
        subprocess.run(["apt-get", "update"], capture_output=True, check=False)  # The download tells what matters.
        told = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True)
        name = re.findall(r"Depends: (linux-image-\S+)", told.stdout)[0]
        part = place.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        subprocess.run(["apt-get", "download", name], cwd=part, capture_output=True, check=True)
        subprocess.run(["dpkg-deb", "-x", next(part.glob("*.deb")), part], check=True)
        part.replace(place)
    return place


def _archive(folder: Path, kernel: Path) -> Path:
    """Return the archive that the kernel starts from: a shell, modules, and what is run first."""
    for name in ("bin", "modules", "proc", "sys", "dev", "host", "top", "root"):
        (folder / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "bin")
    files = {path.stem.replace("-", "_"): path for path in kernel.rglob("*.ko")}
    modules: list[str] = []
    for name in _MODULES:
        _add(name, files, modules)
    for name in modules:
        shutil.copy(files[name], folder / f"modules/{name}.ko")
    (folder / "init").write_text(_INIT.format(modules=" ".join(modules)))
    (folder / "init").chmod(0o755)
    (folder / "boot.sh").write_text(_BOOT)
    archive = folder.with_name("start.cpio")
    names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    packed = subprocess.run(
        ["busybox", "cpio", "-o", "-H", "newc"], cwd=folder, input=names.encode(), capture_output=True, check=True
    )
    archive.write_bytes(packed.stdout)
    return archive


def _add(name: str, files: dict[str, Path], modules: list[str]) -> None:
    """Add a module behind those that it needs."""
    if name in modules:
        return
    found = _NEEDS.search(files[name].read_bytes())
    for other in found[1].decode().split(",") if found and found[1] else []:
        _add(other.replace("-", "_"), files, modules)
    modules.append(name)
