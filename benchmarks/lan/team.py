"""Three hosts, what they share, and a laptop from which runs are submitted: all of it real, on one machine.

`with team() as team`; whatever ends the block, or the process, nothing of it is left.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.lan import engines
from benchmarks.lan.host import Host
from benchmarks.lan.janitor import cleared
from benchmarks.lan.namespaces import Box
from benchmarks.lan.network import Network
from benchmarks.lan.services import NUMBER, Services
from orchestrator import api, settings
from orchestrator.stack.up import make_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.api import Door

HOSTS: Final = 3
SHARED_STORE: Final = True
"""Whether the hosts keep their stores in one folder, instead of a checkpoint remote."""
_LAPTOP: Final = 20


class Team:
    """The hosts, by number from 1, and the door to the runs of all."""

    def __init__(self, folder: Path, mark: str, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.network = Network()
        self.services = Services(folder / "services")
        self.laptop = Box("net")
        (shared := folder / "laptop" / "state" / "repos").mkdir(parents=True)
        remote = {} if SHARED_STORE else {"DREAMDOCK_CHECKPOINT_REMOTE": self.services.remote}
        self._environ = {"DREAMDOCK_REDIS_URL": self.services.redis_url, **remote, **environ}
        self._mark = mark
        self._shared = shared if SHARED_STORE else None
        self.hosts = [self._host(number) for number in range(1, HOSTS + 1)]
        self.settings = settings.load(
            redis_url=self.services.redis_url,
            checkpoint_remote=None if SHARED_STORE else self.services.remote,
            state_dir=folder / "laptop" / "state",
            runtime_dir=folder / "laptop" / "run",
        )
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

    def boot(self, *hosts: Host) -> None:
        """Switch hosts on, from the main thread, connect them, and start their stacks."""
        for host in hosts:
            host.power_on()
            self.network.connect(host.number, host.box)

        def start(host: Host) -> None:
            host.wait_for_engine()
            host.up()

        each(start, *hosts)

    def switch_off(self) -> None:
        """Take everyone's power."""
        for host in self.hosts:
            host.power_off()
        self.laptop.switch_off()
        self.services.switch_off()
        self.network.switch_off()

    def _host(self, number: int) -> Host:
        folder = self.folder / str(number)
        return Host(folder, self._mark, number=number, environ=self._environ, shared=self._shared)


def each(do: Callable[[Host], None], *hosts: Host) -> None:
    """Do something to several hosts at once."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(do, hosts))


@contextmanager
def team(**environ: str) -> Iterator[Team]:
    """Have a team while the block runs; `environ` is for its hosts' stacks. This thread is on the laptop meanwhile."""
    before = {key: os.environ.pop(key) for key in list(os.environ) if key.startswith("DREAMDOCK_")}
    folder = Path(tempfile.mkdtemp(prefix="ddl-"))  # Sockets need short names.
    mark = f"dreamdock-{folder.name}"
    try:
        with cleared(folder, mark), ExitStack() as stack:
            team = Team(folder, mark, environ)
            stack.callback(team.switch_off)
            team.switch_on()
            make_folders(team.settings)
            stack.enter_context(team.laptop.entered())
            team.door = stack.enter_context(closing(api.connect(team.settings)))
            yield team
    finally:
        os.environ.update(before)
