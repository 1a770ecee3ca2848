"""Three hosts, what they share, and a laptop from which runs are submitted: all of it real, on one machine.

`with team() as team`; whatever ends the block, or the process, nothing of it is left.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from benchmarks.lan import engines
from benchmarks.lan.host import COMMAND, Host
from benchmarks.lan.janitor import cleared
from benchmarks.lan.namespaces import Box
from benchmarks.lan.network import Network
from benchmarks.lan.services import NUMBER, Services
from benchmarks.lan.work import until
from orchestrator import api, settings
from orchestrator.errors import DreamdockError
from orchestrator.journal.connection import connect
from orchestrator.queue import resume_queue
from orchestrator.stack.up import make_folders
from orchestrator.standing import queue_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.api import Door
    from orchestrator.settings import Settings

HOSTS: Final = 3
_LAPTOP: Final = 20
T = TypeVar("T")


class Team:
    """The hosts, by number from 1, and the door to the runs of all."""

    def __init__(self, folder: Path, mark: str, workers: int, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.workers = workers
        self.network = Network()
        self.services = Services(folder / "services")
        self.laptop = Box("net")
        self._environ = {
            "DREAMDOCK_REDIS_URL": self.services.redis_url,
            "DREAMDOCK_WORKERS": str(workers),
            "DREAMDOCK_CHECKPOINT_REMOTE": self.services.remote,
            **environ,
        }
        self._mark = mark
        self.hosts = [self._host(number) for number in range(1, HOSTS + 1)]
        self.client = connect(self.services.local_redis_url)
        self.settings: Settings
        """Those of the laptop."""
        self.door: Door
        """What is submitted from the laptop; there while it's on."""

    def switch_on(self) -> None:
        """Have everything up, from the main thread, which is on the laptop's network from then on."""
        prepared = engines.prepare(self.folder, self._mark)
        self.network.switch_on()
        self.services.switch_on()
        self.network.connect(NUMBER, self.services.box)
        self.services.start()
        self.laptop.switch_on("sleep", "infinity")
        self.network.connect(_LAPTOP, self.laptop)
        for host in self.hosts:
            engines.copy(prepared, host.engine_data)
        self.boot(*self.hosts)

    def laptop_settings(self) -> Settings:
        """Return the settings of the laptop, which knows the keys that the hosts sign with."""
        return settings.load(
            redis_url=self.services.redis_url,
            checkpoint_remote=self.services.remote,
            state_dir=self.folder / "laptop" / "state",
            runtime_dir=self.folder / "laptop" / "run",
            signers={host.name: key for host, key in zip(self.hosts, each(_key, *self.hosts), strict=True)},
        )

    def boot(self, *hosts: Host) -> None:
        """Switch hosts on, from the main thread, connect them, and start their stacks."""
        if not hosts:
            return
        for host in hosts:
            host.power_on()
            self.network.connect(host.number, host.box)

        def start(host: Host) -> None:
            host.wait_for_engine()
            host.up()

        each(start, *hosts)

    def host(self, name: str) -> Host:
        """Return the host that has this name by itself."""
        return next(host for host in self.hosts if host.name == name)

    def where(self, run_id: str) -> Host:
        """Return the host that has a run's container, whatever it's called; waits until one has."""
        found: Host = until(lambda: next((host for host in self.hosts if self.containers(host, run_id)), None))
        return found

    def mend(self) -> None:
        """Put back what was done to the queue, the hosts and the network, from the main thread."""
        for drained in queue_state(self.client).draining:
            resume_queue(self.client, drained)
        for host in self.hosts:
            self.network.fast(host.number)
            if host.box.is_on:
                self.network.join(host.number)
        self.boot(*(host for host in self.hosts if not host.box.is_on))
        each(_as_before, *self.hosts)

    def rest(self) -> None:
        """Cancel what still goes on, and wait until no host has a container of a run."""
        for listed in self.door.runs(include_done=False, limit=1000).runs:
            with suppress(DreamdockError):  # It ended just now.
                self.door.cancel(listed.view.id)
        until(lambda: not any(self.containers(host) for host in self.hosts), longest_s=30)

    def containers(self, host: Host, run_id: str = "") -> list[str]:
        """Return of each container that a host has for a run whose it is; only those of one run, where it's named."""
        owners = [host.owner(found) for found in host.containers()]
        return [owner for owner in owners if owner and run_id in {"", owner}]

    def switch_off(self) -> None:
        """Take everyone's power."""
        for host in self.hosts:
            host.power_off()
        self.laptop.switch_off()
        self.services.switch_off()
        self.network.switch_off()

    def _host(self, number: int) -> Host:
        folder = self.folder / str(number)
        return Host(folder, self._mark, number=number, environ=self._environ)


def each(do: Callable[[Host], T], *hosts: Host) -> list[T]:
    """Do something with several hosts at once, and return what comes of it."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(do, hosts))


def _as_before(host: Host) -> None:
    if host.changed:
        host.rename(host.name)
        host.restart()


def _key(host: Host) -> str:
    """Return the public key that a host signs with."""
    return host.run(COMMAND, "audit", "--show-key").split('"')[-2]


@contextmanager
def team(*, workers: int, **environ: str) -> Iterator[Team]:
    """Have a team while the block runs, with so many workers on each host; `environ` is for the hosts' stacks.

    The main thread calls it, and is on the laptop meanwhile.
    """
    before = {key: os.environ.pop(key) for key in list(os.environ) if key.startswith("DREAMDOCK_")}
    folder = Path(tempfile.mkdtemp(prefix="ddh-"))  # Sockets need short names.
    mark = f"dreamdock-{folder.name}"
    try:
        with cleared(folder, mark), ExitStack() as stack:
            team = Team(folder, mark, workers, environ)
            stack.callback(team.switch_off)
            stack.enter_context(team.client)
            team.switch_on()
            team.settings = team.laptop_settings()
            make_folders(team.settings)
            stack.enter_context(team.laptop.entered())
            team.door = stack.enter_context(closing(api.connect(team.settings)))
            yield team
    finally:
        os.environ.update(before)
