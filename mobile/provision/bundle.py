"""What is built of Debian packages: a whole CPython for devices without one, and C++ libraries for those without them.

The interpreter brings its loader and its C library, so it runs where there is none in place: on Android, on musl, on a
system too old. Libraries of wheels are never stripped: that breaks them ("ELF load command not page-aligned").
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mobile.deadline import Deadline
from mobile.errors import SetupError
from mobile.provision import debian, elf
from mobile.provision.layers import Layer, copy_file, layer

LOADERS = {"aarch64": "ld-linux-aarch64.so.1", "x86_64": "ld-linux-x86-64.so.2"}
SHELLS = {"linux": "/bin/sh", "android": "/system/bin/sh"}
_PYTHON_PACKAGES = (
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5"),
    *("libssl3", "libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal"),  # libssl3: for https
)
_LIBRARY_PACKAGES = ("libstdc++6", "libgcc-s1")
_ALWAYS = (  # what wheels need, and what a program opens by name
    *("libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"),
    *("libutil.so.1", "libresolv.so.2", "libnss_files.so.2", "libnss_dns.so.2"),
)
# Parts of the standard library that no runtime and no agent loads.
_DROPPED = re.compile(
    r"^(test|idlelib|tkinter|lib2to3|ensurepip|pydoc_data|turtledemo|venv|config-[^/]*)/|(^|/)(tests|__pycache__)/"
    r"|^lib-dynload/(_test|_xx|xx)[^/]*$|\.exe$|^turtle\.py$|^sitecustomize\.py$"
)
_WRAPPER = """#!{shell}
# Starts the CPython of this folder with its own loader and libraries; Python takes this file for its executable.
root=${{0%/bin/python3}}
PYTHONHOME=$root exec "$root/lib/{loader}" --argv0 "$0" --library-path "$root/lib" "$root/bin/python{version}" "$@"
"""


def python_layer(machine: str, system: str, deadline: Deadline, *, renew: bool = False) -> Layer:
    """The layer with CPython for "aarch64" or "x86_64" and a "linux" or "android" shell; ``bin/python3`` starts it."""
    _check(machine)
    key = {"recipe": 5, "python": debian.PYTHON, "suite": debian.SUITE, "machine": machine, "system": system}
    return layer(
        f"python{debian.PYTHON}-{machine}-{system}",
        key,
        lambda tree: _build_python(tree, machine, system, deadline),
        deadline,
        renew=renew,
    )


def libraries_layer(machine: str, deadline: Deadline, *, renew: bool = False) -> Layer:
    """The layer with libstdc++ and libgcc_s, in ``lib/``, for devices with Debian's glibc or a newer one."""
    _check(machine)
    key = {"recipe": 1, "libraries": _LIBRARY_PACKAGES, "suite": debian.SUITE, "machine": machine}
    return layer(
        f"libstdc++-{machine}", key, lambda tree: _build_libraries(tree, machine, deadline), deadline, renew=renew
    )


def _check(machine: str) -> None:
    if machine not in LOADERS:
        raise SetupError(
            f"there is no self-contained runtime for {machine}, only for {' and '.join(LOADERS)}",
            hint="install Python 3.8 or newer on the device, and give wheels for it with --wheels DIR",
        )


def _build_python(tree: Path, machine: str, system: str, deadline: Deadline) -> dict[str, str]:
    debs = debian.fetch(machine, _PYTHON_PACKAGES, deadline)
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix="debian-") as made:
        root = Path(made)
        debian.unpack(debs, root)
        libraries = _by_name(root, machine)
        copy_file(root / "usr/bin" / f"python{debian.PYTHON}", tree / "bin" / f"python{debian.PYTHON}")
        _copy_standard_library(root / "usr/lib" / f"python{debian.PYTHON}", tree, libraries)
        start = (*_ALWAYS, LOADERS[machine])
        for name in _closure(tree, libraries, [name for name in start if name in libraries]):
            copy_file(libraries[name], tree / "lib" / name)
        _copy_licences(root, tree)
    (tree / "lib" / LOADERS[machine]).chmod(0o755)
    wrapper = tree / "bin" / "python3"
    wrapper.write_text(
        _WRAPPER.format(shell=SHELLS[system], loader=LOADERS[machine], version=debian.PYTHON), encoding="ascii"
    )
    wrapper.chmod(0o755)
    return {"python": debian.version(debs[f"python{debian.PYTHON}-minimal"]), "libc6": debian.version(debs["libc6"])}


def _build_libraries(tree: Path, machine: str, deadline: Deadline) -> dict[str, str]:
    debs = debian.fetch(machine, _LIBRARY_PACKAGES, deadline)
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix="debian-") as made:
        root = Path(made)
        debian.unpack(debs, root)
        libraries = _by_name(root, machine)
        for name in ("libstdc++.so.6", "libgcc_s.so.1"):
            asked = elf.glibc_needed(libraries[name])
            if asked is not None and asked > debian.GLIBC:
                raise SetupError(f"{name} needs glibc {asked[0]}.{asked[1]}, newer than its own system's")
            copy_file(libraries[name], tree / "lib" / name)
        _copy_licences(root, tree)
    return {"libstdc++": debian.version(debs["libstdc++6"])}


def _copy_standard_library(source: Path, tree: Path, libraries: Mapping[str, Path]) -> None:
    """The standard library without its tests, tools and the modules whose libraries are not in the bundle."""
    target = tree / "lib" / f"python{debian.PYTHON}"
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if not path.is_file() or _DROPPED.search(name):
            continue
        if path.suffix == ".so" and not set(elf.needed(path)) <= set(libraries):
            continue  # _curses, _sqlite3 and such
        copy_file(path, target / name)


def _by_name(root: Path, machine: str) -> dict[str, Path]:
    """The libraries of the unpacked packages by the name under which they are needed."""
    found = {}
    for folder in ("usr/lib", "lib"):
        for path in sorted((root / folder / debian.TRIPLES[machine]).glob("*.so*")):
            if path.is_file() and elf.is_elf(path):
                found[path.name] = path
    loader = root / "lib" / LOADERS[machine]
    for path in (loader, root / "lib64" / LOADERS[machine]):
        if path.is_file():
            found.setdefault(path.name, path)
    return found


def _closure(tree: Path, libraries: Mapping[str, Path], start: list[str]) -> list[str]:
    """All libraries that the tree's programs and modules need, and what those need. SetupError for one not there."""
    pending = [*start]
    for path in sorted(tree.rglob("*")):
        if path.is_file() and (path.suffix == ".so" or os.access(path, os.X_OK)) and elf.is_elf(path):
            pending += elf.needed(path)
    found: dict[str, None] = {}
    while pending:
        name = pending.pop()
        if name in found:
            continue
        if name not in libraries:
            raise SetupError(f"the bundle lacks {name}: its list of Debian packages is incomplete")
        found[name] = None
        pending += elf.needed(libraries[name])
    return sorted(found)


def _copy_licences(root: Path, tree: Path) -> None:
    """The packages' licences travel with them."""
    for path in sorted((root / "usr/share/doc").glob("*/copyright")):
        if path.is_file():
            copy_file(path, tree / "licences" / path.parent.name)
