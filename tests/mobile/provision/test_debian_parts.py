"""Debian packages and ELF files are read without Debian's tools, and bad ones end in an error."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.deadline import Deadline
from mobile.errors import SetupError
from mobile.provision import bundle, debian, elf
from tests.support.provision import make_deb

LIBC = next(iter(sorted(Path("/lib").glob("*-linux-gnu/libc.so.6"))), None)
needs_glibc = pytest.mark.skipif(LIBC is None, reason="this system has no glibc in a usual place")


def test_files_and_links_of_a_package(tmp_path):
    deb = make_deb(
        tmp_path / "x_1%3a2.0-1_arm64.deb",
        {"usr/bin/python3.11": b"program", "lib/libz.so.1.2": b"library", "usr/share/doc/x/copyright": b"free"},
        {"lib/libz.so.1": "libz.so.1.2", "lib/libz.so": "/lib/libz.so.1", "etc/gone": "/etc/nowhere",
         "usr/lib/up.so": "../../lib/libz.so.1"},
        executable=["usr/bin/python3.11"],
    )  # fmt: skip
    debian.unpack({"x": deb}, tmp_path / "root")
    root = tmp_path / "root"
    assert (root / "usr/bin/python3.11").stat().st_mode & 0o111
    for name in ("lib/libz.so.1.2", "lib/libz.so.1", "lib/libz.so", "usr/lib/up.so"):
        assert (root / name).read_bytes() == b"library"
        assert not (root / name).is_symlink()
    assert not (root / "etc/gone").exists()
    assert debian.version(deb) == "1:2.0-1"


@pytest.mark.parametrize("name", ["../../evil", "a/../../evil"])
def test_a_package_with_a_file_outside_its_root_is_refused(name, tmp_path):
    with pytest.raises(SetupError, match="outside its root"):
        debian.unpack({"x": make_deb(tmp_path / "x_1_arm64.deb", {name: b""})}, tmp_path / "root")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("data", [b"", b"!<arch>\n", b"PK\x03\x04", b"!<arch>\n" + b"x" * 60, b"!<arch>\n" + b"x" * 70])
def test_what_is_no_package_is_refused(data, tmp_path):
    path = tmp_path / "x_1_arm64.deb"
    path.write_bytes(data)
    with pytest.raises(SetupError, match=r"x_1_arm64\.deb"):
        debian.unpack({"x": path}, tmp_path / "root")


def test_without_apt_the_next_step_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="no apt-get") as caught:
        debian.fetch("aarch64", ["libc6"], Deadline(10))
    assert "Debian or Ubuntu" in caught.value.hint


def test_there_is_no_bundle_for_an_unusual_machine():
    with pytest.raises(SetupError, match="riscv64"):
        bundle.python_layer("riscv64", "linux", Deadline(1))


@needs_glibc
@pytest.mark.parametrize(("system", "shell"), [("linux", "/bin/sh"), ("android", "/system/bin/sh")])
def test_the_interpreter_of_a_bundle_finds_its_home_loader_and_libraries(tmp_path, monkeypatch, system, shell):
    """Its home must have lib/python3.11 below it; nothing of the device's own libraries is taken."""
    triple, loader = debian.TRIPLES["x86_64"], bundle.LOADERS["x86_64"]
    files = {
        "usr/bin/python3.11": b"interpreter", "usr/lib/python3.11/os.py": b"", "usr/lib/python3.11/test/big.py": b"",
        f"lib/{triple}/{loader}": LIBC.read_bytes(), f"usr/lib/{triple}/libstdc++.so.6": LIBC.read_bytes(),
        f"lib/{triple}/libc.so.6": LIBC.read_bytes(),
    }  # fmt: skip
    deb = make_deb(tmp_path / "any_1.0_amd64.deb", files, executable=["usr/bin/python3.11"])
    monkeypatch.setattr(debian, "fetch", lambda machine, packages, deadline: dict.fromkeys(packages, deb))
    monkeypatch.setattr(elf, "needed", lambda path: ["libc.so.6"])
    tree = tmp_path / "tree"
    tree.mkdir()
    bundle._build_python(tree, "x86_64", system, Deadline(60))
    assert (tree / "lib/python3.11/os.py").exists()
    assert not (tree / "lib/python3.11/test").exists()
    assert {path.name for path in (tree / "lib").iterdir() if path.is_file()} == {loader, "libstdc++.so.6", "libc.so.6"}
    assert os.access(tree / "lib" / loader, os.X_OK)
    wrapper = (tree / "bin/python3").read_text().splitlines()
    assert wrapper[0] == f"#!{shell}"
    assert wrapper[2] == "root=${0%/bin/python3}"
    assert "PYTHONHOME=$root" in wrapper[3]
    assert f"$root/lib/{loader}" in wrapper[3]
    assert '--library-path "$root/lib"' in wrapper[3]


@needs_glibc
def test_what_a_program_needs():
    assert any(name.startswith("libc.so") for name in elf.needed(Path(sys.executable).resolve()))
    assert elf.soname(LIBC) == "libc.so.6"
    assert elf.glibc_needed(Path(sys.executable).resolve()) >= (2, 2)
    assert not elf.is_elf(Path(__file__))


def test_what_is_no_elf_file_is_refused(tmp_path):
    path = tmp_path / "x.so"
    path.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(SetupError, match=r"x\.so: not a 64-bit"):
        elf.needed(path)


@needs_glibc
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_elf_file_is_read_or_refused(tmp_path_factory, data):
    whole = LIBC.read_bytes()[:20_000]
    body = bytearray(whole[: data.draw(st.integers(6, len(whole)))])
    for _ in range(data.draw(st.integers(0, 8))):
        body[data.draw(st.integers(6, min(1000, len(body)) - 1)) if len(body) > 7 else -1] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path_factory.mktemp("elf") / "x.so"
    path.write_bytes(bytes(body))
    try:
        elf.needed(path)
    except SetupError as error:
        assert "x.so" in error.message
