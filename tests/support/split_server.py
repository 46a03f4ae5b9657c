"""An edge server for the tests of the client: real tails on a real socket, and whatever it is told to do wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from device_agents.split import codecs
from device_agents.split.frames import DTYPES, NUMPY_NAMES
from device_agents.split.package import Package, Part
from offload.package.verify import Runner
from tests.support.wire_server import answer, reply, server


@dataclass
class EdgeServer:
    """Set ``misbehave`` to a function of (model, tensors) that gives the bytes to send, or None to serve as usual."""

    package: Package
    misbehave: Callable[[str, dict[str, Any]], bytes | None] | None = None
    delay_s: float = 0.0
    served: list[str] = field(default_factory=list)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def respond(self, head: bytes, body: bytes) -> bytes | None:
        """The answer to one request."""
        path = head.split(b" ")[1].decode()
        if not path.endswith("/infer"):
            return reply(b"")
        model, document, tensors = path.split("/")[3], *_read(head, body)
        self.parameters.append(document.get("parameters") or {})
        time.sleep(self.delay_s)
        given = None if self.misbehave is None else self.misbehave(model, tensors)
        if given is not None:
            return given if given != b"" else None
        began = time.monotonic_ns()
        part = self._part(model)
        session = Runner(self.package)._session(part.file, part)
        outputs = dict(zip(session.outputs, session.run(tensors), strict=True))
        self.served.append(model)
        spent = time.monotonic_ns() - began
        wanted = [(name, outputs[name]) for name in part.outputs]
        return answer(wanted, edgewise_package=self.package.id, service_ns=spent, inference_ns=spent)

    def _part(self, model: str) -> Part:
        for placement in self.package.placements.values():
            for part in placement.parts:
                if part.place == "server" and self.package.model_name(placement, part) == model:
                    return part
        raise KeyError(model)


def _read(head: bytes, body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"inference-h"))
    document, at, tensors = json.loads(body[:length]), length, {}
    for about in document["inputs"]:
        size = about["parameters"]["binary_data_size"]
        data, at = body[at : at + size], at + size
        if about["parameters"].get("edgewise_codec"):
            tensors[about["name"]] = codecs.decode(data)
        else:
            dtype = NUMPY_NAMES[DTYPES.index(about["datatype"])]
            tensors[about["name"]] = np.frombuffer(data, dtype).reshape(about["shape"])
    return document, tensors


@contextmanager
def edge_server(package: Package, **options: Any) -> Iterator[EdgeServer]:
    """A server for a package; ``url`` is where it listens."""
    made = EdgeServer(package, **options)
    with server(made.respond) as (url, _):
        made.url = url
        yield made


def closes(model: str, tensors: dict[str, Any]) -> bytes:
    """Closes the connection instead of answering."""
    return b""
