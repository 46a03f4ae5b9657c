"""adb: phones, over a running adb server (`serial`) or straight to an adbd over TCP (`host`)."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mobile.deadline import Deadline
from mobile.errors import RemoteFileError, TransportError, UsageError
from mobile.transports import adb_direct, files, scripts
from mobile.transports.adb_link import SHELL_V2, AdbLink, AdbStream
from mobile.transports.adb_server import ServerLink
from mobile.transports.adb_shell_session import ShellV1Session, ShellV2Session
from mobile.transports.adb_sync import Sync, SyncFailed
from mobile.transports.base import Completed, Progress
from mobile.transports.quoting import reporting_command_line
from mobile.transports.refusals import refusal
from mobile.transports.remote import RemoteTransport, device_path, temporary_beside
from mobile.transports.session import KILL_GRACE_S, Session
from mobile.transports.sockets import LINK_TIMEOUT_S

if TYPE_CHECKING:
    from mobile.transports import Address

_SCRATCH = "/data/local/tmp"  # the one folder that every Android lets its shell user write to
_TIDY_S = 5.0


class _NoFolder(RemoteFileError):
    """There is no such file, or no folder for it."""


class AdbTransport(RemoteTransport):
    """A phone. Connects at the first call, and again when the connection has broken since.

    The exit code of a command that a signal ended is 128 + its number: adbd does not tell the two apart.
    """

    def __init__(
        self, device: Address, *, link_timeout_s: float = LINK_TIMEOUT_S, kill_grace_s: float = KILL_GRACE_S
    ) -> None:
        super().__init__(device.name, device.provenance, kill_grace_s=kill_grace_s)
        self._device = device
        self._link_timeout_s = link_timeout_s
        self._open_link: AdbLink | None = None
        self._connecting = threading.Lock()

    def close(self) -> None:
        """Nothing, once the connection is closed. What was started detached goes on."""
        super().close()
        if self._open_link is not None:
            self._open_link.close()

    def put(
        self,
        source: Path | bytes,
        target: str,
        *,
        deadline: Deadline,
        mode: int = 0o644,
        progress: Progress | None = None,
    ) -> None:
        """Nothing, once the target is whole; see :class:`mobile.transports.base.Transport`."""
        what = f"{self.name}: writing {target!r}"
        deadline.check(what)
        path = device_path(target)
        temporary = temporary_beside(path)
        try:
            try:
                size_bytes = self._push(source, temporary, target, deadline, mode, progress)
            except _NoFolder:  # an adbd that makes none
                self._ask(scripts.MAKE_FOLDER, [path], target, deadline)
                size_bytes = self._push(source, temporary, target, deadline, mode, progress)
            self._ask(scripts.FINISH_PUT, [temporary, path, str(size_bytes), f"{mode:o}"], target, deadline)
        except UsageError:  # about the source: nothing has reached the device
            raise
        except BaseException:
            with contextlib.suppress(TransportError):
                self._script(scripts.REMOVE, [temporary], Deadline(_TIDY_S))
            raise

    def _push(
        self,
        source: Path | bytes,
        temporary: str,
        target: str,
        deadline: Deadline,
        mode: int,
        progress: Progress | None,
    ) -> int:
        what = f"{self.name}: writing {target!r}"
        with files.opened(source) as (stream, size_bytes), self._sync(deadline, what, target) as sync:
            sync.push(temporary, mode, files.blocks(stream, size_bytes, what, deadline, progress))
        return size_bytes

    def get(self, source: str, target: BinaryIO, *, deadline: Deadline, progress: Progress | None = None) -> int:
        """The number of bytes written to ``target``; see :class:`mobile.transports.base.Transport`."""
        what = f"{self.name}: reading {source!r}"
        path = device_path(source)
        size = self._ask(scripts.PREPARE_GET, [path], source, deadline).stdout.strip()
        size_bytes = int(size) if size.isdigit() else 0
        done_bytes = 0

        def take(data: bytes) -> None:
            nonlocal done_bytes
            target.write(data)
            done_bytes += len(data)
            if progress is not None:
                progress(done_bytes, max(done_bytes, size_bytes))

        with self._sync(deadline, what, source) as sync:
            sync.pull(path, take)
        return done_bytes

    def _ask(self, script: str, arguments: Sequence[str], path: str, deadline: Deadline) -> Completed:
        done = self._script(script, arguments, deadline)
        if not done.ok:
            raise refusal(self.name, path, done)
        return done

    @contextlib.contextmanager
    def _sync(self, deadline: Deadline, what: str, path: str) -> Iterator[Sync]:
        with contextlib.closing(self._link(deadline).open(b"sync:", deadline)) as stream:
            try:
                yield Sync(self.name, stream, deadline, what)
            except SyncFailed as error:
                refused = refusal(self.name, path, Completed(1, b"", str(error).encode()))
                if "no such file or directory" in str(error).lower():
                    refused = _NoFolder(refused.message, path)
                raise refused from error

    @contextlib.contextmanager
    def _open_session(
        self, argv: Sequence[str], env: Mapping[str, str], opening: str, deadline: Deadline, *, urgent: bool = False
    ) -> Iterator[Session]:
        link = self._link(deadline)
        closing = secrets.token_hex(8)
        session: ShellV1Session | ShellV2Session
        if SHELL_V2 in link.features:
            line = reporting_command_line(argv, env, opening, closing)
            session = ShellV2Session(link.open(b"shell,v2,raw:" + line, deadline), closing)
        else:
            session = ShellV1Session(
                lambda stdin: self._begin_v1(argv, env, opening, closing, stdin, deadline), closing
            )
        try:
            yield session
        finally:
            session.close()

    def _begin_v1(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        opening: str,
        closing: str,
        stdin: bytes,
        deadline: Deadline,
    ) -> AdbStream:
        link = self._link(deadline)
        place = f"{_SCRATCH}/.edgewise-{opening}"
        given = "/dev/null"
        if stdin:
            given = f"{place}.in"
            with self._sync(deadline, f"{self.name}: sending input", given) as sync:
                sync.push(given, 0o600, iter([stdin]))
        line = reporting_command_line(argv, env, opening, closing, (given, f"{place}.err"))
        return link.open(b"exec:" + line, deadline)

    def _link(self, deadline: Deadline) -> AdbLink:
        """The living link, made if need be by one caller at a time."""
        with self._connecting:
            if self._closed:
                raise TransportError(f"{self.name}: this transport is closed")
            if self._open_link is None or not self._open_link.alive():
                if self._open_link is not None:
                    self._open_link.close()
                    self._open_link = None
                self._open_link = self._connect(deadline)
            return self._open_link

    def _connect(self, deadline: Deadline) -> AdbLink:
        device = self._device
        if device.host is None:
            return ServerLink(device.name, device.serial, deadline)
        port = device.port or adb_direct.DEFAULT_PORT
        return adb_direct.DirectLink(device.name, device.host.strip("[]"), port, deadline, self._link_timeout_s)
