"""The protocol over gRPC, beside HTTP and into the same queue: for clients on a host that have grpcio.

A device has no use for it: grpcio is no small wheel, and in Python it is slower than HTTP with binary tensors. Messages
are bounded before they are received, and so is how many are received at a time; compressed ones are not taken. The
token is looked at before a message is. Only these are there: live, ready, metadata and inference; no streaming.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitTimeout
from typing import TYPE_CHECKING, Any, NoReturn

from device_agents.split.frames import DTYPES, ITEM_BYTES, count
from mobile import __version__
from mobile.errors import ConfigError, EdgewiseError, UsageError
from offload.serve import oip
from offload.serve.app import App
from offload.serve.grpc_messages import SERVICE, classes
from offload.serve.messages import Answer, Head, Refused, Request, refusal
from offload.serve.server import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

MESSAGE_BYTES = 16 << 20  # of one request; larger ones go over HTTP, which bounds what all of them take together
METADATA_BYTES = 16 << 10
LISTED = 1 << 20  # numbers that may come as numbers, and not as raw bytes
ANSWER_S = 120.0
SERIALISED = "application/grpc"
OPEN_CALLS = ("ServerLive", "ServerReady")  # asked by what watches servers, which has no token
STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 409: "FAILED_PRECONDITION",
    412: "ABORTED", 413: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


class GrpcServer:
    """Serves an App's models over gRPC in threads of its own. UsageError without grpcio.

    ``later``: hands a call over to the event loop of the App.
    """

    def __init__(self, app: App, options: Options, port: int, later: Callable[..., object]) -> None:
        try:
            import grpc
        except ImportError as error:
            raise UsageError("--grpc needs the extra: pip install 'edgewise[grpc]'") from error
        self._grpc, self._app, self._later = grpc, app, later
        self._messages = classes()
        most = min(options.limits.max_body, MESSAGE_BYTES)
        at_a_time = max(1, min(options.limits.queue, options.limits.bodies // most))
        self._threads = ThreadPoolExecutor(at_a_time, thread_name_prefix="edgewise-grpc")
        self._server = grpc.server(
            self._threads,
            interceptors=[_Doorkeeper(grpc, app)],
            options=[
                ("grpc.max_receive_message_length", most),
                ("grpc.max_metadata_size", METADATA_BYTES),
                ("grpc.compression_enabled_algorithms_bitset", 1),  # none
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=at_a_time,
        )
        self._server.add_generic_rpc_handlers((self._handlers(),))
        self.port = self._listen(options, port)

    def start(self) -> None:
        """Nothing; calls are taken from now on."""
        self._server.start()

    def stop(self, within_s: float) -> None:
        """Nothing; what was begun has been answered, within so long."""
        self._server.stop(within_s).wait(within_s + 1.0)
        self._threads.shutdown(wait=False)

    def _listen(self, options: Options, port: int) -> int:
        address = f"[{options.host}]:{port}" if ":" in options.host else f"{options.host}:{port}"
        try:
            if options.cert is None or options.key is None:
                found = self._server.add_insecure_port(address)
            else:
                pair = (options.key.read_bytes(), options.cert.read_bytes())
                found = self._server.add_secure_port(address, self._grpc.ssl_server_credentials([pair]))
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from error
        except RuntimeError as error:
            raise EdgewiseError(f"cannot listen on {address} for gRPC", "`--grpc` takes another port.") from error
        return int(found)

    def _handlers(self) -> Any:
        grpc, calls = self._grpc, {
            "ServerLive": lambda asked: self._made("ServerLiveResponse", live=True),
            "ServerReady": lambda asked: self._made("ServerReadyResponse", ready=not self._app.draining),
            "ServerMetadata": lambda asked: self._made(
                "ServerMetadataResponse", name="edgewise", version=__version__, extensions=[]
            ),
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
        }  # fmt: skip
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._answering(act), self._messages[f"{name}Request"].FromString, lambda made: made.SerializeToString()
            )
            for name, act in calls.items()
        }
        handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(
            self._infer, self._messages["ModelInferRequest"].FromString, bytes
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _answering(self, act: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        def answer(asked: Any, context: Any) -> Any:
            try:
                return act(asked)
            except Refused as error:
                self._refuse(context, error.status, error.message)

        return answer

    def _made(self, message: str, /, **fields: Any) -> Any:
        return self._messages[message](**fields)

    def _model_ready(self, asked: Any) -> Any:
        self._app.described(asked.name, asked.version)
        return self._made("ModelReadyResponse", ready=not self._app.draining)

    def _model_metadata(self, asked: Any) -> Any:
        told = self._app.described(asked.name, asked.version)
        told.pop("parameters")
        return self._made("ModelMetadataResponse", **told)

    def _infer(self, asked: Any, context: Any) -> bytes:
        """The serialised answer; the call is in a thread of its own, and the work is done by the pipeline."""
        began_ns = time.monotonic_ns()
        answered: Future[Answer] = Future()
        left_s = context.time_remaining()
        try:
            if asked.model_version not in ("", *oip.VERSIONS):
                raise Refused(404, "there is no such model here")
            request = _request(asked, began_ns)
            taken_apart = request_of(asked, left_s)
        except Refused as error:
            self._refuse(context, error.status, error.message)
        context.add_callback(lambda: setattr(request, "gone", not answered.done()))
        try:
            self._later(self._app.infer, request, asked.model_name, taken_apart, self._form, answered.set_result)
            answer = answered.result(min(left_s, ANSWER_S) if left_s is not None else ANSWER_S)
        except (WaitTimeout, RuntimeError):  # RuntimeError: the event loop has ended
            answer = refusal(Refused(503, "the server gives no answer"))
        if answer.status != 200:
            self._refuse(context, answer.status, json.loads(bytes(answer.pieces[0]))["error"])
        return bytes(answer.pieces[0])

    def _refuse(self, context: Any, status: int, message: str) -> NoReturn:
        context.abort(getattr(self._grpc.StatusCode, STATUSES.get(status, "INTERNAL")), message)
        raise AssertionError("abort raises")

    def _form(
        self, model: str, asked: oip.InferRequest, tensors: Sequence[tuple[oip.Wanted, Any]], told: Mapping[str, Any]
    ) -> Answer:
        """The answer as a serialised message."""
        made = self._messages["ModelInferResponse"](model_name=model, model_version=oip.VERSIONS[0], id=asked.id)
        for key, value in told.items():
            set_parameter(made.parameters[key], value)
        for wanted, value in tensors:
            output = made.outputs.add(name=wanted.name)
            if isinstance(value, bytes):
                output.datatype, data = "UINT8", value
                output.shape.append(len(value))
                set_parameter(output.parameters[oip.CODEC], wanted.codec)
            else:
                output.datatype, data = oip.datatype_of(value), value.tobytes()
                output.shape.extend(value.shape)
            made.raw_output_contents.append(data)
        return Answer(200, (made.SerializeToString(),), SERIALISED)


class _Doorkeeper:
    """Looks at the token before a call's message is received. Serves as grpc's ServerInterceptor."""

    def __init__(self, grpc: Any, app: App) -> None:
        self._app = app

        def refuse(asked: Any, context: Any) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a bearer token is needed, and this is not it")

        self._refusal = grpc.unary_unary_rpc_method_handler(refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """The handler of a call."""
        if details.method.rpartition("/")[2] in OPEN_CALLS:
            return continuation(details)
        shown = next((value for key, value in details.invocation_metadata if key == "authorization"), "")
        try:
            self._app.authorise(shown.encode("utf-8", "replace") if isinstance(shown, str) else shown)
        except Refused:
            return self._refusal
        return continuation(details)


def request_of(asked: Any, left_s: float | None) -> oip.InferRequest:
    """The request of a ModelInferRequest, as the pipeline takes it. Refused(400) says what is wrong with it.

    ``left_s``: until the call's own deadline, None without one.
    """
    options = {key: parameter(value) for key, value in asked.parameters.items()}
    if max(len(asked.inputs), len(asked.outputs)) > oip.MAX_TENSORS:
        raise Refused(400, f"at most {oip.MAX_TENSORS} tensors are taken")
    raw = asked.raw_input_contents
    if raw and len(raw) != len(asked.inputs):
        raise Refused(400, f"{len(asked.inputs)} inputs have {len(raw)} raw contents")
    inputs = tuple(_input(tensor, raw[at] if raw else None) for at, tensor in enumerate(asked.inputs))
    outputs = tuple(oip.Wanted(one.name, True, _codec(one.parameters)) for one in asked.outputs) or None
    oip.once("input", [tensor.name for tensor in inputs])
    oip.once("output", [one.name for one in outputs or ()])
    deadline_ms = oip.deadline_of(options.get("edgewise_deadline_ms"))
    if left_s is not None:
        deadline_ms = min(left_s * 1e3, deadline_ms if deadline_ms is not None else oip.MAX_DEADLINE_MS)
    return oip.InferRequest(oip.id_of(asked.id), inputs, outputs, True, oip.package_of(options), deadline_ms)


def _request(asked: Any, began_ns: int) -> Request:
    """The call as the App counts it; its body is the last tensor's, of which the end tells requests apart."""
    raw = asked.raw_input_contents
    head = Head("POST", f"/{SERVICE}/ModelInfer", "", {}, None, None, True, False)
    return Request(head, memoryview(raw[-1] if raw else b""), asked.ByteSize(), began_ns, time.monotonic_ns())


def _input(tensor: Any, raw: bytes | None) -> oip.TensorIn:
    shape = tuple(tensor.shape)
    if tensor.datatype not in DTYPES:
        raise Refused(400, f"input {tensor.name[:80]!r}: datatype {tensor.datatype[:80]!r} is not supported")
    if len(shape) > oip.MAX_DIMS or not all(0 <= dim < 2**40 for dim in shape):
        raise Refused(400, f"input {tensor.name[:80]!r}: its shape is at most {oip.MAX_DIMS} whole numbers")
    oip.within_size(shape, tensor.name)
    codec = _codec(tensor.parameters)
    if codec and (tensor.datatype != "UINT8" or len(shape) != 1 or raw is None):
        raise Refused(400, f"input {tensor.name[:80]!r}: what is coded travels as UINT8 of one dimension, raw")
    if raw is None:
        return oip.TensorIn(tensor.name, tensor.datatype, shape, None, _listed(tensor), "")
    want = count(shape) * ITEM_BYTES[DTYPES.index(tensor.datatype)]
    if len(raw) != want:
        raise Refused(400, f"input {tensor.name[:80]!r}: {tensor.datatype} of shape {list(shape)} takes {want} bytes")
    return oip.TensorIn(tensor.name, tensor.datatype, shape, memoryview(raw), None, codec)


def _listed(tensor: Any) -> NDArray[Any]:
    """The numbers of a tensor that came as such."""
    import numpy as np

    found = [(field.name, value) for field, value in tensor.contents.ListFields()]
    if not found and not count(tuple(tensor.shape)):
        return np.empty(0)
    if len(found) != 1 or found[0][0] == "bytes_contents" or len(found[0][1]) > LISTED:
        raise Refused(400, f"input {tensor.name[:80]!r}: one list of at most {LISTED} numbers is wanted, or raw bytes")
    return np.array(found[0][1])


def _codec(parameters: Any) -> str:
    return oip.codec_of({oip.CODEC: parameter(parameters[oip.CODEC])} if oip.CODEC in parameters else {})


def parameter(told: Any) -> Any:
    """The value of an InferParameter, None for an empty one."""
    which = told.WhichOneof("parameter_choice")
    return getattr(told, which) if which is not None else None


def set_parameter(made: Any, value: str | int | float | bool) -> None:
    """Nothing; the InferParameter has the value."""
    kinds = ((bool, "bool_param"), (int, "int64_param"), (float, "double_param"), (str, "string_param"))
    setattr(made, next(field for kind, field in kinds if isinstance(value, kind)), value)
