from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from sandbox import engine
from sandbox.cache import hold
from sandbox.checkpoints import Checkpointer
from sandbox.errors import ChannelLost, DiskFull, RevisionNotFound, WorkspaceError
from sandbox.ignores import Ignores
from sandbox.images import base_image
from sandbox.layer import Layer
from sandbox.open import open_sandbox
from sandbox.rewind import GONE
from sandbox.spec import JOB_UID, SandboxSpec
from sandbox.survivors import Survivors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repos import NewRepo, Opener, SmallDisk

    from sandbox.open import Sandbox
    from sandbox.spec import Base
    from sandbox.store import Store

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]

RULES = "/build/\n*.log\n.venv\n"


@pytest.fixture
def spec(request: pytest.FixtureRequest) -> SandboxSpec:
    return SandboxSpec(image=base_image(), labels={"test": request.node.name[:60]})


@pytest.fixture
def base(store: Store, new_repo: NewRepo) -> Base:
    repo = new_repo("source")
    repo.commit({"a.txt": "one\n", "src/b.txt": "two\n", "src/t.log": "tracked\n", ".gitignore": RULES})
    return store.import_commit(repo.path)


@pytest.fixture
def box(store: Store, base: Base, spec: SandboxSpec, tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(spec, store, base, tmp_path / "spaces") as opened:
        yield opened


def running(spec: SandboxSpec) -> list[str]:
    with contextlib.closing(engine.client()) as client:
        label = f"test={spec.labels['test']}"
        return [item["State"] for item in client.api.containers(all=True, filters={"label": label})]


def out(box: Sandbox, command: str) -> str:
    return box.run(command).output.decode()


# Files.


def test_the_container_stays_and_shows_the_step(store: Store, base: Base, box: Sandbox) -> None:
    before = box.container_id
    box.run("echo more >>a.txt; mv src lib; ln -s a.txt link")
    first = box.checkpoint(note="1")
    box.run("rm -r lib; mkdir a; echo x >a/x; chmod +x a.txt; rm link; mkdir link")
    box.checkpoint(note="2")
    box.run("echo uncommitted >>a.txt; rm .gitignore")
    done = box.rewind(first.commit)
    assert (done.commit, done.tree, done.notes) == (first.commit, first.tree, (GONE,))
    assert out(box, "cat a.txt lib/*; ls; readlink link") == "one\nmore\ntwo\na.txt\nlib\nlink\na.txt\n"
    assert out(box, "find . -not -user $(id -u)") == ""
    assert box.container_id == before
    box.run("echo again >>a.txt")
    after = box.checkpoint(note="3")
    assert [(item.path, item.status) for item in after.changes] == [("a.txt", "M")]
    assert store.compose(base.project, first.tree, [after.patch]) == after.tree
    box.rewind(base.commit)
    assert box.checkpoint(note="4").tree == base.tree


def test_forth_again_after_back(box: Sandbox) -> None:
    steps = []
    for number in range(4):
        box.run(f"echo {number} >>a.txt; mkdir d{number}; echo x >d{number}/x; rm -r d{number - 1}")
        steps.append(box.checkpoint(note=str(number)))
    for number in (0, 3, 1, 2, 2, 0):
        box.rewind(steps[number].commit)
        assert (
            out(box, "cat a.txt; ls -d d*") == "one\n" + "".join(f"{n}\n" for n in range(number + 1)) + f"d{number}\n"
        )
        assert box.checkpoint(note="x").tree == steps[number].tree


def test_what_is_ignored_survives_whole(box: Sandbox) -> None:
    start = box.checkpoint(note="0")
    box.run(
        "mkdir -p .venv/bin build new/deep && echo v >.venv/bin/python && chmod 711 .venv && ln .venv/bin/python hard"
    )
    box.run("echo l >x.log; echo l >new/deep/x.log; echo o >build/o; mkdir src/__pycache__; echo c >src/__pycache__/c")
    box.run("echo changed >src/t.log; echo secret >~/note; mkfifo build/pipe")
    late = box.checkpoint(note="1")
    inode = out(box, "stat -c %i .venv/bin/python")
    for checkpoint in (start, late, start):
        assert box.rewind(checkpoint.commit).notes == (GONE,)
        assert (
            out(box, "cat .venv/bin/python x.log new/deep/x.log build/o src/__pycache__/c ~/note")
            == "v\nl\nl\no\nc\nsecret\n"
        )
        assert (
            out(box, "stat -c %i .venv/bin/python; stat -c %a .venv; test -p build/pipe && echo pipe")
            == f"{inode}711\npipe\n"
        )
    assert out(box, "cat src/t.log; ls hard") == "tracked\nls: cannot access 'hard': No such file or directory\n"
    assert box.checkpoint(note="2").tree == start.tree


def test_ignored_things_of_a_directory_that_is_gone(box: Sandbox) -> None:
    box.run("mkdir src/build; rm -r src; echo x >src.log")
    gone = box.checkpoint(note="1")
    box.rewind(gone.commit)
    box.run("mkdir src; echo kept >src/new.log; echo not >src/b.txt")
    box.rewind(gone.commit)
    assert out(box, "ls src; cat src/new.log") == "new.log\nkept\n", "and nothing of the base's src shines through"
    assert box.checkpoint(note="2").tree == gone.tree


def test_the_step_wins_over_what_is_ignored(box: Sandbox) -> None:
    box.run("echo file >build; echo file >new")
    first = box.checkpoint(note="1")
    box.run("rm build new a.txt; mkdir -p build new a.txt; touch build/o new/x.log a.txt/y.log; touch $'a.txt/\\e.log'")
    box.checkpoint(note="2")
    notes = box.rewind(first.commit).notes
    assert notes[1] == "ignored, but the step has something else there: a.txt/\\x1b.log, a.txt/y.log, build, new/x.log"
    assert out(box, "cat build new a.txt") == "file\nfile\none\n"


def test_a_renamed_directory_of_the_base_that_is_ignored_now(box: Sandbox) -> None:
    box.run("mkdir sub; echo s >sub/s; git mv src build")
    box.run("mv build/b.txt build/c.txt; echo n >build/n")
    moved = box.checkpoint(note="1")
    assert {item.path for item in moved.changes} == {"src/b.txt", "src/t.log", "sub/s"}
    box.rewind(box.checkpoint(note="2").commit)
    assert out(box, "cat build/c.txt build/n build/t.log; ls") == "two\nn\ntracked\na.txt\nbuild\nsub\n"


def test_a_nested_renamed_directory_keeps_what_it_continues(
    store: Store, new_repo: NewRepo, spec: SandboxSpec, tmp_path: Path
) -> None:
    repo = new_repo("nested")
    repo.commit({".gitignore": "*.out\n", "p/lib/f": "1\n", "p/lib/in/g": "2\n", "q": "q\n"})
    base = store.import_commit(repo.path)
    with open_sandbox(spec, store, base, tmp_path / "spaces") as box:
        box.run("mv p r && mv r/lib r/x.out && mv r/x.out/in r/x.out/deeper")
        assert {item.path for item in box.checkpoint(note="1").changes} == {"p/lib/f", "p/lib/in/g"}
        box.rewind(base.commit)
        assert out(box, "cat r/x.out/f r/x.out/deeper/g p/lib/f p/lib/in/g; ls r/x.out") == "1\n2\n1\n2\ndeeper\nf\n"


def test_what_the_base_holds_of_it_under_another_name(box: Sandbox) -> None:
    box.run("mv src lib; mkdir build; mv .git/refs ~/refs; ln -s /etc build/etc")
    moved = box.checkpoint(note="1")
    for checkpoint in (moved.commit, moved.commit):
        assert box.rewind(checkpoint).notes == (GONE,)
        assert out(box, "cat lib/t.log; stat -c %U lib/t.log; ls ~/refs .git/refs") == (
            "tracked\nUNKNOWN\n.git/refs:\nheads\ntags\n\n/workspace/.dreamdock/home/refs:\nheads\ntags\n"
        )


def test_what_set_up_made_stays_below(store: Store, base: Base, spec: SandboxSpec, tmp_path: Path) -> None:
    def make(part: Path) -> None:
        for name in (".venv/bin/python", ".venv/lib/old.py", "src/made.log", "made/x"):
            (part / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (part / "tree" / name).write_text(f"{name}\n")
        subprocess.run(["chown", "-R", f"{JOB_UID}:{JOB_UID}", part / "tree"], check=True)

    root = tmp_path / "spaces"
    held = hold(root / "layers", "l", make)
    layer = Layer(held, frozenset({b"src"}), log="", seconds=0.0, cached=False)
    with open_sandbox(spec, store, base, root, layer=layer) as box:
        start = box.checkpoint(note="0")
        assert start.tree == base.tree
        box.run("rm .venv/lib/old.py; echo n >.venv/lib/new.py; echo c >>.venv/bin/python; mkdir build; mv made build")
        box.run("mv src lib; echo m >>lib/made.log")
        box.checkpoint(note="1")
        for _ in range(2):
            assert box.rewind(start.commit).notes == (GONE,)
            assert out(box, "ls .venv/lib; cat .venv/bin/python") == "new.py\n.venv/bin/python\nc\n"
            assert out(box, "cat build/made/x made/x src/made.log lib/made.log lib/t.log; ls lib") == (
                "made/x\nmade/x\nsrc/made.log\nsrc/made.log\nm\ntracked\nmade.log\nt.log\n"
            )
            assert box.checkpoint(note="2").tree == base.tree
        assert out(box, "find . -not -user $(id -u); grep -c /workspace /proc/self/mountinfo") == "2\n"
    held.release()


def test_a_link_of_the_repository_is_no_way_to_the_hosts_files(
    store: Store, new_repo: NewRepo, open_workspace: Opener
) -> None:
    repo = new_repo("linked")
    repo.commit({"d/f": "x\n"})
    (repo.path / "d/way").symlink_to("/")
    repo.commit()
    workspace = open_workspace(store.import_commit(repo.path))
    objects = store.objects(repo.project)
    ignores = Ignores(workspace.pristine.rules, store.git_dir(repo.project), workspace.room / "rules")
    survivors = Survivors(objects, ignores, workspace, workspace.upper, workspace.base.tree)
    with survivors._base(b"d") as found:
        assert sorted(os.listdir(found)) == ["f", "way"]  # noqa: PTH208  # A descriptor, not a path.
    with pytest.raises(NotADirectoryError), survivors._base(b"d/way/etc"):
        pytest.fail("it was followed")


def test_git_is_the_base_commit_again(box: Sandbox) -> None:
    start = box.checkpoint(note="0")
    box.run(
        "echo x >a.txt; git commit -qam mine; git config user.name evil; echo x >.git/hooks-x; git tag t; git gc -q"
    )
    box.run("rm -rf .git/refs; mkdir vendor; git init -q vendor")
    box.rewind(start.commit)
    assert out(
        box,
        "git log --format=%s; git status --short; git tag; git config user.name; ls .git/hooks-x vendor 2>&1 | wc -l",
    ) == ("Base of this run\ndreamdock\n2\n")


def test_a_home_that_was_taken_away_is_there_again(box: Sandbox) -> None:
    start = box.checkpoint(note="0")
    box.run("cd /; rm -rf /workspace/.dreamdock; ln -s /etc /workspace/.dreamdock")
    box.rewind(start.commit)
    assert out(box, "echo x >~/x && stat -c '%a %U' ~ && ls -A /workspace/.dreamdock") == "700 UNKNOWN\nhome\n"


# Processes.


@pytest.mark.parametrize(
    "left",
    [
        "sleep 100 &",
        "setsid -f sleep 100",
        "(cd src && setsid -f sh -c 'sleep 100 & exec sleep 100')",
        "setsid -f sleep 100 <a.txt",
        "setsid -f tail -f a.txt >>src/b.txt",
        "setsid -f env -i sh -c 'trap \"\" TERM HUP INT; while :; do date >>/workspace/src/b.txt; done'",
        'setsid -f python3 -c \'import mmap,time; f=open("a.txt","r+b"); m=mmap.mmap(f.fileno(),0); time.sleep(100)\'',
        "setsid -f sh -c 'kill -STOP $$'",
    ],
)
def test_whatever_runs_is_ended(box: Sandbox, left: str) -> None:
    start = box.checkpoint(note="0")
    box.run(f"{left} >/dev/null 2>&1")
    box.rewind(start.commit)
    assert out(box, "ps -eo args= | grep -cE '^(sleep|tail|sh|python3 -c) ' ; cat a.txt src/b.txt") == "0\none\ntwo\n"
    assert box.checkpoint(note="1").tree == start.tree


def test_nothing_of_the_undone_steps_is_left_in_memory(box: Sandbox) -> None:
    start = box.checkpoint(note="0")
    box.run("for f in /tmp /run /dev/shm /dev/mqueue; do echo x >$f/f; done; touch /tmp/.h; ln -s / /tmp/l")
    box.run("mkdir -p /tmp/d/e; touch /tmp/d/e/f; chmod 0 /tmp/d/e /tmp/d; ipcmk -M 10 -S 1 -Q")
    nest = "import os; os.chdir('/tmp')\nfor _ in range(3000): os.mkdir('d2'); os.chdir('d2')"
    assert box.exec(["python3", "-c", nest]).exit_code == 0
    assert out(box, "tail -qn +2 /proc/sysvipc/msg /proc/sysvipc/sem | wc -l") == "2\n"
    assert GONE in box.rewind(start.commit).notes
    assert out(box, "ls -A /tmp /run /dev/shm /dev/mqueue | grep -v :") == "\n\n\n"
    assert out(box, "tail -qn +2 /proc/sysvipc/* | wc -l") == "0\n"


# The shell.


def test_directory_and_environment_are_those_of_the_step(
    store: Store, base: Base, spec: SandboxSpec, tmp_path: Path
) -> None:
    shows = "pwd; printenv MARK; greet you; echo ${list[1]} $-; umask"
    with open_sandbox(spec, store, base, tmp_path / "spaces") as box:
        fresh = box.checkpoint(note="0")
        assert fresh.shell == ""
        box.run("cd src; export MARK='1  2'; greet() { echo \"hi $1\"; }; list=(a 'b c'); umask 027")
        first = box.checkpoint(note="1")
        expected = out(box, shows)
        box.run("cd /; unset MARK list; greet() { echo other; }; set -f")
        box.checkpoint(note="2")
        box.rewind(first.commit, shell=first.shell)
        assert out(box, shows) == expected
        assert expected.startswith("/workspace/src\n1  2\nhi you\nb c ")
        box.rewind(fresh.commit, shell=fresh.shell)
        assert out(box, "pwd; echo ${MARK-unset}; type greet 2>&1 | wc -l") == "/workspace\nunset\n1\n"
        assert store.objects(base.project).read(first.shell).startswith(b"/workspace/src\0")
    with open_sandbox(spec, store, base, tmp_path / "spaces", tree=first.tree, shell=first.shell) as box:
        assert out(box, shows) == expected


def test_a_working_directory_that_the_step_does_not_have(box: Sandbox) -> None:
    start = box.checkpoint(note="0")
    box.run("mkdir new; cd new")
    made = box.checkpoint(note="1")
    box.rewind(start.commit, shell=made.shell)
    assert out(box, "pwd") == "dreamdock: /workspace/new is gone, this is /workspace\n/workspace\n"


def test_a_state_that_starts_something_starts_it_on_the_new_tree(store: Store, base: Base, box: Sandbox) -> None:
    box.run("echo step >>a.txt")
    first = box.checkpoint(note="1")
    box.run("echo later >>a.txt")
    box.checkpoint(note="2")
    # What a shell leaves is written by the job: it may hold commands.
    objects = store.objects(base.project)
    hostile = (
        b"/workspace\0declare -x PATH=/usr/bin:/bin\nsetsid -f sh -c 'cat /workspace/a.txt >/tmp/seen; sleep 100'\n"
    )
    oid = objects.put(b"blob", hostile)
    objects.flush()
    box.rewind(first.commit, shell=oid)
    assert out(box, "sleep 0.2; cat /tmp/seen a.txt") == "one\nstep\none\nstep\n"
    box.rewind(first.commit)
    assert out(box, "ls /tmp; pgrep -c sleep") == "0\n"


# When it fails.


def test_an_unknown_checkpoint_changes_nothing(box: Sandbox, base: Base) -> None:
    box.run("echo more >>a.txt; cd src; sleep 100 &")
    made = box.checkpoint(note="1")
    for unknown in ("0" * 40, base.tree):
        with pytest.raises(RevisionNotFound):
            box.rewind(unknown)
    with pytest.raises(WorkspaceError, match="no object"):
        box.rewind(made.commit, shell="1" * 40)
    assert out(box, "pwd; tail -1 ../a.txt; pgrep -c sleep") == "/workspace/src\nmore\n1\n"


def test_a_busy_workspace_ends_the_container(store: Store, base: Base, box: Sandbox, spec: SandboxSpec) -> None:
    box.run("echo more >>a.txt")
    made = box.checkpoint(note="1")
    with (box._workspace.merged / "a.txt").open(), pytest.raises(WorkspaceError, match="still in use") as caught:
        box.rewind(base.commit)
    assert caught.value.hint
    assert running(spec) == []
    for use in (lambda: box.run("true"), lambda: box.rewind(base.commit), lambda: box.checkpoint(note="2")):
        with pytest.raises(ChannelLost):
            use()
    assert store.read_file(base.project, made.tree, "a.txt") == b"one\nmore\n"


def test_a_state_that_is_none_ends_the_container(store: Store, base: Base, box: Sandbox, spec: SandboxSpec) -> None:
    objects = store.objects(base.project)
    wrong = objects.put(b"blob", b"no directory")
    objects.flush()
    with pytest.raises(WorkspaceError):
        box.rewind(base.commit, shell=wrong)
    assert running(spec) == []


def test_a_mount_that_does_not_reach_the_container_ends_it(base: Base, box: Sandbox, spec: SandboxSpec) -> None:
    # The slot goes with the workspace: what is mounted next has no way into the container.
    box._workspace.unmount()
    with pytest.raises(WorkspaceError, match="doesn't see"):
        box.rewind(base.commit)
    assert running(spec) == []


def test_a_full_disk_ends_the_container_and_keeps_the_steps(
    base: Base, store: Store, spec: SandboxSpec, small_disk: SmallDisk
) -> None:
    root = small_disk("4m")
    with open_sandbox(spec, store, base, root) as box:
        box.run("head -c 2500000 /dev/urandom >large")
        large = box.checkpoint(note="1")
        box.run("rm large")
        small = box.checkpoint(note="2")
        box.run("head -c 2500000 /dev/urandom >large.log")
        with pytest.raises(DiskFull) as caught:
            box.rewind(large.commit)
        assert caught.value.hint
        assert running(spec) == []
    assert list((root / "open").iterdir()) == []
    with open_sandbox(spec, store, base, root, tree=small.tree) as box:
        box.rewind(large.commit)
        assert out(box, "stat -c %s large") == "2500000\n"


def test_the_layer_is_another_one_and_the_old_one_goes(store: Store, base: Base, open_workspace: Opener) -> None:
    workspace = open_workspace(base)
    checkpoints = Checkpointer(store, workspace)
    (workspace.merged / "a.txt").write_text("changed\n")
    before = workspace.upper.stat().st_ino
    checkpoints.rewind(base.commit)
    workspace.clearing[-1].join()
    assert sorted(item.name for item in workspace.room.iterdir()) == ["disk", "lock", "merged"]
    assert workspace.upper.stat().st_ino != before
    assert (workspace.merged / "a.txt").read_text() == "one\n"
