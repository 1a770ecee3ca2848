"""The repository that the sandbox is measured on: `python -m benchmarks.bigrepo FOLDER [--files N]`.

80,000 files in 6,000 directories, 390 MB, one commit; the same bytes, and the same commit, wherever it's made.
`git fast-import` writes it as a bare repository, without a working tree.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox.cache import disk_bytes
from sandbox.spec import JOB_UID
from sandbox.store import Store
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES: Final = 80_000
DIRECTORIES: Final = 6_000
_FILES_PER_DIRECTORY: Final = FILES / DIRECTORIES
_WIDTH: Final = 18  # Directories in each: three levels hold 18 + 18² + 18³ = 6,174.
_BYTES: Final = 4_875  # Of a file on average; 80,000 make 390 MB.
_WHO: Final = b"bench <bench@dreamdock.invalid> 946684800 +0000"


def big_repo(folder: Path, *, files: int = FILES) -> Path:
    """Return the bare repository of `files` files below `folder`, made if it isn't there; needs git alone."""
    place = folder / f"big-{files}.git"
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            made = Path(name) / "r.git"
            _make(made, files)
            made.rename(place)
    return place


def paths(files: int = FILES) -> Iterator[str]:
    """Yield the path of each file, in order of its number."""
    directories = max(1, round(files / _FILES_PER_DIRECTORY))
    for number in range(files):
        place, parts = number % directories + 1, list[str]()
        while place > 0:
            place, last = divmod(place - 1, _WIDTH)
            parts.append(f"d{last:02}")
        yield "/".join([*reversed(parts), f"f{number:05}.txt"])


def content(number: int) -> bytes:
    """Return a file's content: lines of text that no two files share, 1 to 8.6 kB."""
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    size = 1_000 + int(digest[:4], 16) * 2 * (_BYTES - 1_000) // 0xFFFF
    lines = [f"{number} {line} {digest[line % 32 :]} the quick brown fox jumps over it\n" for line in range(32)]
    block = "".join(lines).encode()
    return (block * (size // len(block) + 1))[:size]


def _make(place: Path, files: int) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(place)], check=True)
    argv = ["git", "-c", "pack.compression=1", "--git-dir", str(place), "fast-import", "--quiet", "--depth=0"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        stream = process.stdin
        if stream is None:
            raise RuntimeError("git fast-import takes no input")
        stream.write(b"commit refs/heads/main\ncommitter %s\ndata 5\nbench\n" % _WHO)
        for number, path in enumerate(paths(files)):
            data = content(number)
            stream.write(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data))
    if process.returncode != 0:
        raise RuntimeError(f"git fast-import ended with {process.returncode}")


def main() -> int:
    """Make it, bring it into a store, check it out, and print the seconds of each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bigrepo", description=__doc__)
    parser.add_argument("folder", type=Path, help="where it is kept")
    parser.add_argument("--files", type=int, default=FILES)
    asked = parser.parse_args()
    began = time.perf_counter()
    repo = big_repo(asked.folder, files=asked.files)
    print(f"{repo}: {time.perf_counter() - began:.1f} s, {disk_bytes(repo) / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        store, root = Store(Path(name) / "store"), Path(name) / "workspaces"
        for again in ("import", "import again"):
            began = time.perf_counter()
            base = store.import_commit(repo)
            print(f"{again}: {time.perf_counter() - began:.2f} s")
        for again in ("workspace with its checkout", "workspace, checkout cached"):
            began = time.perf_counter()
            workspace = Workspace.create(store, base, root, name="bench", uid=JOB_UID)
            print(f"{again}: {time.perf_counter() - began:.3f} s")
            workspace.remove()
        print(f"checkout: {disk_bytes(workspace.pristine.tree) / 1e6:.0f} MB on disk")
    return 0


if __name__ == "__main__":
    sys.exit(main())
