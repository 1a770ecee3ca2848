"""Random edits of a directory, and its tree as git itself sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

NAMES = ["a", "b", "c", "d.txt", "e\n\x1b[31m", os.fsdecode(b"\xff\xfe"), "Case", "case", " sp ace ", "x.log"]


def is_file(path: Path) -> bool:
    """Whether this is a regular file itself."""
    return path.is_file() and not path.is_symlink()


def is_folder(path: Path) -> bool:
    """Whether this is a directory itself."""
    return path.is_dir() and not path.is_symlink()


def is_free(path: Path) -> bool:
    """Whether nothing has this name."""
    return not os.path.lexists(path)


def remove(path: Path) -> None:
    """Remove a file or a whole directory."""
    if is_folder(path):
        shutil.rmtree(path)
    elif not is_free(path):
        path.unlink()


def write(rng: random.Random, _: Path, new: Path) -> None:
    """Make a new file."""
    if is_free(new):
        new.write_bytes(rng.randbytes(rng.randrange(40)))


def modify(_: random.Random, old: Path, __: Path) -> None:
    """Append to a file."""
    if is_file(old):
        with old.open("ab") as file:
            file.write(b"more\n")


def delete(_: random.Random, old: Path, __: Path) -> None:
    """Remove something."""
    remove(old)


def mkdir(_: random.Random, __: Path, new: Path) -> None:
    """Make a directory."""
    if is_free(new):
        new.mkdir()


def rename(_: random.Random, old: Path, new: Path) -> None:
    """Rename something, over what has the name."""
    if not is_free(old) and not new.is_relative_to(old):
        remove(new)
        if not is_free(old):  # It may have lain below what was just removed.
            old.rename(new)


def chmod(rng: random.Random, old: Path, _: Path) -> None:
    """Change a mode."""
    if is_file(old):
        old.chmod(rng.choice([0o644, 0o755, 0o600, 0o700]))
    elif is_folder(old):
        old.chmod(rng.choice([0o755, 0o700]))


def link(rng: random.Random, _: Path, new: Path) -> None:
    """Make a symbolic link."""
    if is_free(new):
        new.symlink_to(rng.choice(["/etc/passwd", "..", "nowhere", NAMES[5]]))


def swap(_: random.Random, old: Path, __: Path) -> None:
    """Put a file in the place of a directory, or the other way round."""
    if is_folder(old):
        remove(old)
        old.write_bytes(b"was a directory\n")
    elif not is_free(old):
        remove(old)
        old.mkdir()
        (old / "inner").write_bytes(b"was a file\n")


def hard_link(_: random.Random, old: Path, new: Path) -> None:
    """Give a file another name."""
    if is_file(old) and is_free(new):
        new.hardlink_to(old)


EDITS: list[Callable[[random.Random, Path, Path], None]] = [
    *(write, write, modify, delete, mkdir, rename, rename, chmod, link, swap, hard_link)
]


def edit(rng: random.Random, top: Path, names: Sequence[str] = NAMES) -> None:
    """Do one random thing to a random path, or nothing where it makes no sense; new ones get one of `names`."""
    reserved = [top / ".git", top / ".dreamdock"]
    paths = sorted(path for path in top.rglob("*") if not any(path.is_relative_to(name) for name in reserved))
    new = rng.choice([top, *filter(is_folder, paths)]) / rng.choice(names)
    rng.choice(EDITS)(rng, rng.choice([new, *paths]), new)


def full_walk(top: Path, scratch: Path) -> str:
    """Return the tree of a directory as git itself sees it, walking all of it into an empty index."""
    env = {"PATH": os.environ["PATH"], "GIT_DIR": str(scratch), "GIT_WORK_TREE": str(top)}
    env |= {"GIT_INDEX_FILE": str(scratch / "full-index"), "GIT_CONFIG_GLOBAL": "/dev/null"}
    (scratch / "full-index").unlink(missing_ok=True)
    subprocess.run(["git", "init", "-q", "--bare", str(scratch)], check=True, env={"PATH": os.environ["PATH"]})
    (scratch / "info/attributes").write_text("* -text -ident -filter\n")
    subprocess.run(["git", "add", "-A", "-f", "--", ".", ":(exclude,top).dreamdock"], check=True, env=env, cwd=top)
    done = subprocess.run(["git", "write-tree"], check=True, env=env, cwd=top, capture_output=True, text=True)
    return done.stdout.strip()
