"""Several connections to one device, opened as needed: an sshd allows about ten sessions on each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mobile.deadline import Deadline
from mobile.errors import DeadlineExceeded, EdgewiseError, TransportError
from mobile.transports.ssh_connect import Connection

# OpenSSH's MaxSessions is 10; two are left for ending the commands of others.
SESSIONS_PER_CONNECTION = 8
MAX_CONNECTIONS = 4


@dataclass
class _Slot:
    connection: Connection
    sessions: int = 0
    capacity: int = SESSIONS_PER_CONNECTION


class Pool:
    """The connections of one transport. Thread-safe."""

    def __init__(self, device: str, connect: Callable[[Deadline], Connection]) -> None:
        self._device = device
        self._connect = connect
        self._slots: list[_Slot] = []
        self._connecting = False
        self._closed = False
        self._failures = 0
        self._failure: EdgewiseError | None = None
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def connection(self, deadline: Deadline, *, urgent: bool) -> Iterator[Connection]:
        """A living connection with room for a session. ``urgent``: one with any life in it, without waiting."""
        slot = self._take(deadline, urgent)
        try:
            yield slot.connection
        finally:
            with self._changed:
                slot.sessions -= 1
                self._changed.notify_all()

    def full(self, connection: Connection) -> bool:
        """Whether others use the connection; then it has shown its limit, and is not given out beyond it again."""
        with self._changed:
            for slot in self._slots:
                if slot.connection is connection and slot.sessions > 1:
                    slot.capacity = max(1, slot.sessions - 1)
                    return True
        return False

    def close(self) -> None:
        """Nothing, once all connections are closed."""
        with self._changed:
            self._closed = True
            slots, self._slots = self._slots, []
            self._changed.notify_all()
        for slot in slots:
            slot.connection.close()

    def _take(self, deadline: Deadline, urgent: bool) -> _Slot:
        with self._changed:
            failures = self._failures
            while True:
                if self._closed:
                    raise TransportError(f"{self._device}: this transport is closed")
                self._drop_dead()
                slot = self._free(urgent)
                if slot is not None:
                    slot.sessions += 1
                    return slot
                if failures != self._failures and self._failure is not None:
                    # Whoever waited for an attempt shares its failure, else twenty callers would try for twenty limits.
                    raise type(self._failure)(self._failure.message, self._failure.hint)
                if not self._connecting and len(self._slots) < MAX_CONNECTIONS:
                    self._connecting = True
                    break
                deadline.check(f"{self._device}: waiting for a free session")
                self._changed.wait(min(1.0, deadline.remaining_s()))
        return self._open(deadline)

    def _open(self, deadline: Deadline) -> _Slot:
        slot: _Slot | None = None
        failure: EdgewiseError | None = None
        try:
            slot = _Slot(self._connect(deadline), sessions=1)
        except EdgewiseError as error:
            failure = error
            raise
        finally:
            with self._changed:
                self._connecting = False
                if failure is not None and not isinstance(failure, DeadlineExceeded):
                    self._failures += 1
                    self._failure = failure
                if slot is not None and not self._closed:
                    self._slots.append(slot)
                self._changed.notify_all()
        if self._closed:
            slot.connection.close()
            raise TransportError(f"{self._device}: this transport is closed")
        return slot

    def _drop_dead(self) -> None:
        for slot in [slot for slot in self._slots if not slot.connection.alive()]:
            self._slots.remove(slot)
            slot.connection.close()

    def _free(self, urgent: bool) -> _Slot | None:
        free = [slot for slot in self._slots if urgent or slot.sessions < slot.capacity]
        return min(free, key=lambda slot: slot.sessions, default=None)
