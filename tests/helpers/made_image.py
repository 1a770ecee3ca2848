"""Images made by hand, byte by byte: as small, as foreign and as broken as a test wants them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sandbox import engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def made_image(name: str, files: Mapping[str, bytes], *, architecture: str) -> Iterator[str]:
    """Yield the name of an image with these executable files; it's gone after the block."""
    layer = packed(files, mode=0o755)
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    config = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    parts = {"layer.tar": layer, "config.json": json.dumps(config).encode()}
    with contextlib.closing(engine.client()) as client:
        said = list(client.api.load_image(packed(parts | {"manifest.json": json.dumps(manifest).encode()})))
        assert "error" not in str(said), said
        try:
            yield name
        finally:
            client.api.remove_image(name)


def packed(files: Mapping[str, bytes], *, mode: int = 0o644) -> bytes:
    """Return a tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            item = tarfile.TarInfo(name)
            item.size, item.mode = len(data), mode
            tar.addfile(item, io.BytesIO(data))
    return buffer.getvalue()
