"""A server of a few lines on a real socket: it answers each request as a test says."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from device_agents.split.wire import plain

Respond = Callable[[bytes, bytes], bytes | None]


def answer(tensors: list[tuple[str, np.ndarray]], status: str = "200 OK", **parameters: Any) -> bytes:
    """An answer with binary tensors, as the protocol has it."""
    outputs = [
        {
            "name": name,
            "datatype": plain(name, array).datatype,
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in tensors
    ]
    head = json.dumps({"model_name": "m", "outputs": outputs, "parameters": parameters}).encode()
    return reply(head + b"".join(array.tobytes() for _, array in tensors), status, head_length=len(head))


def reply(body: bytes, status: str = "200 OK", head_length: int | None = None, more: str = "") -> bytes:
    length = f"Inference-Header-Content-Length: {head_length}\r\n" if head_length is not None else ""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{length}{more}\r\n".encode() + body


@contextmanager
def server(respond: Respond, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[tuple[bytes, bytes]]]]:
    """(URL, what was asked as (head, body)). ``respond`` gives the bytes to send; None closes the connection."""
    asked: list[tuple[bytes, bytes]] = []
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def talk(peer: socket.socket) -> None:
        try:
            with context.wrap_socket(peer, server_side=True) if context is not None else peer as stream:
                while exchange(stream):
                    pass
        except OSError:
            peer.close()

    def exchange(stream: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            part = stream.recv(65536)
            if not part:
                return False
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        size = next(int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length"))
        while len(body) < size:
            body += stream.recv(65536)
        asked.append((head, body))
        given = respond(head, body)
        if given is not None:
            stream.sendall(given)
        return given is not None

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=talk, args=(peer,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10)
