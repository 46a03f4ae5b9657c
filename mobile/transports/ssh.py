"""ssh: commands and files through exec channels. Only what any sshd has is needed on the device, no sftp."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import paramiko

from mobile.deadline import Deadline
from mobile.errors import DeadlineExceeded, EdgewiseError, UsageError
from mobile.transports.quoting import command_line
from mobile.transports.remote import RemoteTransport
from mobile.transports.session import KILL_GRACE_S, Event, LinkBroken, Session
from mobile.transports.sockets import LINK_TIMEOUT_S, ready
from mobile.transports.ssh_connect import Connection, mapped, open_connection
from mobile.transports.ssh_pool import Pool
from mobile.transports.ssh_settings import SshSettings, settings_of
from mobile.transports.ssh_wire import SIGNALS

if TYPE_CHECKING:
    from mobile.transports import Address

_PACKET_BYTES = 32768  # the largest that OpenSSH takes, and paramiko sends
_RECEIVE_BYTES = 65536
_TICK_S = 0.2  # paramiko does not wake us for an exit status, only for data and the end of it
_GUARD_S = 15.0  # past a deadline, for ending the command and closing; then the connection is cut
_LINE_LIMIT_BYTES = (
    128 * 1024 - 1
)  # Linux's limit for one argument (MAX_ARG_STRLEN), which the line is to a login shell


class SshTransport(RemoteTransport):
    """An ssh device. Connects at the first call, and again when the connection has broken since.

    A link that goes dead in the middle of a call ends it with TransportError within ``link_timeout_s``, whatever the
    deadline is.
    """

    def __init__(
        self, device: Address, *, link_timeout_s: float = LINK_TIMEOUT_S, kill_grace_s: float = KILL_GRACE_S
    ) -> None:
        super().__init__(device.name, device.provenance, kill_grace_s=kill_grace_s)
        self._device = device
        self._link_timeout_s = link_timeout_s
        self._settings: SshSettings | None = None
        self._pool = Pool(device.name, self._connect)

    def close(self) -> None:
        """Nothing, once all connections are closed. What was started detached goes on."""
        super().close()
        self._pool.close()

    def _connect(self, deadline: Deadline) -> Connection:
        if self._settings is None:
            self._settings = settings_of(self._device)
        return open_connection(self._settings, deadline, self._link_timeout_s)

    @contextlib.contextmanager
    def _open_session(
        self, argv: Sequence[str], env: Mapping[str, str], opening: str, deadline: Deadline, *, urgent: bool = False
    ) -> Iterator[Session]:
        line = command_line(argv, env, opening)
        if len(line) > _LINE_LIMIT_BYTES:
            raise UsageError(
                f"{self.name}: a command of {len(line)} bytes, ssh passes at most {_LINE_LIMIT_BYTES}",
                hint="put the data into a file, or give it as stdin",
            )
        session = None
        while session is None:
            with self._pool.connection(deadline, urgent=urgent) as connection, self._guard(connection, deadline):
                session = self._begin(connection, line, deadline)
                if session is None and urgent:  # no room for it on a connection in use
                    break
                if session is not None:
                    yield from _closing(session)
            deadline.check(f"{self.name}: waiting for a free session")
        if session is None:
            with contextlib.closing(self._connect(deadline)) as connection, self._guard(connection, deadline):
                session = self._begin(connection, line, deadline)
                if session is not None:
                    yield from _closing(session)

    def _begin(self, connection: Connection, line: bytes, deadline: Deadline) -> SshSession | None:
        """A session in which the line runs; None when the device allows no further one on this connection."""
        settings = self._settings
        assert settings is not None  # set before any connection is opened
        try:
            channel = connection.open_session(deadline)
            channel.exec_command(line)
        except paramiko.ChannelException as error:
            if self._pool.full(connection):
                return None
            raise mapped(error, settings) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if isinstance(error, EdgewiseError):
                raise
            deadline.check(f"{self.name}: opening a session")
            if not connection.alive():
                raise _broken(self.name) from error
            raise mapped(error, settings) from error
        return SshSession(channel, connection, self.name)

    @contextlib.contextmanager
    def _guard(self, connection: Connection, deadline: Deadline) -> Iterator[None]:
        """Cuts the connection when a call into paramiko outlives the deadline: several of its waits have no limit."""
        if deadline.remaining_s() == float("inf"):
            yield
            return
        timer = threading.Timer(min(deadline.remaining_s() + _GUARD_S, threading.TIMEOUT_MAX), connection.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        except LinkBroken as error:
            if not timer.is_alive():
                raise DeadlineExceeded(f"{self.name}: not done within {deadline.seconds:g} s") from error
            raise
        finally:
            timer.cancel()
            timer.join()


class SshSession:
    """One exec channel; see :class:`mobile.transports.session.Session`."""

    def __init__(self, channel: paramiko.Channel, connection: Connection, device: str) -> None:
        self._channel: Any = channel
        self._connection = connection
        self._device = device
        self._told_exit = False
        self._told_end = False

    def send(self, data: memoryview, timeout_s: float) -> int:
        """The number of bytes that fitted into the device's window within the time."""
        channel = self._channel
        channel.settimeout(max(timeout_s, 0.001))
        sent = 0
        try:
            while sent < len(data) and not (channel.recv_ready() or channel.recv_stderr_ready()):
                count = channel.send(bytes(data[sent : sent + _PACKET_BYTES]))
                if not count:
                    break
                sent += count
        except TimeoutError:
            pass
        except (OSError, EOFError, paramiko.SSHException):
            self._check_link()  # else the command has ended; receive() says how
        return sent

    def end_input(self) -> None:
        """Nothing; the command sees the end of its input."""
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException):
            self._check_link()

    def receive(self, timeout_s: float) -> Event | None:
        """The next event, None when there is none within the time."""
        end = time.monotonic() + timeout_s
        while True:
            event = self._next()
            if event is not None:
                return event
            left_s = end - time.monotonic()
            if left_s <= 0:
                return None
            self._wait(min(left_s, _TICK_S))

    def close(self) -> None:
        """Nothing, once the channel is closed on this side."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()

    def _next(self) -> Event | None:
        channel = self._channel
        # Looked at before the buffers: what came before the end is in them.
        over, told = channel.eof_received or channel.closed, channel.status_event.is_set()
        if channel.recv_ready():
            return Event("stdout", channel.recv(_RECEIVE_BYTES))
        if channel.recv_stderr_ready():
            return Event("stderr", channel.recv_stderr(_RECEIVE_BYTES))
        if over and not self._told_end:
            self._told_end = True
            return Event("end")
        if told and not self._told_exit:
            self._told_exit = True
            return self._exit()
        if not self._told_exit:
            self._check_link()
        return None

    def _exit(self) -> Event:
        name = getattr(self._channel, "exit_signal", None)
        if name is not None:
            return Event("exit", signal=SIGNALS.get(name, 0))
        code = self._channel.exit_status
        if code < 0:
            self._check_link()
            raise LinkBroken(f"{self._device}: the device closed the session without saying how the command ended")
        return Event("exit", exit_code=code & 0xFF)

    def _wait(self, timeout_s: float) -> None:
        channel = self._channel
        if channel.eof_received or channel.closed:  # its pipe stays readable for ever then
            channel.status_event.wait(timeout_s)
            return
        ready(channel.fileno(), timeout_s)

    def _check_link(self) -> None:
        if not self._connection.alive():
            raise _broken(self._device)


def _closing(session: SshSession) -> Iterator[SshSession]:
    try:
        yield session
    finally:
        session.close()


def _broken(device: str) -> LinkBroken:
    return LinkBroken(
        f"{device}: the connection broke", hint="the device may be off, rebooting, or out of the network's reach"
    )
