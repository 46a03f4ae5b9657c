"""Debian packages for a device, fetched on the host: no root, no change to the host's own packages.

apt-get fetches and checks signatures, in folders of its own; the packages are unpacked here, and none of their scripts
is run.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mobile.deadline import Deadline
from mobile.errors import SetupError
from mobile.provision.cache import ToolFailed, cache_folder, locked, tool

SUITE = "bookworm"
PYTHON = "3.11"  # bookworm's
GLIBC = (2, 36)  # bookworm's
ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}
TRIPLES = {"aarch64": "aarch64-linux-gnu", "x86_64": "x86_64-linux-gnu"}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LISTS_AGE_S = 7 * 24 * 3600.0
_LIMIT_BYTES = 256 * 1024 * 1024


def fetch(machine: str, packages: Sequence[str], deadline: Deadline) -> dict[str, Path]:
    """The .deb files of these packages for a machine ("aarch64"), by package, from the cache where they are there."""
    folder = cache_folder() / "debian" / f"{SUITE}-{ARCHITECTURES[machine]}"
    with locked(folder / "lock", deadline):
        options = _prepare(folder, machine)
        stamp = folder / "updated"
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > _LISTS_AGE_S:
            _update(options, stamp, deadline)
        try:
            _download(options, packages, folder, deadline)
        except ToolFailed:  # the lists are older than a release of the archive
            _update(options, stamp, deadline)
            _download(options, packages, folder, deadline)
        return {package: _newest(folder / "archives", package) for package in packages}


def _prepare(folder: Path, machine: str) -> list[str]:
    """apt's options that keep all of it in the folder."""
    if shutil.which("apt-get") is None:
        raise SetupError(
            "this needs Debian packages, and this host has no apt-get",
            hint=f"set the device up from a Debian or Ubuntu machine, or copy {cache_folder()} from one",
        )
    if not _KEYRING.exists():
        raise SetupError(
            f"this needs Debian packages, and {_KEYRING} is not there to check them by",
            hint="sudo apt-get install debian-archive-keyring",
        )
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_archive()} {SUITE} main\n")
    arch = ARCHITECTURES[machine]
    settings = {
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": "-",
        "APT::Architecture": arch,
        "APT::Architectures::": arch,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _archive() -> str:
    """The address that this host's own apt has for Debian, whatever its release; $EDGEWISE_DEBIAN before it."""
    named = os.environ.get("EDGEWISE_DEBIAN")
    if named:
        return named
    for wanted in ([f"Codename: {SUITE}"], []):
        filters = ["Created-By: Packages", "Origin: Debian", *wanted]
        asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *filters]
        with contextlib.suppress(SetupError):
            if found := tool(asked, Deadline(20)).split():
                return found[0]
    raise SetupError(
        "this needs Debian packages, and this host's apt names no Debian archive",
        hint="set EDGEWISE_DEBIAN to the address of one (apt checks its signatures)",
    )


def _update(options: list[str], stamp: Path, deadline: Deadline) -> None:
    try:
        tool(["apt-get", *options, "update"], deadline)
    except ToolFailed as error:
        raise SetupError(
            f"the lists of Debian's packages cannot be fetched: {error.message}",
            hint="this step needs the Debian archive once; what is in the cache needs it no more",
        ) from error
    stamp.touch()


def _download(options: list[str], packages: Sequence[str], folder: Path, deadline: Deadline) -> None:
    # It verifies what is there already and fetches only what is not.
    tool(["apt-get", *options, "download", *packages], deadline, cwd=folder / "archives")


def _newest(folder: Path, package: str) -> Path:
    found = sorted(folder.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SetupError(f"apt-get fetched no {package}")
    return found[-1]


def version(deb: Path) -> str:
    """The version in a package's file name: "3.11.2-6+deb12u8"."""
    return deb.name.split("_")[1].replace("%3a", ":")


def unpack(debs: Mapping[str, Path], target: Path) -> None:
    """Nothing; the packages' files are under ``target``, links as copies of what they lead to, nothing executed."""
    links: list[tuple[str, str]] = []
    for deb in debs.values():
        with tarfile.open(fileobj=io.BytesIO(_data(deb))) as tar:
            for member in tar:
                name = _inside(member.name)
                if name is None:
                    continue
                if member.issym():
                    links.append((name, _resolved(name, member.linkname)))
                elif member.isfile():
                    _write(tar, member, target / name)
    _follow(links, target)


def _follow(links: list[tuple[str, str]], target: Path) -> None:
    """Replaces links by copies; those to links first need the others. What leads out of the packages is left out."""
    waiting = links
    while waiting:
        later = []
        for name, points_to in waiting:
            source = target / points_to
            if source.is_file():
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, path)
                shutil.copymode(source, path)
            else:
                later.append((name, points_to))
        if len(later) == len(waiting):
            return
        waiting = later


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    stream = tar.extractfile(member)
    if stream is None or member.size > _LIMIT_BYTES:
        raise SetupError(f"{member.name}: not a file of a Debian package that can be used")
    path.parent.mkdir(parents=True, exist_ok=True)
    with stream, path.open("wb") as target:
        shutil.copyfileobj(stream, target)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _inside(name: str) -> str | None:
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/"):
        raise SetupError(f"{name!r}: a Debian package with a file outside its root")
    return "/".join(part for part in parts if part != ".") or None


def _resolved(name: str, link: str) -> str:
    """Where a link leads, as a path from the root."""
    parts = [] if link.startswith("/") else list(PurePosixPath(name).parts[:-1])
    for part in PurePosixPath(link.lstrip("/")).parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _data(deb: Path) -> bytes:
    for name, body in _members(deb.read_bytes(), deb):
        if name in ("data.tar.xz", "data.tar.gz", "data.tar"):
            return body
    raise SetupError(f"{deb}: no data.tar.xz in it")


def _members(data: bytes, deb: Path) -> Iterator[tuple[str, bytes]]:
    """The members of an ar archive: 60-byte headers, bodies padded to even length (ar(5))."""
    if data[:8] != b"!<arch>\n":
        raise SetupError(f"{deb}: not a Debian package")
    at = 8
    while at + 60 <= len(data):
        size_text = data[at + 48 : at + 58].strip()
        if not size_text.isdigit():
            raise SetupError(f"{deb}: a damaged Debian package")
        size = int(size_text)
        yield data[at : at + 16].decode("ascii", "replace").strip().rstrip("/"), data[at + 60 : at + 60 + size]
        at += 60 + size + (size & 1)
