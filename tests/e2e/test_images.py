"""Runs in the images of the families: what a language needs is there, and the run repairs and proves with it."""

from __future__ import annotations

import base64
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from kit import SUBMIT
from package_index import wheel

from benchmarks.stack import own_stack
from orchestrator.runs import Outcome
from sandbox import engine
from sandbox.images import base_image, facts, image_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]

C = {
    "clamp.c": "int clamp(int value, int most) { return value < most ? most : value; }\n",
    "test.c": "#include <assert.h>\nint clamp(int, int);\nint main(void) { assert(clamp(7, 5) == 5); }\n",
    "CMakeLists.txt": "cmake_minimum_required(VERSION 3.10)\nproject(clamp C)\nenable_testing()\n"
    "add_executable(check test.c clamp.c)\nadd_test(NAME check COMMAND check)\n",
    ".gitignore": "build/\n",
}
NODE = {
    "clamp.mjs": "export const clamp = (value, most) => (value < most ? most : value);\n",
    "clamp.test.mjs": "import test from 'node:test';\nimport assert from 'node:assert';\n"
    "import { clamp } from './clamp.mjs';\ntest('it clamps', () => assert.equal(clamp(7, 5), 5));\n",
}


@pytest.fixture
def new_repo(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    def make(files: dict[str, str]) -> Path:
        repo = tmp_path / "repo"
        repo.mkdir(exist_ok=True)
        for name, text in files.items():
            (repo / name).write_text(text)
        for arguments in (
            ("init", "-q"),
            ("add", "-A"),
            ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "all"),
        ):
            subprocess.run(["git", "-C", repo, *arguments], check=True)
        return repo

    return make


def results(stack: Stack, run_id: str) -> list[str]:
    return [event.body.result.content for event in stack.door.events(run_id) if event.body.type == "call_finished"]


@pytest.mark.parametrize(
    ("family", "files", "path", "accept"),
    [
        ("c", C, "clamp.c", "cmake -S . -B build && make -C build && ctest --test-dir build"),
        ("node", NODE, "clamp.mjs", "node --test"),
    ],
)
def test_a_project_is_mended_and_proven_with_its_languages_tools(
    stack: Stack,
    new_repo: Callable[[dict[str, str]], Path],
    script: Callable[..., Path],
    family: str,
    files: dict[str, str],
    path: str,
    accept: str,
) -> None:
    built = stack("images", "build", family)
    assert (built.returncode, built.stdout.strip()) == (0, image_name(family)), built.stderr
    repo = new_repo(files)
    edit: Any = ("edit", {"path": path, "old": "value < most", "new": "value > most"})
    run_id = stack.detached(script(accept, edit, accept, SUBMIT), repo, "--image", family, "--accept", accept)
    done = stack("wait", run_id)
    assert done.returncode == 0, stack("logs", run_id).stdout
    failing, _, passing, *_ = results(stack, run_id)
    assert "[exit code 0" not in failing
    assert "[exit code 0" in passing
    view = stack.door.show(run_id).view
    assert (view.outcome, view.spec.image) == (Outcome.SUCCEEDED, image_name(family))
    assert f"+++ b/{path}" in stack("diff", run_id).stdout


def test_a_package_is_installed_by_the_set_up_into_a_venv(
    stack: Stack, new_repo: Callable[[dict[str, str]], Path], script: Callable[..., Path], tmp_path: Path
) -> None:
    assert stack("images", "build", "python").returncode == 0
    (tmp_path / "repo").mkdir()
    package = wheel(tmp_path / "repo", "shouting", "1.0", "def shout(word):\n    return word.upper()\n")
    repo = new_repo({"use.py": "import shouting\n\nassert shouting.shout('a') == 'A'\n", ".gitignore": ".venv/\n"})
    set_up = f"python3 -m venv .venv && .venv/bin/pip install --no-index ./{package.name}"
    flags = ("--image", "python", "--setup", set_up, "--accept", ".venv/bin/python use.py")
    newer = wheel(repo, "shouting", "1.1", "def shout(word):\n    return word.upper()\n")
    again = f"base64 -d >/tmp/{newer.name} <<E\n{base64.b64encode(newer.read_bytes()).decode()}\nE\n"
    upgrade = f"{again}.venv/bin/pip install --no-index --upgrade /tmp/{newer.name}"
    run_id = stack.detached(script(".venv/bin/pip list", upgrade, SUBMIT), repo, *flags)
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    assert "shouting" in results(stack, run_id)[0]
    assert stack.door.diff(run_id) == b""
    audit = stack("audit", run_id).stdout
    assert "pip shouting 1.0 added (.venv/lib/python3.11/site-packages)" in audit
    assert "pip shouting 1.1 changed from 1.0 (.venv/lib/python3.11/site-packages)" in audit
    assert "~ pip shouting 1.0 → 1.1" in stack("logs", run_id).stdout


def test_an_image_of_ours_that_is_not_built_is_refused_at_once(stack: Stack, repo: Path) -> None:
    done = stack("run", "x", "--repo", str(repo), "--image", "dreamdock/c:older")
    assert done.returncode == 4
    assert "try:   dreamdock images build c" in done.stderr


@pytest.fixture
def dockerfile(new_repo: Callable[[dict[str, str]], Path]) -> Path:
    text = f"FROM {base_image()}\nCOPY . /committed\nRUN echo made-by-the-repository >/marker\n"
    repo = new_repo({"Dockerfile": text, "code.py": "", "dreamdock.toml": 'accept = "test -f /committed/code.py"\n'})
    (repo / "not-committed").write_text("")
    return repo


def test_the_repositorys_own_dockerfile_is_refused_where_the_operator_does_not_allow_it(
    stack: Stack, dockerfile: Path, script: Callable[..., Path]
) -> None:
    run_id = stack.detached(script(SUBMIT), dockerfile, "--build", "Dockerfile")
    assert stack("wait", run_id).returncode == 1
    view = stack.door.show(run_id).view
    assert (view.outcome, view.step) == (Outcome.ERROR, 0)
    assert "allow_weaker_repo_build is off on this worker" in view.reason
    assert facts(view.spec.image) is None


def test_it_is_built_from_the_commit_where_the_operator_allows_it(
    dockerfile: Path, script: Callable[..., Path]
) -> None:
    with own_stack({"DREAMDOCK_ALLOW_WEAKER_REPO_BUILD": "true"}) as allowing:
        run_id = allowing.detached(script("cat /marker; ls /committed", SUBMIT), dockerfile, "--build", "Dockerfile")
        done = allowing("wait", run_id)
        view = allowing.door.show(run_id).view
        told = results(allowing, run_id)
        (built,) = [event.body for event in allowing.door.events(run_id) if event.body.type == "built"]
        again = allowing.detached(script(SUBMIT), dockerfile, "--build", "Dockerfile")
        allowing("wait", again)
        logs, audit = allowing("logs", again).stdout, allowing("audit", run_id).stdout
        ready = [event.body for event in allowing.door.events(run_id) if event.body.type == "sandbox_ready"]
    engine.client().api.remove_image(view.spec.image)
    assert done.returncode == 0, view.reason
    assert view.outcome is Outcome.SUCCEEDED
    assert told[0].startswith("made-by-the-repository\nDockerfile\ncode.py\ndreamdock.toml\n")
    assert {body.image for body in ready} == {view.spec.image}
    assert (built.dockerfile, built.image, built.cached, built.failed) == ("Dockerfile", view.spec.image, False, "")
    assert "/marker" in built.log
    assert built.seconds > 0
    assert f"✓ built earlier · {view.spec.image} from Dockerfile" in logs
    assert f"{view.spec.image} from Dockerfile (built now)" in audit


def test_a_build_that_fails_ends_the_run_and_is_told_with_its_log(
    new_repo: Callable[[dict[str, str]], Path], script: Callable[..., Path]
) -> None:
    repo = new_repo({"Dockerfile": "FROM scratch\nCOPY missing /\n"})
    with own_stack({"DREAMDOCK_ALLOW_WEAKER_REPO_BUILD": "true"}) as allowing:
        run_id = allowing.detached(script(SUBMIT), repo, "--build", "Dockerfile")
        assert allowing("wait", run_id).returncode == 1
        (built,) = [event.body for event in allowing.door.events(run_id) if event.body.type == "built"]
        logs, view = allowing("logs", run_id).stdout, allowing.door.show(run_id).view
    assert "missing" in built.failed
    assert "COPY missing" in built.log
    assert "✗ failed" in logs
    assert (view.outcome, view.step) == (Outcome.ERROR, 0)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--build", "missing/Dockerfile"), 3, "no Dockerfile missing/Dockerfile"),
        (("--build", "Dockerfile", "--image", "c"), 2, "two images"),
    ],
)
def test_a_build_that_can_not_be_meant_is_refused_at_once(
    stack: Stack, dockerfile: Path, flags: tuple[str, ...], code: int, words: str
) -> None:
    done = stack("run", "x", "--repo", str(dockerfile), *flags)
    assert done.returncode == code
    assert words in done.stderr


def test_a_repositorys_file_can_not_ask_for_a_build(stack: Stack, new_repo: Callable[[dict[str, str]], Path]) -> None:
    repo = new_repo({"Dockerfile": "FROM scratch\n", "dreamdock.toml": 'build = "Dockerfile"\n'})
    done = stack("run", "x", "--repo", str(repo))
    assert done.returncode == 4
    assert "build" in done.stderr
