"""The paths of the server: who may ask what, and what is answered."""

from __future__ import annotations

import hmac
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mobile import __version__
from offload.serve import oip
from offload.serve.compressed import coding_of
from offload.serve.connection import Admission
from offload.serve.messages import Answer, Head, Refused, Request, document, refusal
from offload.serve.metrics import Metrics
from offload.serve.models import Model
from offload.serve.pipeline import Form, Job, Pipeline
from offload.serve.tails import Engine

Respond = Callable[[Answer], None]
MAX_LINK_BYTES = 64 << 20  # each way of one measurement of the link
BUSY = [("Retry-After", "1")]
# Bytes that no link can compress; what is measured is the link.
_FILL = memoryview(os.urandom(1 << 20))
PLAIN_PATHS = ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index", "/metrics")
OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")  # asked by what watches servers, which has no token


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes. ``queue``: requests that may be in the server. ``bodies``: of all bodies that are in memory, and
    again of all that was decoded from them."""

    max_body: int = 64 << 20
    queue: int = 64
    max_batch: int = 8
    bodies: int = 256 << 20


class App:
    """Answers requests. It runs on the event loop; ``later`` hands a call over to it from other threads."""

    def __init__(
        self,
        models: Mapping[str, Model],
        engine: Engine,
        metrics: Metrics,
        limits: Limits,
        token: str | None,
        later: Callable[..., object],
        log: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._models, self._metrics, self._limits, self._log = models, metrics, limits, log
        self._infer_paths = {f"/v2/models/{name}/infer": model for name, model in models.items()}
        self._secret = token.encode("utf-8") if token else None
        self._later = later
        self._bodies = 0
        self.load = 0
        self.draining = False
        sizes = (limits.max_body, limits.bodies)
        self._pipeline = Pipeline(engine, metrics, limits.max_batch, sizes, lambda: self.load)

    def close(self) -> None:
        """Nothing; waits for what is running."""
        self._pipeline.close()

    def admit(self, head: Head) -> Admission:
        """What to do with a request's body. Refused says why it is not wanted, before a byte of it is kept."""
        try:
            return self._admitted(head)
        except Refused as error:
            self._note(head, "", error.status, 0, 0)
            raise

    def handle(self, request: Request, respond: Callable[[Answer], None]) -> None:
        """Answers a request, at once or when it has been computed."""
        try:
            if request.head.path.endswith("/infer"):
                self._infer(request, respond)
                return
            answer = self._plain(request)
        except Refused as error:
            answer = refusal(error)
        respond(answer)  # counted when it is on its way
        self._note(request.head, "", answer.status, request.received_bytes, answer.size_bytes)

    def _admitted(self, head: Head) -> Admission:
        path = head.path
        if path not in OPEN_PATHS:
            self._authorise(head)
        if path == "/edgewise/link":
            _method(head, "POST")
            _within(head, MAX_LINK_BYTES)
            return Admission(MAX_LINK_BYTES, keep=False)
        if path.startswith("/v2/models/"):
            self._model(path)
        elif path.rstrip("/") not in PLAIN_PATHS:
            raise Refused(404, "there is no such path")
        if not path.endswith("/infer"):
            _method(head, "POST" if path == "/v2/repository/index" else "GET")
            _within(head, oip.MAX_HEADER_BYTES)
            return Admission(oip.MAX_HEADER_BYTES, keep=False)
        _method(head, "POST")
        coding_of(head.headers.get(b"content-encoding"))
        most = self._limits.max_body
        if head.header_length is None:
            most = min(most, oip.MAX_JSON_BYTES)
        _within(head, most)
        size = most if head.length is None else head.length
        if self.draining or self.load >= self._limits.queue or self._bodies + size > self._limits.bodies:
            raise _busy()
        self._bodies += size
        return Admission(most, release=lambda: self._forget(size))

    def _forget(self, size_bytes: int) -> None:
        self._bodies -= size_bytes

    def _authorise(self, head: Head) -> None:
        """Nothing; Refused(401) without the right token, after a time that tells nothing of it."""
        self.authorise(head.headers.get(b"authorization", b""))

    def authorise(self, shown: bytes) -> None:
        """The same for what a client shows as its authorization."""
        if self._secret is None:
            return
        kind, _, given = shown.partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._secret):
            raise Refused(401, "a bearer token is needed, and this is not it", [("WWW-Authenticate", "Bearer")])

    def _model(self, path: str) -> Model:
        """The model of a path /v2/models/M[/versions/V][/...]. Refused(404) when there is none."""
        commonest = self._infer_paths.get(path)
        if commonest is not None:
            return commonest
        parts = path.rstrip("/").split("/")
        model = self._models.get(parts[3]) if len(parts) > 3 else None
        if model is None:
            raise Refused(404, "there is no such model here")
        rest = parts[4:]
        if rest[:1] == ["versions"]:
            if len(rest) < 2 or rest[1] not in oip.VERSIONS:
                raise Refused(404, f"model {model.name} has version {oip.VERSIONS[0]} only")
            rest = rest[2:]
        if rest not in ([], ["ready"], ["infer"]):
            raise Refused(404, "there is no such path")
        return model

    def _plain(self, request: Request) -> Answer:
        """The answer to everything but inference."""
        path, ready = request.head.path.rstrip("/"), not self.draining
        if path == "/v2":
            return document({"name": "edgewise", "version": __version__, "extensions": ["binary_tensor_data"]})
        if path == "/v2/health/live":
            return document({"live": True})
        if path == "/v2/health/ready":
            return document({"ready": ready}, 200 if ready else 503)
        if path == "/v2/repository/index":
            return _json([{"name": name, "version": oip.VERSIONS[0], "state": "READY"} for name in self._models])
        if path == "/metrics":
            self._metrics.load.set(self.load)
            return Answer(200, (self._metrics.text(),), self._metrics.content_type)
        if path == "/edgewise/link":
            return _link(request)
        model = self._model(path)
        if path.endswith("/ready"):
            return document({"name": model.name, "ready": ready}, 200 if ready else 503)
        return document(model.metadata())

    def _infer(self, request: Request, respond: Callable[[Answer], None]) -> None:
        model = self._model(request.head.path)
        coding = coding_of(request.head.headers.get(b"content-encoding"))
        self._start(Job(request, model, request.head.header_length, _nobody, coding=coding), respond)

    def infer(self, request: Request, name: str, asked: oip.InferRequest, form: Form, respond: Respond) -> None:
        """Answers a request of another protocol than HTTP, whose words have been taken apart already. Called on the
        event loop, as is ``respond``.
        """
        try:
            model = self._models.get(name)
            if model is None:
                raise Refused(404, "there is no such model here")
            if self.draining:
                raise _busy()
            self._start(Job(request, model, None, _nobody, asked, form), respond)
        except Refused as error:
            respond(refusal(error))
            self._note(request.head, "", error.status, request.received_bytes, 0)

    def described(self, name: str, version: str) -> dict[str, Any]:
        """A model's description in the protocol. Refused(404) when there is none of that name and version."""
        model = self._models.get(name)
        if model is None or version not in ("", *oip.VERSIONS):
            raise Refused(404, "there is no such model here")
        return model.metadata()

    def _start(self, job: Job, respond: Respond) -> None:
        if self.load >= self._limits.queue:
            raise _busy()
        request = job.request

        def done(answer: Answer) -> None:
            self.load -= 1
            respond(answer)  # counted when it is on its way
            asked = job.asked.id if job.asked is not None else ""
            self._note(
                request.head, job.model.name, answer.status, request.received_bytes, answer.size_bytes, asked, job
            )
            self._metrics.stages(job.times)

        self.load += 1
        if self.load == 1 and self._pipeline.is_quick(job):
            job.give = done
            self._pipeline.run_here(job)
            return
        job.give = lambda answer: self._hand_over(done, answer)
        self._pipeline.submit(job)

    def _hand_over(self, done: Callable[[Answer], None], answer: Answer) -> None:
        try:
            self._later(done, answer)
        except RuntimeError:  # the event loop has ended: nobody waits any more
            return

    def _note(
        self, head: Head, model: str, status: int, received: int, sent: int, asked: str = "", job: Job | None = None
    ) -> None:
        self._metrics.answered(model, status, received, sent)
        if self._log is not None:
            line = {"event": "request", "method": head.method, "path": head.path[:300], "status": status}
            line.update(received_bytes=received, sent_bytes=sent)
            if asked:
                line["id"] = asked
            self._log({**line, **job.times} if job is not None else line)


def _nobody(answer: Answer) -> None:
    """Nothing: whom a new job's answer goes to is said before it runs."""


def _busy() -> Refused:
    return Refused(503, "the server is busy", BUSY)


def _method(head: Head, method: str) -> None:
    if head.method != method:
        raise Refused(405, f"{method} is the method of this path", [("Allow", method)])


def _within(head: Head, most: int) -> None:
    if head.length is not None and head.length > most:
        raise Refused(413, f"a body may have {most} bytes here")


def _json(items: list[dict[str, Any]]) -> Answer:
    return Answer(200, (json.dumps(items).encode("utf-8"),))


def _link(request: Request) -> Answer:
    """As many bytes as ?down= asks for, and how long we had the request (Edgewise-Service-Ns)."""
    text = request.head.query.removeprefix("down=") or "0"
    if not text.isascii() or not text.isdigit() or int(text[:20]) > MAX_LINK_BYTES:
        raise Refused(400, f"down is a number of bytes, at most {MAX_LINK_BYTES}")
    wanted, pieces = int(text), []
    while wanted > 0:
        pieces.append(_FILL[:wanted])
        wanted -= len(_FILL)
    told = ("Edgewise-Service-Ns", str(time.monotonic_ns() - request.arrived_ns))
    received = ("Edgewise-Received-Bytes", str(request.received_bytes))
    return Answer(200, pieces, "application/octet-stream", (told, received))
