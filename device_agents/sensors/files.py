"""Reading the small text files of /sys and /proc: bounded, never raising on what is in them.

Everything takes an injected root, so that a recorded tree can stand for a board. Names and labels come from firmware
and may be garbage: what leaves this module as text is printable and short.
"""

import errno
import os
import re
from typing import Callable, List, Optional, Tuple

MAX_TEXT_BYTES = 64 * 1024
MAX_LABEL_CHARS = 64
NUMBER_BYTES = 32  # the longest 64-bit number has 20 digits and a sign; more is not a number of ours

# sysfs gives every attribute the size of one page. A file of another size is a plain file (a copied tree), where an
# open descriptor would go on showing the old content after the file is replaced.
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_REASONS = {
    errno.ENOENT: "the file is gone",
    errno.ENODEV: "the device is gone",
    errno.ENXIO: "the device is gone",
    errno.EAGAIN: "not available now (switched off or busy)",
    errno.EIO: "the device does not answer (input/output error)",
    errno.ENODATA: "the device has no data",
    errno.EINVAL: "the driver refuses to read it (invalid argument)",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}


# Told of all that readers look at: (kind, words); kinds are "file", "folder", "looked-for", "program" and
# "line-program" (one that runs on). Whoever records a board (device_agents/recording.py) hears here of each reader,
# also of new ones.
_observer: Optional[Callable[[str, Tuple[str, ...]], None]] = None


def observe(observer: Optional[Callable[[str, Tuple[str, ...]], None]]) -> None:
    """Nothing; from now on the observer hears of every file, folder and program looked at. None: nobody does."""
    global _observer
    _observer = observer


def notice(kind: str, *words: str) -> None:
    """Nothing, once the observer, if there is one, knows of it."""
    if _observer is not None:
        _observer(kind, words)


class SensorError(RuntimeError):
    """A sensor has no value now; ``reason`` says why in words for a report.

    ``lasting``: trying again will not help (permission, content that is no number).
    """

    def __init__(self, reason: str, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting


def reason_of(error: OSError) -> str:
    """Why a file could not be read, in words for a report."""
    return _REASONS.get(error.errno or 0, (os.strerror(error.errno) if error.errno else str(error)).lower())


def _failed(error: OSError) -> SensorError:
    return SensorError(reason_of(error), lasting=error.errno in (errno.EACCES, errno.EPERM))


def under(root: str, path: str) -> str:
    """``path`` (absolute) below the injected root."""
    return path if root == "/" else os.path.join(root, path.lstrip("/"))


def read_text(path: str, limit_bytes: int = MAX_TEXT_BYTES) -> Optional[str]:
    """The file's text without NULs and surrounding blanks, at most ``limit_bytes``; None when it cannot be read."""
    notice("file", path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        data = _read_up_to(descriptor, limit_bytes)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "replace").replace("\0", " ").strip()


def _read_up_to(descriptor: int, limit_bytes: int) -> bytes:
    # /proc files come in pieces: read until the end or the limit.
    parts: List[bytes] = []
    while limit_bytes > 0:
        part = os.read(descriptor, limit_bytes)
        if not part:
            break
        parts.append(part)
        limit_bytes -= len(part)
    return b"".join(parts)


def read_label(path: str) -> Optional[str]:
    """The file's first line as a printable name of at most 64 characters; None when it cannot be read or is empty."""
    text = read_text(path, 4096)
    if not text:
        return None
    line = "".join(char for char in text.splitlines()[0] if char.isprintable() and char != "\ufffd")
    return line.strip()[:MAX_LABEL_CHARS].strip() or None


def read_number(path: str) -> int:
    """The whole number in a file, once. SensorError with the reason when it cannot be read or is not a number."""
    attribute = Attribute(path)
    try:
        return attribute.read()
    finally:
        attribute.close()


def folder(path: str) -> List[str]:
    """The names in a folder in natural order ("zone2" before "zone10"); empty when it cannot be listed."""
    notice("folder", path)
    try:
        names = os.listdir(path)
    except OSError:
        return []
    return sorted(names, key=natural)


def natural(name: str) -> Tuple[Tuple[int, str], ...]:
    """A sort key that counts numbers inside names as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((int(part), "") if part.isdigit() and part.isascii() else (-1, part) for part in parts)


class Attribute:
    """One numeric attribute of sysfs, read many times at the price of one system call each.

    The descriptor stays open and the file is read at offset 0, which makes the kernel evaluate the attribute anew
    (Documentation/filesystems/sysfs.rst). An error closes and reopens it once: a device that came back has a new inode.
    """

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1

    def read(self) -> int:
        """The number now. SensorError when the file is gone, refuses to be read, or holds no whole number."""
        descriptor = self._descriptor
        if descriptor >= 0:
            try:
                data = os.pread(descriptor, NUMBER_BYTES, 0)
            except OSError:
                data = b""
            if not data:
                self.close()
                data = self._open_and_read()
        else:
            data = self._open_and_read()
        if len(data) < NUMBER_BYTES:
            try:
                return int(data)
            except ValueError:
                pass
        raise SensorError("not a number: {}".format(_shown(data)), lasting=True)

    def _open_and_read(self) -> bytes:
        notice("file", self.path)
        try:
            # O_NONBLOCK: a tree may hold a pipe or a device under this name, which must not stop the sampler.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _failed(error) from error
        keep = False
        try:
            data = os.pread(descriptor, NUMBER_BYTES, 0)
            keep = os.fstat(descriptor).st_size == _PAGE_BYTES
        except OSError as error:
            raise _failed(error) from error
        finally:
            if keep:
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        return data

    def close(self) -> None:
        """Gives the descriptor back; the next read opens the file again."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def _shown(data: bytes) -> str:
    if not data:
        return "the file is empty"
    return repr(data[:16].decode("ascii", "replace").strip())
