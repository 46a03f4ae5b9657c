"""The device's end of the wire: the Open Inference Protocol, version 2, over HTTP/1.1 with binary tensors.

One connection that is kept, no delay on small packets, a limit in time and size on everything. What a server can do
wrong ends in a WireError; a token is in no message. Protocol: kserve/open-inference-protocol, specification/protocol
(inference_rest.md) and Triton's binary tensor data extension.
"""

import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union
from urllib.parse import quote, urlsplit

from device_agents.split.frames import DTYPES, ITEM_BYTES, NUMPY_NAMES, count, span

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Bytes = Union[bytes, bytearray, memoryview]

DEFAULT_LIMIT_BYTES = 256 << 20
MAX_HEADER_BYTES = 1 << 20  # of the JSON in front of the tensors
MAX_ITEMS = 1 << 48  # of a tensor, in whatever dimensions
HEADER_LENGTH = "Inference-Header-Content-Length"
CODEC_PARAMETER = "edgewise_codec"
CHUNK_BYTES = 256 << 10
STATUS_KINDS = {
    401: "unauthorized",
    403: "unauthorized",
    404: "unknown-model",
    409: "foreign",
    412: "resync",
    413: "too-large",
    429: "busy",
    503: "busy",
    504: "late",
}


class WireError(RuntimeError):
    """An exchange failed. ``kind``: unreachable, late, garbage, too-large, unauthorized, unknown-model, foreign
    (another package), resync (a difference to a frame that the server does not know), busy, or refused. ``sent``:
    whether the server may have worked on it.
    """

    def __init__(self, kind: str, message: str, sent: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.sent = sent


class Endpoint(NamedTuple):
    """A server. ``token``: bearer token. ``ca_file``, ``certificates``: what to trust for https, as a file or as the
    text of one (PEM); None of both: what the system trusts, which is nothing on a phone.
    """

    url: str
    token: Optional[str] = None
    ca_file: Optional[str] = None
    certificates: Optional[str] = None


class WireTensor(NamedTuple):
    """A tensor as it travels. ``codec``: how ``data`` is coded (then it is UINT8 bytes of a frame); "" for itself."""

    name: str
    datatype: str
    shape: Tuple[int, ...]
    data: Bytes
    codec: str = ""


class Answer(NamedTuple):
    """What came back, and how long sending and waiting took on our clock, in ns."""

    tensors: Dict[str, WireTensor]
    parameters: Dict[str, Any]
    sent_bytes: int
    received_bytes: int
    send_ns: int
    wait_ns: int


def plain(name: str, array: "Array") -> WireTensor:
    """An array as itself. WireError for a type that the protocol does not have."""
    import numpy as np

    array = np.asarray(array, order="C")
    try:
        datatype = DTYPES[NUMPY_NAMES.index(array.dtype.name)]
    except ValueError:
        raise WireError("refused", "tensors of {} cannot be sent".format(array.dtype)) from None
    return WireTensor(name, datatype, array.shape, array.reshape(-1).view(np.uint8).data)


def coded(name: str, frame: bytes, codec: str) -> WireTensor:
    """A codec's frame as a tensor of bytes."""
    return WireTensor(name, "UINT8", (len(frame),), frame, codec)


def array_of(tensor: WireTensor) -> "Array":
    """The array of a tensor that travelled as itself."""
    import numpy as np

    dtype = np.dtype(NUMPY_NAMES[DTYPES.index(tensor.datatype)])
    return np.frombuffer(tensor.data, dtype).reshape(tensor.shape)


class Wire:
    """A connection to one server. Not for several threads at a time; ``abort`` may be called from another."""

    def __init__(self, endpoint: Endpoint, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._endpoint = endpoint
        self._limit_bytes = limit_bytes
        self._parts = _checked(endpoint.url)
        self._connection: Optional[http.client.HTTPConnection] = None
        self._end = 0.0

    def infer(
        self,
        model: str,
        tensors: Sequence[WireTensor],
        wanted: Sequence[str],
        deadline_s: float,
        parameters: Optional[Dict[str, Any]] = None,
        request_id: str = "",
        codecs: Optional[Dict[str, str]] = None,
    ) -> Answer:
        """The server's answer to one request, within ``deadline_s``. WireError with a kind when there is none.

        ``codecs``: those in which outputs are asked for; the others come as they are.
        """
        head = _header(tensors, wanted, parameters, request_id, codecs or {})
        path = "/v2/models/{}/infer".format(quote(model, safe=""))
        headers = {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        began = time.monotonic_ns()
        response, sent_at = self._exchange("POST", path, [head] + [t.data for t in tensors], headers, deadline_s)
        body = self._body(response)
        ended = time.monotonic_ns()
        if response.status != 200:
            raise _refusal(response.status, body)
        told, found = _parse(body, response.getheader(HEADER_LENGTH))
        missing = [name for name in wanted if name not in found]
        if missing:
            raise WireError("garbage", "the answer lacks {}".format(missing[0]), sent=True)
        sent = len(head) + sum(len(t.data) for t in tensors)
        return Answer(found, told, sent, len(body), sent_at - began, ended - sent_at)

    def request(self, method: str, path: str, body: Bytes, deadline_s: float) -> Tuple[bytes, int, int]:
        """(body, ns of sending, ns of waiting) of a plain request that was answered with 200."""
        began = time.monotonic_ns()
        response, sent_at = self._exchange(method, path, [body], {}, deadline_s)
        answer = self._body(response)
        if response.status != 200:
            raise _refusal(response.status, answer)
        return answer, sent_at - began, time.monotonic_ns() - sent_at

    @property
    def tcp_socket(self) -> Optional[socket.socket]:
        """The connection's socket, None while there is no connection."""
        return self._connection.sock if self._connection is not None else None

    def close(self) -> None:
        """Nothing; the next request connects anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Nothing; a request that is under way in another thread ends with WireError soon."""
        connection = self._connection
        sock = connection.sock if connection is not None else None
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # it was gone already
                return

    def _exchange(
        self, method: str, path: str, pieces: Sequence[Bytes], headers: Dict[str, str], deadline_s: float
    ) -> Tuple[http.client.HTTPResponse, int]:
        """The response's head, and when the last byte was handed to the network (ns). A kept connection that the
        server has closed meanwhile is opened once more: requests are idempotent by their id.
        """
        self._end = time.monotonic() + deadline_s
        kept = self._connection is not None
        try:
            return self._once(method, path, pieces, headers)
        except WireError as error:
            self.close()
            if not kept or error.kind != "unreachable":
                raise
            return self._once(method, path, pieces, headers)

    def _once(
        self, method: str, path: str, pieces: Sequence[Bytes], headers: Dict[str, str]
    ) -> Tuple[http.client.HTTPResponse, int]:
        started = False
        try:
            connection = self._connected()
            connection.putrequest(method, self._parts.path.rstrip("/") + path)
            for name, value in headers.items():
                connection.putheader(name, value)
            if self._endpoint.token:
                connection.putheader("Authorization", "Bearer " + self._endpoint.token)
            connection.putheader("Content-Length", str(sum(len(piece) for piece in pieces)))
            connection.endheaders()
            started = True
            for piece in pieces:
                view = memoryview(piece)
                for at in range(0, len(view), CHUNK_BYTES):
                    self._limit_time(connection)
                    connection.send(view[at : at + CHUNK_BYTES])
            sent_at = time.monotonic_ns()
            self._limit_time(connection)
            return connection.getresponse(), sent_at
        except (socket.timeout, TimeoutError) as error:
            self.close()
            raise WireError("late", "no answer from {} in time".format(self._where()), sent=started) from error
        except http.client.RemoteDisconnected as error:
            raise WireError("unreachable", "{} closed the connection".format(self._where()), started) from error
        except OSError as error:
            reason = getattr(error, "reason", None)  # that of an ssl.SSLError
            words = "{}: {}".format(self._where(), reason or (error.strerror or str(error)).lower())
            raise WireError("unreachable", words, started) from error
        except (http.client.HTTPException, ValueError) as error:
            self.close()
            words = "{} does not speak HTTP: {}".format(self._where(), type(error).__name__)
            raise WireError("garbage", words, started) from error

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            host, port = self._parts.hostname or "", self._parts.port
            left_s = self._left_s()
            if self._parts.scheme == "https":
                made: http.client.HTTPConnection = http.client.HTTPSConnection(
                    host, port, timeout=left_s, context=_trusting(self._endpoint)
                )
            else:
                made = http.client.HTTPConnection(host, port, timeout=left_s)
            made.connect()
            made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = made
        return self._connection

    def _left_s(self) -> float:
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise socket.timeout("past the deadline")
        return left_s

    def _limit_time(self, connection: http.client.HTTPConnection) -> None:
        left_s = self._left_s()
        if connection.sock is not None:
            connection.sock.settimeout(left_s)

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        """The whole body, of at most the limit; the connection is closed when the rest is not wanted."""
        length = response.length
        connection = self._connection
        try:
            if length is None or length > self._limit_bytes:
                raise WireError(
                    "too-large", "{} answers with {} bytes".format(self._where(), length or "unknown"), True
                )
            parts: List[bytes] = []
            while length > 0:
                if connection is not None:
                    self._limit_time(connection)
                part = response.read(min(length, CHUNK_BYTES))
                if not part:
                    raise WireError("unreachable", "{} broke off in its answer".format(self._where()), True)
                parts.append(part)
                length -= len(part)
            response.read()  # the end of the body, so that the connection can be used again
        except (socket.timeout, TimeoutError) as error:
            self.close()
            raise WireError("late", "no whole answer from {} in time".format(self._where()), True) from error
        except WireError:
            self.close()
            raise
        except (http.client.HTTPException, OSError, ValueError) as error:
            self.close()
            raise WireError("unreachable", "{} broke off in its answer".format(self._where()), True) from error
        if response.will_close:
            self.close()
        return b"".join(parts)

    def _where(self) -> str:
        return "{}:{}".format(self._parts.hostname, self._parts.port or {"https": 443}.get(self._parts.scheme, 80))


def _trusting(endpoint: Endpoint) -> Any:
    """The TLS context of a server. WireError where this Python has no TLS."""
    try:
        import ssl
    except ImportError as error:
        raise WireError("refused", "this Python has no TLS, so no https") from error
    return ssl.create_default_context(cafile=endpoint.ca_file, cadata=endpoint.certificates)


def _checked(url: str) -> Any:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise WireError("refused", "the server's address is http://HOST:PORT or https://HOST:PORT")
    return parts


def _header(
    tensors: Sequence[WireTensor],
    wanted: Sequence[str],
    parameters: Optional[Dict[str, Any]],
    request_id: str,
    codecs: Dict[str, str],
) -> bytes:
    inputs = []
    for tensor in tensors:
        about: Dict[str, Any] = {"binary_data_size": len(tensor.data)}
        if tensor.codec:
            about[CODEC_PARAMETER] = tensor.codec
        inputs.append(
            {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "parameters": about}
        )
    outputs: List[Dict[str, Any]] = [{"name": name, "parameters": {"binary_data": True}} for name in wanted]
    for output in outputs:
        if output["name"] in codecs:
            output["parameters"][CODEC_PARAMETER] = codecs[output["name"]]
    document: Dict[str, Any] = {"inputs": inputs, "outputs": outputs}
    if request_id:
        document["id"] = request_id
    if parameters:
        document["parameters"] = parameters
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("utf-8")


def _refusal(status: int, body: bytes) -> WireError:
    words = ""
    try:
        document = json.loads(body[:4096].decode("utf-8"))
        words = str(document.get("error", "")) if isinstance(document, dict) else ""
    except ValueError:
        words = ""
    shown = "".join(char for char in words if char.isprintable())[:200]
    kind = STATUS_KINDS.get(status, "refused")
    return WireError(kind, "the server answers {}{}".format(status, ": " + shown if shown else ""), sent=status >= 500)


def _parse(body: bytes, header_length: Optional[str]) -> Tuple[Dict[str, Any], Dict[str, WireTensor]]:
    """The parameters and tensors of an answer; its sizes are checked against what there is before they are believed."""
    try:
        length = len(body) if header_length is None else int(header_length)
        if not 0 <= length <= min(len(body), MAX_HEADER_BYTES if header_length is not None else len(body)):
            raise ValueError("the header's length")
        document = json.loads(body[:length].decode("utf-8"))
        outputs, parameters = document["outputs"], document.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise ValueError("the parameters")
        found, at = {}, length
        for output in outputs:
            tensor, at = _tensor(output, body, at)
            found[tensor.name] = tensor
        if at != len(body):
            raise ValueError("what is behind the last tensor")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WireError("garbage", "the answer is damaged: {}".format(str(error)[:80]), sent=True) from error
    return parameters, found


def _tensor(output: Dict[str, Any], body: bytes, at: int) -> Tuple[WireTensor, int]:
    name, datatype = str(output["name"]), str(output["datatype"])
    shape = tuple(int(dim) for dim in output["shape"])
    about = output.get("parameters") or {}
    item_bytes = ITEM_BYTES[DTYPES.index(datatype)]
    if any(dim < 0 for dim in shape) or span(shape) > MAX_ITEMS:
        raise ValueError("a dimension")
    size = about.get("binary_data_size")
    if size is None:
        data: Bytes = _listed(output["data"], datatype, shape)
    else:
        size = int(size)
        if size != count(shape) * item_bytes or at + size > len(body):
            raise ValueError("the size of {}".format(name[:40]))
        data = memoryview(body)[at : at + size]
        at += size
    return WireTensor(name, datatype, shape, data, str(about.get(CODEC_PARAMETER) or "")), at


def _listed(values: Any, datatype: str, shape: Tuple[int, ...]) -> Bytes:
    """A tensor that came as a list of numbers, from a server without the binary extension."""
    import numpy as np

    array = np.array(values, dtype=NUMPY_NAMES[DTYPES.index(datatype)])
    if array.size != count(shape):
        raise ValueError("the number of values")
    return array.tobytes()
