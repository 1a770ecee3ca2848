from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from package_index import pip_archive, served, wheel

from sandbox import cache, engine
from sandbox.errors import ChannelLost, ImageMissing, SetupFailed, WorkspaceError
from sandbox.images import base_image
from sandbox.open import open_sandbox
from sandbox.setup import SetUp
from sandbox.spec import JOB_UID, SandboxSpec, SetupSpec
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repos import Repo

    from sandbox.layer import Layer
    from sandbox.spec import Base
    from sandbox.store import Store

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]
LABEL = "dreamdock.test-setup"


@pytest.fixture
def base(store: Store, repo: Repo) -> Base:
    return store.import_commit(repo.path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spaces"


@pytest.fixture
def make(
    request: pytest.FixtureRequest, store: Store, base: Base, root: Path
) -> Iterator[Callable[..., Callable[[], Layer]]]:
    """Yield a maker of set-ups; what their layers hold is released at the end, and no container may be left."""
    label = request.node.name[:60]
    layers: list[Layer] = []

    def prepared(*commands: str, **more: Any) -> Callable[[], Layer]:
        spec = SetupSpec(image=base_image(), labels={LABEL: label}, commands=commands, **more)
        setup = SetUp(spec, store, base, root)

        def layer() -> Layer:
            layers.append(setup.layer())
            return layers[-1]

        layer.kill = setup.kill  # type: ignore[attr-defined]  # For the test that ends it.
        return layer

    yield prepared
    for layer in layers:
        layer.held.release()
    assert containers(label) == []
    assert list((root / "open").iterdir()) == []


def containers(label: str) -> list[str]:
    with contextlib.closing(engine.client()) as client:
        return [item["Id"] for item in client.api.containers(all=True, filters={"label": f"{LABEL}={label}"})]


def entries(root: Path) -> list[str]:
    """Return what a cache of layers holds beside the locks of its entries."""
    return sorted(item.name for item in (root / "layers").iterdir() if item.suffix not in {".lock", ".making"})


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


Make = Any  # A maker of set-ups, see the fixture.


def test_a_run_finds_what_set_up_made_and_cant_change_it(store: Store, base: Base, root: Path, make: Make) -> None:
    layer = make("mkdir .deps && echo one >.deps/x && cd .deps", "pwd; echo two >>x; echo three >~/y; sleep 300 &")()
    assert (layer.cached, layer.shared) == (False, frozenset())
    assert "$ pwd; echo two >>x" in layer.log
    assert "/workspace/.deps\n[exit code 0," in layer.log
    spec = SandboxSpec(image=base_image())
    for _ in range(2):  # The second as an acceptance run has it: fresh.
        with open_sandbox(spec, store, base, root, layer=layer) as box:
            assert box.run("cat .deps/x ~/y; echo more >>.deps/x; rm ~/y").output == b"one\ntwo\nthree\n"
            checkpoint = box.checkpoint(note="1")
            assert [change.path for change in checkpoint.changes] == [".deps/x"]
            assert box.rewind(base.commit).tree == base.tree
            assert box.run("cat .deps/x; ls -a").output.split() == [
                *(b"one", b"two", b".", b"..", b".deps", b".dreamdock"),
                *(b".git", b"README.md", b"bin", b"link", b"src"),
            ]


def test_what_is_ignored_survives_a_rewind_above_it(store: Store, repo: Repo, root: Path) -> None:
    repo.commit({".gitignore": "/.deps*/\n"})
    base = store.import_commit(repo.path)
    commands = ("mkdir -p .deps/in .deps-more; touch .deps/x .deps/y .deps/in/z .deps-more/w",)
    layer = SetUp(SetupSpec(image=base_image(), commands=commands), store, base, root).layer()
    with open_sandbox(SandboxSpec(image=base_image()), store, base, root, layer=layer) as box:
        box.run(
            "echo mine >.deps/x; rm .deps/y; rm -r .deps/in; mkdir .deps/in; mv .deps-more .deps-moved; rm README.md"
        )
        box.checkpoint(note="1")
        assert box.rewind(base.commit).tree == base.tree
        found = box.run("cat .deps/x README.md; find .deps* -type f | sort").output.decode().split()
        assert found == ["mine", "hello", ".deps-more/w", ".deps-moved/w", ".deps/x"]
        assert box.checkpoint(note="2").tree == base.tree
    layer.held.release()


def test_nothing_of_the_container_stays_but_what_it_made(root: Path, make: Make) -> None:
    certificates = root.parent / "ca.pem"
    certificates.write_text("certificates\n")
    layer = make("cat $SSL_CERT_FILE; echo left >$TMPDIR/x; git config a.b c; touch made", ca_bundle=certificates)()
    assert "certificates\n" in layer.log
    tree = layer.held.path / "tree"
    assert sorted(str(path.relative_to(tree)) for path in tree.rglob("*")) == [".dreamdock", ".dreamdock/home", "made"]
    assert {path.stat().st_uid for path in (tree, *tree.rglob("*"))} == {JOB_UID}
    assert (root / "layers").stat().st_mode & 0o777 == 0o700


def test_a_stranger_cant_lead_the_host_elsewhere(root: Path, make: Make) -> None:
    victim = root.parent / "victim"
    victim.mkdir()
    (victim / "tmp").write_text("mine\n")
    layer = make(f"mv .dreamdock x; ln -s {victim} .dreamdock; rm -r .git; ln -s {victim} .git; ln -s {victim} src/v")()
    assert (victim / "tmp").read_text() == "mine\n"
    assert not os.path.lexists(layer.held.path / "tree/.git")
    assert not os.path.lexists(layer.held.path / "tree/.dreamdock")


def test_a_layer_is_reused_by_its_key(make: Make, store: Store, repo: Repo, root: Path) -> None:
    first = make("date +%N >made")()
    again = make("date +%N >made")()
    assert (again.cached, again.name, again.log, again.seconds) == (True, first.name, first.log, first.seconds)
    assert make("date +%N  >made")().name != first.name
    assert make("date +%N >made", network=True)().name != first.name
    repo.commit({"new": "x\n"})
    spec = SetupSpec(image=base_image(), commands=("date +%N >made",))
    other = SetUp(spec, store, store.import_commit(repo.path), root).layer()
    other.held.release()
    assert other.name != first.name


def test_two_at_once_make_it_once(make: Make, root: Path) -> None:
    layers: list[Layer] = []
    threads = [threading.Thread(target=lambda: layers.append(make("sleep 0.5; date +%N >made")())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(layer.cached for layer in layers) == [False, True, True]
    assert entries(root) == [layers[0].name]


@pytest.mark.parametrize(
    ("commands", "code", "cause"),
    [
        (("echo fine", "echo first; echo last words; exit 3", "echo never"), 3, "exit code 3: first | last words"),
        (("kill -9 $$",), None, "ended by signal 9"),
        (("no-such-program",), 127, "exit code 127: "),
        (("sleep 60",), None, "set-up took longer than 1 s"),
        (("printf 'esc \\033[2J'; false",), 1, "exit code 1: esc \\x1b[2J"),
    ],
)
def test_a_command_that_fails_leaves_nothing_but_its_last_words(
    make: Make, root: Path, commands: tuple[str, ...], code: int | None, cause: str
) -> None:
    with pytest.raises(SetupFailed) as caught:
        make("touch made", *commands, seconds=1 if "sleep 60" in commands else 60)()
    assert caught.value.exit_code_inside == code
    assert caught.value.cause.startswith(cause)
    assert caught.value.command in commands
    assert f"$ {caught.value.command}" in caught.value.log
    assert "never" not in caught.value.log
    assert caught.value.hint
    assert entries(root) == []


def test_a_long_log_keeps_its_end(make: Make) -> None:
    log = make("seq 100000", "echo end")().log
    assert len(log) < 17_000
    assert "99999\n100000\n" in log
    assert "$ echo end\nend\n" in log


def test_killed_from_another_thread_it_ends_at_once(make: Make, root: Path) -> None:
    layer = make("touch made; sleep 60")
    threading.Timer(1.0, layer.kill).start()
    began = time.monotonic()
    with pytest.raises(ChannelLost):
        layer()
    assert time.monotonic() - began < 10
    assert entries(root) == []
    with pytest.raises(ChannelLost):
        layer()


def test_one_who_waits_for_another_can_be_killed(make: Make) -> None:
    first, second = make("sleep 3; touch made"), make("sleep 3; touch made")
    maker = threading.Thread(target=first)
    maker.start()
    time.sleep(1)
    threading.Timer(0.3, second.kill).start()
    began = time.monotonic()
    with pytest.raises(ChannelLost):
        second()
    assert time.monotonic() - began < 2
    maker.join()


KILLED = """
import sys
from pathlib import Path
from sandbox.setup import SetUp
from sandbox.spec import Base, SetupSpec
from sandbox.store import Store
spec, base = SetupSpec.model_validate_json(sys.argv[1]), Base.model_validate_json(sys.argv[2])
SetUp(spec, Store(Path(sys.argv[3])), base, Path(sys.argv[4])).layer()
"""


def test_a_maker_killed_in_the_middle_leaves_nothing_that_counts(
    make: Make, store: Store, base: Base, root: Path, request: pytest.FixtureRequest
) -> None:
    label = request.node.name[:60]
    command = "touch made; [ -e /workspace/README.md ] && sleep 2"
    spec = SetupSpec(image=base_image(), labels={LABEL: label}, commands=(command,))
    arguments = (spec.model_dump_json(), base.model_dump_json(), str(store.root), str(root))
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments]) as child:
        until(lambda: containers(label))
        time.sleep(0.5)
        child.send_signal(signal.SIGKILL)
    left = containers(label)
    until(lambda: all(state(item) == "exited" for item in left))  # Its runner leaves when the channel closes.
    with contextlib.closing(engine.client()) as client:
        for item in left:
            client.api.remove_container(item, force=True, v=True)
    assert len(Workspace.sweep(root)) == 1
    assert [name for name in entries(root) if "." not in name] == []
    assert make(command)().cached is False
    assert [name for name in entries(root) if name.endswith(".part")] == []


def state(container: str) -> str:
    with contextlib.closing(engine.client()) as client:
        return str(client.api.inspect_container(container)["State"]["Status"])


def test_a_layer_in_use_is_not_evicted(make: Make, root: Path) -> None:
    layer = make("touch made")()
    assert list(cache.evict(root / "layers", 0)) == []
    layer.held.release()
    assert list(cache.evict(root / "layers", 0)) == [layer.name]


def test_an_image_that_isnt_there_is_refused(store: Store, base: Base, root: Path) -> None:
    spec = SetupSpec(image="no-such-image:1", commands=("true",))
    with pytest.raises(ImageMissing):
        SetUp(spec, store, base, root).layer()


def test_certificates_that_cant_be_read_are_named(make: Make, root: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"nowhere\.pem"):
        make("true", ca_bundle=Path("/nowhere.pem"))()
    assert entries(root) == []


def test_no_secret_gets_in(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMO_API_KEY", "sk-setup-not-a-real-key")
    log = make(
        "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'", environment={"PIP_INDEX_URL": "http://i/"}
    )().log
    assert "PIP_INDEX_URL=http://i/" in log
    assert "sk-setup" not in log
    assert "MIMO" not in log


def test_without_network_there_is_no_interface_but_loopback(make: Make) -> None:
    log = make("cut -d: -f1 /proc/net/dev | tail -n +3; cat /etc/resolv.conf; ls /sys/class/net 2>&1; true")().log
    assert log.splitlines()[1].strip() == "lo"
    assert "nameserver 127.0.0.1" in log
    assert "eth0" not in log


def test_with_network_a_package_comes_from_an_index_and_without_it_does_not(
    make: Make, store: Store, base: Base, root: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    (site / "simple/tinydep").mkdir(parents=True)
    pip_archive(site)
    wheel(site / "simple/tinydep", "tinydep", "1.0", "ANSWER = 42\n")
    with served(site) as url:
        operator = {"SITE": url, "PIP_INDEX_URL": f"{url}/simple", "PIP_TRUSTED_HOST": url.split("/")[2].split(":")[0]}
        commands = (
            'curl -fsS --retry 0 --max-time 20 "$SITE/pip.zip" -o "$TMPDIR/pip.zip"',
            'python3 "$TMPDIR/pip.zip/pip" install --quiet --user tinydep==1.0',
        )
        with pytest.raises(SetupFailed) as caught:
            make(*commands, environment=operator)()
        assert "exit code 7" in caught.value.cause, "curl's word for: no connection"
        layer = make(*commands, environment=operator, network=True)()
    with open_sandbox(SandboxSpec(image=base_image()), store, base, root, layer=layer) as box:
        assert box.run('python3 -c "import tinydep; print(tinydep.ANSWER)"').output == b"42\n"
        assert box.run("cut -d: -f1 /proc/net/dev | tail -n +3").output.split() == [b"lo"], "the run itself is sealed"
        assert box.checkpoint(note="1").tree == base.tree


def test_a_directory_that_set_up_moved_is_at_its_place_and_what_it_made_is_there(
    store: Store, base: Base, root: Path, make: Make
) -> None:
    layer = make("mv src moved; echo new >moved/made; mkdir -p fresh && mv moved fresh/deep")()
    spec = SandboxSpec(image=base_image())
    with open_sandbox(spec, store, base, root, layer=layer) as box:
        listed = box.run("cat src/a.py src/deep/b.py fresh/deep/made; ls -R fresh")
        assert listed.exit_code == 0, listed.output
        assert box.checkpoint(note="n").tree == base.tree
        assert box.run("echo more >> src/a.py; rm -r fresh; git status --short").exit_code == 0
        assert [change.path for change in box.checkpoint(note="n").changes] == ["src/a.py"]
