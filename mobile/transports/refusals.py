"""What a device's own tools say when they refuse, mapped into our errors at this one place."""

from __future__ import annotations

from mobile.errors import NoSpaceOnDevice, RemoteFileError
from mobile.transports.base import Completed

# strerror texts, the same in glibc, musl, bionic and macOS under LC_ALL=C
_NO_SPACE = ("no space left on device", "disk quota exceeded", "disc quota exceeded")
_HINTS = {
    "permission denied": "choose a `workdir` that the user may write to",
    "operation not permitted": "choose a `workdir` that the user may write to",
    "read-only file system": "choose a `workdir` on a file system that can be written to",
    "not found": "the device lacks this program; edgewise needs the usual POSIX tools there",
}


def refusal(device: str, path: str, done: Completed) -> RemoteFileError:
    """The error for a command about ``path`` that failed: NoSpaceOnDevice when its stderr says so."""
    words = done.stderr.decode("utf-8", "replace").lower()
    message = f"{device}: {path!r}: {done.why()}"
    if any(text in words for text in _NO_SPACE):
        return NoSpaceOnDevice(message, path, hint=f"`edgewise store {device} prune` frees what edgewise stored")
    hint = next((hint for text, hint in _HINTS.items() if text in words), None)
    return RemoteFileError(message, path, hint)
