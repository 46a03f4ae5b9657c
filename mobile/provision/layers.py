"""Layers: folders of files, packed once on the host, the same bytes everywhere, named by their content."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobile.deadline import Deadline
from mobile.errors import SetupError
from mobile.formats.atomic import write_atomically
from mobile.provision.cache import cache_folder, locked

MARK = ".edgewise-layer"  # the last file of an archive: where it is, all of it is
_BLOCK_BYTES = 1 << 20
_DISK_BLOCK_BYTES = 4096  # what the file systems of boards give a file at least
_GZIP_LEVEL = 6  # of 135 MB: 47 MB in 5 to 8 s; xz makes 32 MB in 96 s, and not every device has it


@dataclass(frozen=True)
class Layer:
    """A packed folder. ``address``: SHA-256 of the unpacked tar; ``unpacked_bytes``: what it takes on a disk."""

    name: str
    address: str
    archive_bytes: int
    unpacked_bytes: int
    contents: Mapping[str, str]  # package -> version

    @property
    def archive(self) -> Path:
        """The .tar.gz in the cache."""
        return _folder() / f"{self.address}.tar.gz"

    def to_json(self) -> dict[str, Any]:
        """The layer as `edgewise setup --json` shows it."""
        return asdict(self)


Build = Callable[[Path], Mapping[str, str]]  # fills an empty folder, answers package -> version


def layer(name: str, key: Mapping[str, Any], build: Build, deadline: Deadline, *, renew: bool = False) -> Layer:
    """The layer of this key: from the cache, else built. ``key`` holds all that decides what is in it."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    index = _folder() / f"{digest}.json"
    with locked(_folder() / f"{digest}.lock", deadline):
        cached = None if renew else _read(index)
        if cached is not None:
            return cached
        with tempfile.TemporaryDirectory(dir=_folder(), prefix=".build-") as made:
            tree = Path(made) / "tree"
            tree.mkdir()
            contents = build(tree)
            packed = pack(name, tree, contents)
        write_atomically(index, json.dumps(packed.to_json(), indent=2, sort_keys=True).encode())
        return packed


def cached(key: Mapping[str, Any]) -> Layer | None:
    """The layer of this key when it is in the cache, whole."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return _read(_folder() / f"{digest}.json")


def pack(name: str, tree: Path, contents: Mapping[str, str]) -> Layer:
    """The layer of a folder's files, its archive in the cache. Owners, times and order are fixed; links are refused."""
    digest, unpacked_bytes = hashlib.sha256(), 0
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        with part.open("wb") as raw, gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as packed:
            both = _Both(packed.write, digest)
            # GNU's format: busybox and toybox read its long names, and not all of PAX.
            with tarfile.open(fileobj=both, mode="w|", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
                for path in _files(tree):
                    unpacked_bytes += _add(tar, tree, path)
                mark = json.dumps({"name": name, "contents": dict(contents)}, sort_keys=True).encode()
                info = _info(MARK, len(mark), executable=False)
                tar.addfile(info, io.BytesIO(mark))
        address = digest.hexdigest()
        made = Layer(name, address, part.stat().st_size, unpacked_bytes, dict(contents))
        part.replace(made.archive)
    finally:
        part.unlink(missing_ok=True)
    return made


def _folder() -> Path:
    folder = cache_folder() / "layers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(index: Path) -> Layer | None:
    try:
        found = Layer(**json.loads(index.read_bytes()))
        return found if found.archive.stat().st_size == found.archive_bytes else None
    except (OSError, ValueError, TypeError):  # absent, damaged, or of another version: it is built again
        return None


def _files(tree: Path) -> Iterator[Path]:
    for path in sorted(tree.rglob("*"), key=lambda path: path.relative_to(tree).as_posix()):
        if path.is_symlink():
            raise SetupError(f"{path}: a link in a layer; not every device's file system has them")
        if path.is_file():
            yield path


def _add(tar: tarfile.TarFile, tree: Path, path: Path) -> int:
    size_bytes = path.stat().st_size
    info = _info(path.relative_to(tree).as_posix(), size_bytes, executable=os.access(path, os.X_OK))
    with path.open("rb") as stream:
        tar.addfile(info, stream)
    return -(-size_bytes // _DISK_BLOCK_BYTES) * _DISK_BLOCK_BYTES


def _info(name: str, size_bytes: int, *, executable: bool) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o755 if executable else 0o644
    return info


class _Both:
    """A file for writing that hashes what it passes on."""

    def __init__(self, write: Callable[[bytes], int], digest: Any) -> None:
        self._write = write
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return self._write(data)


def copy_file(source: Path, target: Path) -> None:
    """Nothing; the file, with its permissions, is at ``target``, whose folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
