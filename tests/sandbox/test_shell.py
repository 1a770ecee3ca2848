from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from sandbox.attack.check import LIMITS
from sandbox.attack.opening import opened
from sandbox.errors import DiskFull, FileProblem
from sandbox.images import base_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repos import SmallDisk

    from sandbox.open import Sandbox
    from sandbox.spec import CommandResult

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    limits = LIMITS.model_copy(update={"workspace_mb": 1024})  # Whole outputs lie there.
    with opened(base_image(), tmp_path_factory.mktemp("shell"), limits=limits) as box:
        yield box


@pytest.fixture
def box(shared: Sandbox) -> Sandbox:
    shared._container.shell.kill_all()  # Every test starts from a fresh shell.
    return shared


def text(result: CommandResult) -> str:
    return result.output.decode()


def names(box: Sandbox) -> list[str]:
    """Return the command lines of every process but the runner and the waiting shells."""
    listing = text(box.run("ps -eo pid=,args= | grep -vE 'dreamdock-runner|fd/204|ps -eo|grep -vE'"))
    return [line.split(maxsplit=1)[1] for line in listing.splitlines()]


# State.


def test_directory_variables_and_functions_persist(box: Sandbox) -> None:
    box.run(
        "cd /tmp; export EXPORTED='a  b'; plain=$'two\nlines'; list=(1 '2 3'); umask 027; greet() { echo \"hi $1\"; }"
    )
    result = box.run('pwd; printenv EXPORTED; echo "$plain" "${list[1]}"; umask; greet you; cd -')
    assert text(result) == "/tmp\na  b\ntwo\nlines 2 3\n0027\nhi you\n/workspace\n"  # noqa: S108  # Paths inside.
    assert result.cwd == "/workspace"


def test_what_was_unset_stays_unset(box: Sandbox) -> None:
    box.run("unset LANG; unset -f nothing; export GONE=1; unset GONE")
    assert text(box.run("echo ${LANG-unset} ${GONE-unset}")) == "unset unset\n"


def test_a_function_that_hides_a_builtin_doesnt_break_the_shell(box: Sandbox) -> None:
    box.run("cd() { echo hidden; }; printf() { echo hidden; }; trap() { echo hidden; }; builtin cd /tmp")
    assert text(box.run("builtin pwd")) == "/tmp\n"  # noqa: S108  # Paths inside.


@pytest.mark.parametrize(
    ("command", "code", "signal"),
    [
        ("exit 3", 3, None),
        ("set -e; false; echo not reached", 1, None),
        ("set -euo pipefail; echo $undefined", 1, None),
        ("exec sh -c 'exit 4'", 4, None),
        ("kill -9 $$", None, 9),
        ("kill -TERM $BASHPID", None, 15),
        ("if then", 2, None),
        ("echo 'open quote", 2, None),
        ("cat <<END\nopen document", 0, None),
        ("set -n; echo x", 0, None),
        ("exec >/dev/null 2>&1 </dev/null", 0, None),
        ('for fd in {3..250}; do eval "exec $fd>&-"; done 2>/dev/null', 0, None),
        ("trap 'exit 9' EXIT", 9, None),
        ("return 5 2>/dev/null; exit 6", 6, None),
        ("nonexistent-program", 127, None),
        ("", 0, None),
    ],
)
def test_no_command_costs_the_shell(box: Sandbox, command: str, code: int | None, signal: int | None) -> None:
    box.run("cd /tmp; export KEPT=yes")
    result = box.run(command)
    assert (result.exit_code, result.signal, result.timed_out) == (code, signal, False)
    assert text(box.run("echo $KEPT $PWD $-")) == "yes /tmp hBc\n"


def test_a_commands_own_exit_trap_runs_and_the_state_is_kept(box: Sandbox) -> None:
    assert text(box.run("trap 'echo cleaned' EXIT; KEPT=1; echo work")) == "work\ncleaned\n"
    assert text(box.run("echo $KEPT")) == "1\n"


@pytest.mark.parametrize("trap", ["DEBUG", "ERR", "RETURN"])
def test_a_trap_of_the_job_that_prints_costs_no_state(box: Sandbox, trap: str) -> None:
    box.run(f"cd /tmp; trap 'echo trapped' {trap}; KEPT=1; false")
    assert text(box.run("echo $KEPT $PWD")) == "1 /tmp\n"


def test_dynamic_variables_go_on_and_odd_values_persist(box: Sandbox) -> None:
    box.run('ODD=$\'a\\ndeclare -i RANDOM="5"\\nb\'; document() { cat <<END\ndeclare -r UID="1"\nEND\n}')
    assert text(box.run('echo "$ODD"; document')) == 'a\ndeclare -i RANDOM="5"\nb\ndeclare -r UID="1"\n'
    assert text(box.run("[[ $RANDOM$RANDOM != $RANDOM$RANDOM && $BASHPID = $$ ]] && echo live")) == "live\n"


def test_a_directory_that_is_gone_is_told_and_left(box: Sandbox) -> None:
    box.run("mkdir -p /tmp/gone && cd /tmp/gone && rmdir /tmp/gone")
    result = box.run("pwd")
    assert text(result).splitlines()[-1] == "/workspace"
    assert "/tmp/gone is gone" in text(result)  # noqa: S108  # Paths inside.


def test_state_that_is_too_large_or_hostile_is_dropped_and_told(box: Sandbox) -> None:
    result = box.run("export KEPT=1; BIG=$(head -c 5000000 /dev/zero | tr '\\0' x)")
    assert any("too large" in note for note in result.notes)
    box.run("printf '\\0/tmp\\0while :; do :; done\\0\\0' >&203; kill -9 $$")
    stuck = box.run("echo never", timeout_s=1)
    assert stuck.timed_out
    assert any("afresh" in note for note in stuck.notes)
    box.run("printf '\\0/tmp\\0exit 3\\0\\0' >&203; kill -9 $$")
    result = box.run("echo ran")
    assert (text(result), result.exit_code) == ("ran\n", 0)


def test_messages_name_the_commands_own_lines(box: Sandbox) -> None:
    assert text(box.run("true\nnonexistent-program")).startswith("bash: line 2: nonexistent-program")


def test_a_program_alone_has_no_state(box: Sandbox) -> None:
    box.run("cd /tmp; export SEEN=1")
    result = box.exec(["sh", "-c", 'pwd; echo "${SEEN-none} $1"', "sh", "an argument; $(false)"])
    assert text(result) == "/workspace\nnone an argument; $(false)\n"
    assert box.exec(["nonexistent-program"]).exit_code == 127


# Input and output.


def test_output_is_binary_safe_and_merged_in_order(box: Sandbox) -> None:
    every = bytes(range(256))
    box.write("/tmp/bytes", every * 3)  # noqa: S108  # Paths inside.
    assert box.run("cat /tmp/bytes").output == every * 3
    assert text(box.run("echo 1; echo 2 >&2; echo 3")) == "1\n2\n3\n"


def test_long_output_keeps_head_and_tail_and_counts_the_rest(box: Sandbox) -> None:
    result = box.run("echo first; head -c 50000000 /dev/zero; echo; echo last", timeout_s=30)
    assert result.output.startswith(b"first\n")
    assert result.output.endswith(b"\nlast\n")
    assert result.total_bytes == 6 + 50_000_000 + 6
    kept = LIMITS.output_kb * 1024
    assert len(result.output) <= kept + 64
    assert f"[... {result.total_bytes - kept} bytes left out ...]".encode() in result.output


def test_the_whole_of_a_long_output_can_be_read_in_pages(box: Sandbox) -> None:
    result = box.run("seq 1 300000")
    whole = "".join(f"{number}\n" for number in range(1, 300_001)).encode()
    assert result.total_bytes == len(whole) > len(result.output)
    pages = [box._container.shell.read(result.whole, limit=700_000, offset=at) for at in (0, 700_000, 1_400_000)]
    assert b"".join(pages) == whole
    assert box._container.shell.read(result.whole, limit=10, offset=len(whole)) == b""
    assert box.run("head -c 15000 /dev/zero").whole == ""
    assert text(box.run("git status --short")) == ""


def test_an_output_that_is_longer_than_may_be_stored_says_so_and_old_ones_go(box: Sandbox) -> None:
    first = box.run("head -c 200000000 /dev/zero", timeout_s=30)
    second = box.run("head -c 300000000 /dev/zero", timeout_s=30)
    third = box.run("head -c 200000000 /dev/zero", timeout_s=30)
    assert first.notes == third.notes == ()
    assert second.notes == (f"only the first {256 << 20} bytes of the output are in {second.whole}",)
    sizes = text(box.run(f"stat -c %s {second.whole} {third.whole}; test -e {first.whole} || echo gone"))
    assert sizes == f"{256 << 20}\n200000000\ngone\n"


@pytest.mark.parametrize(
    "trap",
    [
        "rm -rf .dreamdock/output; ln -s /tmp .dreamdock/output",
        "rm -rf .dreamdock/output; mkfifo .dreamdock/output",
        "rm -rf .dreamdock/output; mkdir -m 0 .dreamdock/output",
        "cd .dreamdock/output; for i in {1..300}; do mkdir -p $i; done",
    ],
    ids=["link", "pipe", "locked", "directories"],
)
def test_a_whole_output_that_cant_be_stored_is_only_not_stored(box: Sandbox, trap: str) -> None:
    box.run("rm -rf .dreamdock/output")
    assert box.run("seq 100000").whole != ""
    box.run(trap)
    result = box.run("seq 100000; ls /tmp | grep '^[0-9]*$'")
    box.run("cd /workspace; chmod 700 .dreamdock/output; rm -rf .dreamdock/output")
    assert result.whole == ""
    assert result.output.endswith(b"\n100000\n")


def test_links_and_pipes_in_the_place_of_a_whole_output_are_replaced(box: Sandbox) -> None:
    box.run("echo precious >/tmp/precious; rm -rf .dreamdock/output; mkdir .dreamdock/output; cd .dreamdock/output")
    box.run(
        "for i in {1..600}; do rm -f $i; ln -s /tmp/precious $i; done; for i in {2..600..2}; do ln -sf nowhere $i; done"
    )
    box.run("for i in {3..600..3}; do rm -f $i; mkfifo $i; done")
    for _ in range(6):
        result = box.run("seq 100000")
        assert box._container.shell.read(result.whole, limit=4, offset=0) == b"1\n2\n"
    assert text(box.run("cat /tmp/precious; cd /; rm -r /workspace/.dreamdock/output")) == "precious\n"


def test_standard_input_arrives_whole_and_is_empty_otherwise(box: Sandbox) -> None:
    data = os.urandom(3_000_000)
    box.run("cat >/tmp/in", stdin=data)
    assert box.read("/tmp/in", limit=4_000_000) == data  # noqa: S108  # A path inside.
    assert box.run("head -c 3 >/dev/null", stdin=data).exit_code == 0
    assert text(box.run("cat; readlink /proc/self/fd/0")) == "/dev/null\n"


def test_commands_see_no_descriptor_of_the_channel(box: Sandbox) -> None:
    listing = text(box.run("for fd in /proc/self/fd/*; do readlink $fd; done 2>/dev/null | sort -u"))
    assert all(line.startswith(("pipe:", "/dev/null", "/memfd:saved", "/proc/")) for line in listing.splitlines())


def test_the_process_list_shows_no_source(box: Sandbox) -> None:
    assert text(box.run("ps -o args= -p 1")) == "dreamdock-runner\n"


# Time, and what is left behind.


def test_when_time_is_up_the_whole_tree_ends_and_older_background_processes_live_on(box: Sandbox) -> None:
    box.run("sleep 1001 & disown")
    hidden = "python3 -c 'import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  "
    hidden += 'os.execve("/bin/sleep", ["sleep", "1004"], {})\n os._exit(0)\ntime.sleep(9)\''
    began = time.monotonic()
    result = box.run(f"setsid sleep 1002 & (env -i sleep 1003 &); {hidden}", timeout_s=0.7)
    assert (result.timed_out, result.exit_code, result.signal) == (True, None, 9)
    assert time.monotonic() - began < 3
    assert names(box) == ["sleep 1001"]


def test_a_background_process_neither_holds_the_call_nor_breaks_on_its_output(box: Sandbox) -> None:
    began = time.monotonic()
    result = box.run("(while :; do echo noise; sleep 0.01; done; echo ended >/tmp/ended) & echo started")
    assert time.monotonic() - began < 2
    assert text(result).startswith(("started\n", "noise\n"))
    time.sleep(0.1)
    assert text(box.run("echo next")) == "next\n"
    assert text(box.run("test -e /tmp/ended || echo lives on")) == "lives on\n"


def test_flooding_in_the_background_doesnt_stop_the_channel(box: Sandbox) -> None:
    box.run("yes & yes >&2 &")
    assert [text(box.run(f"echo {number}", timeout_s=10)) for number in range(5)] == [f"{n}\n" for n in range(5)]


def test_holding_stops_every_process_and_leaves_stopped_ones_stopped(box: Sandbox) -> None:
    box.run("(while :; do echo tick; done >>/workspace/ticks) & sleep 0.05")
    box.run("sleep 1005 & sleep 0.1; kill -STOP $!; sleep 0.1")
    upper = box._checkpointer._folder._upper / "ticks"
    for _ in range(3):
        with box._container.shell.held():
            before = upper.stat().st_size
            time.sleep(0.03)
            assert upper.stat().st_size == before
        time.sleep(0.05)
        assert upper.stat().st_size > before
    assert text(box.run("ps -o stat= -p $(pgrep -f 'sleep 1005')")).startswith("T")


def test_killing_everything_forgets_the_state(box: Sandbox) -> None:
    box.run("cd /tmp; export KEPT=1; sleep 1006 & (setsid sleep 1007 &)")
    box._container.shell.kill_all()
    assert text(box.run("echo $PWD ${KEPT-none}")) == "/workspace none\n"
    assert names(box) == []


def test_what_was_left_running_is_listed_with_the_command_that_started_it(box: Sandbox) -> None:
    shell = box._container.shell
    first = box.run("sleep 1011 & (setsid sleep 1012 &) ; exec -a $'evil\\e[31m\\nname' sleep 1013 &").number
    box.run("true")
    second = box.run("sh -c 'sleep 1014; :' & sleep 0.2").number
    listed = {process.command: process.number for process in shell.background()}
    assert listed == {
        "sleep 1011": first,
        "sleep 1012": first,
        "evil\\x1b[31m\\nname 1013": first,
        "sh -c sleep 1014; :": second,
        "sleep 1014": second,
    }
    assert all(0 <= process.seconds < 30 for process in shell.background())


def test_a_stopped_process_takes_its_descendants_along_and_nothing_else(box: Sandbox) -> None:
    shell = box._container.shell
    box.run("cd /tmp; sleep 1015 & (trap '' TERM; sleep 1016; :) & bash -c 'setsid sleep 1018 & sleep 1019; :' &")
    box.run("sleep 0.1; kill -STOP $(pgrep -f 'sleep 1019$')")
    numbers = {process.command: process.pid for process in shell.background()}
    assert shell.stop(numbers["bash -c setsid sleep 1018 & sleep 1019; :"])
    stubborn = min(process.pid for process in shell.background() if process.command != "sleep 1015")
    assert shell.stop(stubborn, grace_s=0.2)
    assert [process.command for process in shell.background()] == ["sleep 1015"]
    for nothing in (1, stubborn, 99_999, *_waiting(box)):
        assert not shell.stop(nothing)
    assert text(box.run("pwd")) == "/tmp\n"  # noqa: S108  # A path inside.


def test_a_command_that_forges_its_own_end_is_in_the_background_then(box: Sandbox) -> None:
    forged = box.run("echo 7 >&205; while :; do sleep 1020; done")
    assert (forged.exit_code, forged.timed_out) == (7, False)
    assert text(box.run("echo next")) == "next\n"
    time.sleep(1.1)
    shell = box._container.shell
    (loop,) = [process for process in shell.background() if process.command != "sleep 1020"]
    assert loop.number == forged.number
    assert shell.stop(loop.pid)
    assert shell.background() == ()


def _waiting(box: Sandbox) -> list[int]:
    """Return the numbers of the shells that wait for their commands."""
    return [int(number) for number in box.run("pgrep -f 'proc/self/fd/204' | grep -v $$").output.split()]


# Limits.


@pytest.mark.parametrize("bomb", ["b() { b | b & }; b; sleep 0.3", "b() { b | b; }; b"])
def test_a_fork_bomb_ends_and_the_next_command_runs(box: Sandbox, bomb: str) -> None:
    box.run(bomb, timeout_s=2)
    result = box.run("/bin/echo alive", timeout_s=20)
    assert text(result) == "alive\n"


def test_too_many_background_processes_are_ended_and_told(box: Sandbox) -> None:
    box.run(f"for i in $(seq {LIMITS.pids - 8}); do sleep 100 & done 2>/dev/null")
    result = box.run("/bin/echo alive")
    assert text(result) == "alive\n"
    assert any("limit of 128" in note for note in result.notes)


def test_memory_that_runs_out_ends_the_command_only_and_is_told(box: Sandbox) -> None:
    result = box.run("python3 -c 'bytearray(1 << 30)'; exit $?")
    assert result.exit_code == 137
    assert any("memory ran out" in note for note in result.notes)
    assert text(box.run("echo alive")) == "alive\n"


def test_a_full_disk_inside_doesnt_stop_the_channel(box: Sandbox) -> None:
    for folder in ("/tmp", "/dev/shm", "/run"):  # noqa: S108  # Paths inside.
        box.run(f"head -c 1000000000 /dev/zero >{folder}/full", timeout_s=20)
    assert text(box.run("X=kept; echo alive")) == "alive\n"
    assert text(box.run("echo $X; rm /tmp/full /dev/shm/full /run/full")) == "kept\n"


def test_a_full_workspace_doesnt_stop_the_channel(box: Sandbox) -> None:
    full = box.run("X=kept; head -c 1200000000 /dev/zero >full")
    assert "No space left" in text(full)
    before = text(box.run("ls -A .dreamdock/output"))
    result = box.run("seq 100000")
    assert (result.output.endswith(b"\n100000\n"), result.whole) == (True, "")
    with pytest.raises(FileProblem, match="no space is left"):
        box.write("more", b"x" * 100_000)
    assert text(box.run("echo $X; rm full; ls -A .dreamdock/output")) == f"kept\n{before}"


def test_a_full_disk_of_the_host_doesnt_stop_the_channel(small_disk: SmallDisk) -> None:
    with opened(base_image(), small_disk("24m")) as box:
        box.run("X=kept; head -c 100000000 /dev/zero >full; sync")
        os.sync()  # The host's disk is written to some seconds later by itself.
        assert text(box.run("echo $X")) == "kept\n"
        assert text(box.run("seq 100000")).endswith("\n100000\n")
        with pytest.raises(DiskFull):
            box.checkpoint(note="1")


def test_signals_to_everything_leave_a_session(box: Sandbox) -> None:
    box.run("cd /tmp; KEPT=1")
    for command in ("kill -9 -1", "kill -STOP 1; kill -INT 1; kill -9 1", "for i in {1..500}; do kill -CHLD 1; done"):
        box.run(command)
    assert text(box.run("echo $KEPT $PWD")) == "1 /tmp\n"


# Files.


def test_files_are_written_with_their_directories_and_keep_their_mode(box: Sandbox) -> None:
    box.write("new/deep/file", b"one")
    box.run("chmod 751 new/deep/file; ln -s deep/file new/link")
    box.write("new/link", b"two")
    assert box.read("new/deep/file", limit=3) == b"two"
    assert (
        text(box.run("stat -c '%a %u' new/deep/file; readlink new/link; ls -A new/deep"))
        == "751 61357\ndeep/file\nfile\n"
    )


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing", "doesn't exist"),
        ("/workspace", "is a directory"),
        ("pipe", "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        ("large", "is too large"),
        ("/etc/shadow", "can't be opened"),
        ("/proc/1/fd/0", "is not a regular file"),
        ("loop", "failed"),
    ],
)
def test_what_cant_be_read_says_why(box: Sandbox, path: str, words: str) -> None:
    box.run("cd /workspace; mkfifo pipe; head -c 2000 /dev/zero >large; ln -s loop loop")
    with pytest.raises(FileProblem, match=words):
        box.read(path, limit=1000)


@pytest.mark.parametrize("path", ["/etc/new", "/workspace", "pipe", "", "nul\0byte"])
def test_what_cant_be_written_says_so_and_leaves_nothing(box: Sandbox, path: str) -> None:
    box.run("cd /workspace; test -e pipe || mkfifo pipe")
    with pytest.raises(FileProblem):
        box.write(path, b"x")
    assert text(box.run("find /workspace /etc -name '.dreamdock-*' -newer /proc/1 2>/dev/null")) == ""


def test_odd_names_and_odd_text_pass_through(box: Sandbox) -> None:
    name = "a\nb\x1b[31m\udcff"
    box.write(name, b"x")
    assert box.read(name, limit=1) == b"x"
    result = box.run("mkdir $'\\e[31m\\xff' && cd $'\\e[31m\\xff'")
    assert "\x1b" not in result.cwd
    assert result.cwd.isprintable()
    with pytest.raises(ValueError, match="NUL"):
        box.run("echo \0")


SPAWNING = """
import subprocess, threading
def go():
    while True: subprocess.run(["/bin/true"])
for _ in range(4): threading.Thread(target=go).start()
"""
STUCK = """
import os
os.mkfifo("/tmp/fifo")
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/tmp/fifo", os.O_RDONLY, 0)])
"""


def test_holding_waits_for_those_that_are_just_starting_a_program(box: Sandbox) -> None:
    box.write("spawning.py", SPAWNING.encode())
    box.run("python3 spawning.py >/dev/null 2>&1 &")
    for _ in range(30):
        box.checkpoint(note="held")
    assert "python3 spawning.py" in names(box)


def test_a_process_that_cant_be_stopped_is_ended(box: Sandbox) -> None:
    box.write("stuck.py", STUCK.encode())
    box.run("python3 stuck.py >/dev/null 2>&1 & sleep 0.5")
    assert names(box).count("python3 stuck.py") == 2, "it, and its child on the way to be another program"
    box.checkpoint(note="held")
    assert names(box).count("python3 stuck.py") == 1
    assert text(box.run("echo on")) == "on\n"


def test_what_turned_into_a_daemon_between_two_commands_survives_the_time_out_of_the_second(box: Sandbox) -> None:
    box.run("sh -c 'sleep 0.3; (setsid sleep 1000 &)' >/dev/null 2>&1 &")
    time.sleep(0.8)
    assert box.run("sleep 5", timeout_s=0.5).timed_out
    assert "sleep 1000" in names(box)
