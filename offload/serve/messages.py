"""What passes between the HTTP connection and the application: the head of a request, the request, the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

MAX_HEADERS = 100
HEADER_LENGTH = b"inference-header-content-length"
Bytes = bytes | bytearray | memoryview
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_COMPACT = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes a new encoder each time


class Refused(Exception):
    """A request cannot be answered as asked: an HTTP status, one line that says why, headers that belong to it."""

    def __init__(self, status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = tuple(headers)


@dataclass(slots=True)
class Head:
    """A request's head. ``headers`` have lower-case names.

    ``length``: of the body, None when it comes in chunks. ``header_length``: of the JSON in front of the tensors, None
    when the whole body is JSON.
    """

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    length: int | None
    header_length: int | None
    keep_alive: bool
    expects_continue: bool


@dataclass(slots=True)
class Request:
    """A whole request. ``began_ns``, ``arrived_ns``: our clock when its head and its last byte had come.

    ``gone``: the client has left meanwhile.
    """

    head: Head
    body: memoryview
    received_bytes: int
    began_ns: int
    arrived_ns: int
    gone: bool = False


@dataclass(slots=True)
class Answer:
    """An answer: the pieces of its body in order, and headers besides length and type."""

    status: int
    pieces: Sequence[Bytes] = ()
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = field(default=())

    @property
    def size_bytes(self) -> int:
        """The size of the body."""
        return sum(map(len, self.pieces))

    def head(self, close: bool) -> bytes:
        """The status line and the headers. ``close``: the connection ends behind it."""
        more = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        end = "Connection: close\r\n\r\n" if close else "\r\n"
        reason = _REASONS.get(self.status, "Unknown")
        return (
            f"HTTP/1.1 {self.status} {reason}\r\nContent-Length: {self.size_bytes}\r\n"
            f"Content-Type: {self.content_type}\r\n{more}{end}"
        ).encode("ascii")


def document(content: Mapping[str, Any], status: int = 200) -> Answer:
    """A JSON document as an answer."""
    return Answer(status, (compact(content),))


def compact(content: Mapping[str, Any]) -> bytes:
    """A JSON document without spaces."""
    return _COMPACT(content).encode("utf-8")


def refusal(error: Refused) -> Answer:
    """The answer of the protocol to what is refused: {"error": ...}."""
    answer = document({"error": error.message}, error.status)
    answer.headers = error.headers
    return answer


def parse_head(data: bytes) -> Head:
    """The head of a request, up to and with its empty line. Refused(400, 413, 501, 505) when it is not in order.

    httptools (llhttp, the parser of Node.js) does the parsing; what it lets pass and a server should not is refused
    here: a length together with chunks, several hosts, codings of the transfer besides chunked.
    """
    import httptools

    found = _Found()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # another protocol is offered, and not taken
    except httptools.HttpParserError as error:
        raise Refused(400, "the request is not HTTP/1.1") from error
    if found.fault is not None:
        raise found.fault
    if not found.complete:
        raise Refused(400, "the request's head is not whole")
    version = parser.get_http_version()
    if version not in ("1.0", "1.1"):
        raise Refused(505, "this server speaks HTTP/1.1")
    path, query = _target(found.url)
    headers = found.headers
    return Head(
        method=parser.get_method().decode("latin-1"),
        path=path,
        query=query,
        headers=headers,
        length=_length(headers),
        header_length=_header_length(headers),
        keep_alive=parser.should_keep_alive(),
        expects_continue=version == "1.1" and headers.get(b"expect", b"").lower() == b"100-continue",
    )


def _target(url: bytes) -> tuple[str, str]:
    try:
        text = url.decode("ascii")
        if not text.startswith("/"):  # http://HOST/PATH, as proxies are asked
            parts = urlsplit(text)
            return unquote(parts.path, errors="strict"), parts.query
        path, _, query = text.partition("?")
        return unquote(path, errors="strict"), query
    except ValueError as error:
        raise Refused(400, "the request's address is damaged") from error


def _header_length(headers: Mapping[bytes, bytes]) -> int | None:
    text = headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 12:
        raise Refused(400, "Inference-Header-Content-Length is not a number of bytes")
    return int(text)


def _length(headers: Mapping[bytes, bytes]) -> int | None:
    coding, text = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    if coding is not None:
        if text is not None:
            raise Refused(400, "Content-Length and Transfer-Encoding exclude each other")
        if coding.strip().lower() != b"chunked":
            raise Refused(501, "no transfer coding but chunked is known here")
        return None
    if text is None:
        return 0
    if not text.isdigit() or len(text) > 18:
        raise Refused(400, "Content-Length is not a number of bytes")
    return int(text)


class _Found:
    """What the parser finds, by its callbacks."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        self.fault: Refused | None = None  # not raised: the parser would make another exception of it

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        if len(self.headers) >= MAX_HEADERS:
            self.fault = Refused(431, f"more than {MAX_HEADERS} headers")
            return
        if name in self.headers:
            if name in (b"content-length", b"transfer-encoding", b"host", b"authorization", HEADER_LENGTH):
                self.fault = Refused(400, f"the header {name.decode('latin-1')} is given twice")
            value = self.headers[name] + b", " + value
        self.headers[name] = value

    def on_headers_complete(self) -> None:
        """The end of the head."""
        self.complete = True
