from __future__ import annotations

import time

import pytest

from sandbox import manifests
from sandbox.manifests import MOST_PACKAGES, Package

HOSTILE = [
    b"",
    b"\x00" * 100,
    bytes(range(256)),
    b"[" * 100_000,
    b'{"name":' * 10_000,
    b"Name: \n\n",
    b"[[package]]\n" * 50_000,
]


def test_a_python_packages_metadata_names_it_and_its_installer() -> None:
    text = b"Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 6.1\nSummary: x\n\nName: not this\n"
    found = manifests.python(b".venv/lib", b"zope_interface-6.1.dist-info", text, b"uv\n")
    assert found == Package("uv", ".venv/lib", "Zope.Interface", "6.1")
    assert found.key == (".venv/lib", "zope-interface")


def test_without_metadata_the_folder_names_it() -> None:
    found = manifests.python(b"x", b"foo_bar-1.0+local.dist-info", b"", b"")
    assert found == Package("pip", "x", "foo_bar", "1.0+local")
    assert manifests.python(b"x", b"odd.dist-info", b"", b"") == Package("pip", "x", "odd.dist-info", "")


@pytest.mark.parametrize("installer", [b"", b"PIP; rm -rf /", b"\x1b[31m", b"a" * 30, b"pip\nuv"])
def test_an_installer_that_is_no_word_is_pip(installer: bytes) -> None:
    assert manifests.python(b"x", b"a-1.dist-info", b"", installer).manager == "pip"


def test_an_npm_package_is_named_by_its_package_json() -> None:
    found = manifests.npm(b"node_modules", b"@a/b", b'{"name": "@a/b", "version": "2.0.0-rc.1", "x": [1]}')
    assert found == Package("npm", "node_modules", "@a/b", "2.0.0-rc.1")
    assert manifests.npm(b"node_modules", b"b", b'{"version": "1"}') == Package("npm", "node_modules", "b", "1")
    for nothing in (b"{}", b"[]", b'"x"', b'{"version": 7}', b'{"name": "x"}', b"{"):
        assert manifests.npm(b"node_modules", b"b", nothing) is None


def test_a_cargo_lock_and_a_go_sum_name_what_they_lock() -> None:
    lock = (
        b'version = 3\n\n[[package]]\nname = "libc"\nversion = "0.2.1"\nsource = "registry"\n\n'
        b'[[package]]\nname = "libc"\nversion = "0.3.0"\ndependencies = [\n "cfg-if",\n]\n'
    )
    assert [(one.name, one.version) for one in manifests.cargo(b"Cargo.lock", lock)] == [
        ("libc", "0.2.1"),
        ("libc", "0.3.0"),
    ]
    assert list(manifests.cargo(b"C", lock.replace(b"\n", b"\r\n"))) == list(manifests.cargo(b"C", lock))
    sums = b"example.org/a/b v1.2.3 h1:abc=\nexample.org/a/b v1.2.3/go.mod h1:def=\nexample.org/c v0.1.0/go.mod h1:x=\n"
    assert list(manifests.go(b"go.sum", sums)) == [Package("go", "go.sum", "example.org/a/b", "v1.2.3")]


def test_a_dpkg_status_names_what_is_installed() -> None:
    status = (
        b"Package: less\nStatus: install ok installed\nVersion: 590-2\nDescription: pager\n Package: not this\n\n"
        b"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: bare\n"
    )
    assert list(manifests.dpkg(b"var/lib/dpkg/status", status)) == [
        Package("dpkg", "var/lib/dpkg/status", "less", "590-2")
    ]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_the_files_hold_is_read_quickly_and_made_harmless(data: bytes) -> None:
    began = time.process_time()
    found = [*manifests.cargo(data, data), *manifests.go(data, data), *manifests.dpkg(data, data)]
    found += [one for one in (manifests.npm(data, data, data), manifests.python(data, data, data, data)) if one]
    assert time.process_time() - began < 1
    assert all(text.isprintable() for one in found for text in one)


def test_names_that_are_control_characters_or_endless_are_bounded() -> None:
    (found,) = manifests.cargo(b"p\x1b", b'[[package]]\nname = "a\x1b[2Jb"\nversion = "\xff1"\n')
    assert found == Package("cargo", "p\\x1b", "a\\x1b[2Jb", "\\xff1")
    endless = manifests.npm(b"n", b"x", b'{"name": "%s", "version": "%s"}' % (b"a" * 100_000, b"1" * 100_000))
    assert endless is not None
    assert (len(endless.name), len(endless.version)) == (200, 200)
    many = b'[[package]]\nname = "a"\nversion = "1"\n' * (MOST_PACKAGES + 10)
    assert len(list(manifests.cargo(b"C", many))) == MOST_PACKAGES
