"""Files of this machine: a source read in blocks for any transport, and a target written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mobile.deadline import Deadline
from mobile.errors import NoSpaceOnDevice, RemoteFileError, TransportError, UsageError
from mobile.transports.base import Progress

BLOCK_BYTES = 1024 * 1024
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_ATTEMPTS = 5  # a parent folder may be removed between its making and its use, by a prune


@contextlib.contextmanager
def opened(source: Path | bytes) -> Iterator[tuple[BinaryIO, int]]:
    """The source as a stream, and its size in bytes. UsageError when it is no readable regular file."""
    if isinstance(source, bytes):
        yield io.BytesIO(source), len(source)
        return
    try:
        if not stat.S_ISREG(source.stat().st_mode):
            raise UsageError(f"{source} is not a file")
        stream = source.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}") from error
    with stream:
        yield stream, os.fstat(stream.fileno()).st_size


def blocks(
    stream: BinaryIO, size_bytes: int, what: str, deadline: Deadline, progress: Progress | None
) -> Iterator[bytes]:
    """The source's bytes in blocks of BLOCK_BYTES. Progress is told when a block has been taken.

    TransportError when the source does not have ``size_bytes`` any more (it was changed meanwhile); DeadlineExceeded.
    """
    done_bytes = 0
    if progress is not None:
        progress(0, size_bytes)
    while block := stream.read(BLOCK_BYTES):
        deadline.check(what)
        yield block
        done_bytes += len(block)
        if progress is not None:
            progress(done_bytes, size_bytes)
    if done_bytes != size_bytes:
        raise TransportError(f"{what}: the source had {size_bytes} bytes and now has {done_bytes}; try again")


def write_whole(
    source: Path | bytes, target: str, *, what: str, mode: int, deadline: Deadline, progress: Progress | None
) -> None:
    """Nothing, once ``target`` has the bytes of ``source``, on the disk. On any failure nothing of it is left."""
    deadline.check(what)
    with opened(source) as (stream, size_bytes):
        temporary, descriptor = _temporary_beside(target)
        try:
            _fill(descriptor, blocks(stream, size_bytes, what, deadline, progress), mode, target)
            with _mapped(target):
                os.replace(temporary, target)  # noqa: PTH105 - a device path is a str, odd bytes and all
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
    _sync_folder(os.path.dirname(target))  # noqa: PTH120


def read_into(source: str, target: BinaryIO, *, what: str, deadline: Deadline, progress: Progress | None) -> int:
    """The number of bytes copied. RemoteFileError when there is no such regular file."""
    deadline.check(what)
    with _mapped(source):
        # Not to be held up by a named pipe; regular files do not know the flag.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _copy_out(descriptor, source, target, what, deadline, progress)
    finally:
        os.close(descriptor)


def _copy_out(
    descriptor: int, source: str, target: BinaryIO, what: str, deadline: Deadline, progress: Progress | None
) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise RemoteFileError(f"{source!r} is not a file", source)
    done_bytes = 0
    while True:
        deadline.check(what)
        with _mapped(source):
            block = os.read(descriptor, BLOCK_BYTES)
        if not block:
            return done_bytes
        target.write(block)
        done_bytes += len(block)
        if progress is not None:
            progress(done_bytes, max(done_bytes, status.st_size))  # files of /proc and /sys say 0


def _temporary_beside(target: str) -> tuple[str, int]:
    folder = os.path.dirname(target) or "."  # noqa: PTH120
    name = os.path.join(folder, f".edgewise-put-{secrets.token_hex(8)}")  # noqa: PTH118
    for _ in range(_ATTEMPTS):
        with _mapped(target):
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            try:
                return name, os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue
    raise RemoteFileError(f"{folder!r} vanishes each time it is made", target)


def _fill(descriptor: int, source: Iterator[bytes], mode: int, target: str) -> None:
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        for block in source:
            view = memoryview(block)
            while view:
                with _mapped(target):
                    view = view[stream.write(view) :]
        with _mapped(target):
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)


def _sync_folder(folder: str) -> None:
    with contextlib.suppress(OSError):  # not every file system can; the file itself is safe already
        descriptor = os.open(folder or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _mapped(path: str) -> Iterator[None]:
    """The one place where errors of this machine's file system become ours."""
    try:
        yield
    except OSError as error:
        if isinstance(error, TransportError):
            raise
        message = f"{path!r}: {error.strerror}"
        if error.errno in _NO_SPACE:
            raise NoSpaceOnDevice(message, path, hint="free some space there, or choose another workdir") from error
        raise RemoteFileError(message, path) from error
    except ValueError as error:  # a NUL in the path
        raise UsageError(f"{path!r} is not a path: {error}") from error
