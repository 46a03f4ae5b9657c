"""A port that serves one connection at a time, as the adbd of older phones: the next is taken, and waits in silence."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class SingleFile:
    """Passes connections on to another port, each once the one before is over. Use it as a context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=8)
        self._listening.settimeout(0.1)
        self._over = threading.Event()
        # Started where this is made: in the lab's network, if that is so.
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port = self._listening.getsockname()[1]

    def __enter__(self) -> SingleFile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(20)
        self._listening.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                near, _ = self._listening.accept()
            except TimeoutError:
                continue
            with near, contextlib.suppress(OSError), socket.create_connection(self._target, timeout=10) as far:
                self._pass_on(near, far)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        others = {near: far, far: near}
        while not self._over.is_set():
            for source in select.select(list(others), [], [], 0.1)[0]:
                data = source.recv(65536)
                if not data:
                    return
                others[source].sendall(data)
