"""A byte stream cut into lines, with a count of how far it was understood."""

from __future__ import annotations

from collections.abc import Callable

from device_agents.records import MAX_LINE_BYTES
from mobile.errors import AgentError


class LineReader:
    """Cuts a byte stream into lines, bounded: a line without end must not fill the memory.

    ``whole_bytes`` is the length of all lines that were handed over: where to go on after the stream has broken.
    """

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self.whole_bytes = 0
        self._on_line = on_line
        self._rest = bytearray()

    def feed(self, data: bytes) -> None:
        """Nothing; calls ``on_line`` for each whole line. AgentError for a line that is too long."""
        self._rest += data
        if b"\n" not in data:
            self._check_length()
            return
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            if line.strip():
                self._on_line(bytes(line))
            self.whole_bytes += len(line) + 1
        self._check_length()

    def _check_length(self) -> None:
        if len(self._rest) > MAX_LINE_BYTES:
            raise AgentError(f"the agent sent a line of more than {MAX_LINE_BYTES} bytes")
