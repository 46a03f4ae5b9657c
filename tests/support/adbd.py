"""A small adbd and a small adb server for tests, whose services run on this machine.

As the real ones where edgewise could notice: packets wait for their acknowledgement, the exit packet comes only when
both outputs are closed, a stream cannot be closed in one direction, sync answers in the device's words.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import threading

HEADER = struct.Struct("<6I")
PACKET = struct.Struct("<BI")
REQUEST = struct.Struct("<4sI")
TOKEN = bytes(range(20))


def word(name):
    """A command of the wire as a number."""
    return int.from_bytes(name, "little")


class Listener:
    """Accepts connections on loopback; each runs ``serve`` in a thread of its own."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._open = []
        self._threads = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def serve(self, connected):
        raise NotImplementedError

    def cut(self):
        """Ends all connections."""
        for connected in self._open:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Ends everything."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self.socket.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        for connected in self._open:
            connected.close()

    def _accept(self):
        while True:
            try:
                connected, _ = self.socket.accept()
            except OSError:
                return
            self._open.append(connected)
            thread = threading.Thread(target=self._serve, args=(connected,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connected):
        with contextlib.suppress(OSError, EOFError):
            self.serve(connected)
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def exactly(connected, size):
    """That many bytes of a socket."""
    data = b""
    while len(data) < size:
        piece = connected.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


class Adbd(Listener):
    """Listens for ADB on a port. ``auth`` says what lets a host in."""

    def __init__(self, features=("cmd", "shell_v2"), auth=None, max_payload_bytes=1024 * 1024):
        self.features = features
        self.auth = auth  # None: open; "signature", "screen", "never", "tls"
        self.max_payload_bytes = max_payload_bytes
        super().__init__()

    def serve(self, connected):
        """One host's connection."""
        Connection(self, connected).run()


class Connection:
    """The device's side of one connection."""

    def __init__(self, adbd, connected):
        self._adbd = adbd
        self._socket = connected
        self._streams = {}
        self._sending = threading.Lock()
        self._ids = iter(range(100, 1_000_000))

    def send(self, command, arg0=0, arg1=0, payload=b""):
        """One message."""
        code = word(command)
        with self._sending:
            self._socket.sendall(HEADER.pack(code, arg0, arg1, len(payload), 0, code ^ 0xFFFFFFFF) + payload)

    def receive(self):
        """The next message."""
        command, arg0, arg1, size, _, _ = HEADER.unpack(exactly(self._socket, HEADER.size))
        return command.to_bytes(4, "little"), arg0, arg1, exactly(self._socket, size)

    def run(self):
        """Until the connection ends."""
        if not self._log_in():
            return
        banner = b"device::ro.product.name=test;features=" + ",".join(self._adbd.features).encode()
        self.send(b"CNXN", 0x01000001, self._adbd.max_payload_bytes, banner)
        try:
            while True:
                self._take(*self.receive())
        finally:
            for stream in list(self._streams.values()):
                stream.end()

    def _log_in(self):
        assert self.receive()[0] == b"CNXN"
        auth = self._adbd.auth
        if auth == "tls":
            self.send(b"STLS", 0x01000000)
            return False
        while auth is not None:
            self.send(b"AUTH", 1, 0, TOKEN)
            command, kind, _, payload = self.receive()
            assert command == b"AUTH"
            if (auth, kind) in (("signature", 2), ("screen", 3)):
                assert len(payload) > 200
                break
        return True

    def _take(self, command, theirs, ours, payload):
        if command == b"OPEN":
            self._open(theirs, payload.rstrip(b"\0"))
            return
        stream = self._streams.get(ours)
        if stream is None:
            return
        if command == b"WRTE":
            stream.inbox.put(payload)
            self.send(b"OKAY", ours, theirs)
        elif command == b"OKAY":
            stream.ready.release()
        elif command == b"CLSE":
            stream.end()

    def _open(self, theirs, service):
        if not service.startswith((b"shell,v2,raw:", b"exec:", b"sync:")):
            self.send(b"CLSE", 0, theirs)
            return
        stream = WireStream(self, next(self._ids), theirs)
        self._streams[stream.ours] = stream
        self.send(b"OKAY", stream.ours, theirs)
        threading.Thread(target=serve, args=(service, stream), daemon=True).start()

    def forget(self, stream):
        """Nothing; tells the host that the stream is over."""
        if self._streams.pop(stream.ours, None) is not None:
            with contextlib.suppress(OSError):
                self.send(b"CLSE", stream.ours, stream.theirs)


class WireStream:
    """A stream of the wire: one packet under way."""

    def __init__(self, connection, ours, theirs):
        self.ours, self.theirs = ours, theirs
        self.inbox = queue.Queue()
        self.ready = threading.Semaphore(1)
        self._connection = connection
        self._over = False

    def read(self):
        """The next bytes, empty at the end."""
        return self.inbox.get()

    def write(self, data):
        """Sends all of it. OSError when the host has closed the stream."""
        self.ready.acquire()
        if self._over:
            raise OSError("closed")
        self._connection.send(b"WRTE", self.ours, self.theirs, data)

    def end(self):
        """The host has closed it, or is gone."""
        self._over = True
        self.inbox.put(b"")
        self.ready.release()

    def close(self):
        """The service has ended."""
        self._connection.forget(self)


class AdbServer(Listener):
    """An adb server with one device, or the words of a server without it."""

    def __init__(self, serial="SERIAL", features=("cmd", "shell_v2"), says=None):
        self.serial = serial
        self.features = features
        self.says = says
        super().__init__()

    def serve(self, connected):
        """One request, or a transport and a service."""
        while True:
            request = exactly(connected, int(exactly(connected, 4), 16))
            if request.startswith(b"host") and self.says is not None:
                self._fail(connected, self.says)
            elif request in (b"host-serial:%s:features" % self.serial.encode(), b"host:features"):
                words = ",".join(self.features).encode()
                connected.sendall(b"OKAY%04x" % len(words) + words)
                return
            elif request in (b"host:transport:" + self.serial.encode(), b"host:transport-any"):
                connected.sendall(b"OKAY")
            elif request.startswith(b"host"):
                self._fail(connected, f"device '{request.decode()}' not found")
            else:
                connected.sendall(b"OKAY")
                serve(request, SocketStream(connected))
                return

    def _fail(self, connected, words):
        connected.sendall(b"FAIL%04x" % len(words) + words.encode())
        raise EOFError


class SocketStream:
    """A service on a socket of its own."""

    def __init__(self, connected):
        self._socket = connected

    def read(self):
        """The next bytes, empty at the end."""
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""

    def write(self, data):
        """Sends all of it."""
        self._socket.sendall(data)

    def close(self):
        """The service has ended."""


def serve(service, stream):
    """Runs one service to its end."""
    try:
        if service.startswith(b"shell,v2,raw:"):
            shell_v2(service.removeprefix(b"shell,v2,raw:"), stream)
        elif service.startswith(b"exec:"):
            execute(service.removeprefix(b"exec:"), stream)
        else:
            Sync(stream).run()
    except (OSError, EOFError):
        pass  # the host went away
    finally:
        stream.close()


def spawn(line, **outputs):
    """The device's shell running the line, in a session of its own."""
    return subprocess.Popen(["sh", "-c", line], stdin=subprocess.PIPE, start_new_session=True, bufsize=0, **outputs)


def shell_v2(line, stream):
    """Both outputs and the input as packets; the exit packet when both outputs are closed."""
    child = spawn(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    writing = threading.Lock()

    def pass_on(kind, source):
        with source, contextlib.suppress(OSError):
            while data := source.read(32768):
                with writing:
                    stream.write(PACKET.pack(kind, len(data)) + data)

    outputs = [threading.Thread(target=pass_on, args=pair) for pair in ((1, child.stdout), (2, child.stderr))]
    feeding = threading.Thread(target=feed, args=(child, stream), daemon=True)
    for thread in (*outputs, feeding):
        thread.start()
    for thread in outputs:
        thread.join()
    code = child.wait()
    with contextlib.suppress(OSError):
        stream.write(PACKET.pack(3, 1) + bytes([code & 0xFF if code >= 0 else 0x80 | -code]))


def feed(child, stream):
    """Takes the input apart and gives it to the command. The command is hung up when the host goes away."""
    inbox = b""
    while data := stream.read():
        inbox += data
        while len(inbox) >= PACKET.size:
            kind, size = PACKET.unpack_from(inbox)
            if len(inbox) < PACKET.size + size:
                break
            piece, inbox = inbox[PACKET.size : PACKET.size + size], inbox[PACKET.size + size :]
            with contextlib.suppress(OSError, ValueError):
                if kind == 0:
                    child.stdin.write(piece)
                elif kind == 4:
                    child.stdin.close()
    with contextlib.suppress(OSError, ValueError):
        child.stdin.close()


def execute(line, stream):
    """One output, no exit code, an input that cannot end. The command is hung up with the stream."""
    child = spawn(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def watch():
        while stream.read():
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGHUP)

    threading.Thread(target=watch, daemon=True).start()
    with child.stdout, child.stdin:
        while data := child.stdout.read(32768):
            stream.write(data)
    child.wait()


class Sync:
    """The service "sync:", version 1."""

    def __init__(self, stream):
        self._stream = stream
        self._inbox = b""

    def run(self):
        """Until the host closes it."""
        while True:
            name, size = REQUEST.unpack(self._exactly(REQUEST.size))
            path = self._exactly(size)
            try:
                if name == b"SEND":
                    self._take(*path.rsplit(b",", 1))
                else:
                    self._give(path)
            except OSError as error:
                if error.errno is None:
                    raise
                words = os.strerror(error.errno).encode()
                self._stream.write(REQUEST.pack(b"FAIL", len(words)) + words)
                return

    def _exactly(self, size):
        while len(self._inbox) < size:
            data = self._stream.read()
            if not data:
                raise EOFError
            self._inbox += data
        taken, self._inbox = self._inbox[:size], self._inbox[size:]
        return taken

    def _take(self, path, mode):
        try:
            with open(path, "wb") as target:
                while True:
                    name, size = REQUEST.unpack(self._exactly(REQUEST.size))
                    if name == b"DONE":
                        break
                    target.write(self._exactly(size))
        except EOFError:
            os.unlink(path)
            raise
        os.chmod(path, int(mode) & 0o777)
        self._stream.write(REQUEST.pack(b"OKAY", 0))

    def _give(self, path):
        with open(path, "rb") as source:
            while data := source.read(65536):
                self._stream.write(REQUEST.pack(b"DATA", len(data)) + data)
        self._stream.write(REQUEST.pack(b"DONE", 0))
