"""Files that change under their readers' eyes, cheaply and never by halves."""

from __future__ import annotations

import os
from pathlib import Path

_IN_PLACE_BYTES = 32  # a longer one could be read while it is being copied


class LiveFile:
    """One small file of a board. A reader sees the old content or the new.

    A text of the old one's length goes over it in one call; any other is put in its place as a new file with the same
    mode (the agent keeps no descriptor of a file that is not a page long).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exists = path.exists()
        self._fd = -1
        self._data = path.read_bytes() if self.exists else b""
        self._mode = path.stat().st_mode & 0o7777 if self.exists else 0o644

    def set(self, text: str) -> None:
        """Nothing; the file holds the text and a newline. A file that a test took away stays away."""
        data = text.encode() + b"\n"
        if data == self._data or not self.exists:
            return
        if len(data) == len(self._data) and len(data) <= _IN_PLACE_BYTES:
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            os.pwrite(self._fd, data, 0)
        else:
            self._replace(data)
        self._data = data

    def _replace(self, data: bytes) -> None:
        self.close()
        fresh = self.path.with_name(f".{self.path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.write(descriptor, data)
        os.fchmod(descriptor, self._mode)
        os.rename(fresh, self.path)
        self._fd = descriptor

    def close(self) -> None:
        """Gives the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
