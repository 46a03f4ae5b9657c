"""What the server counts, for Prometheus."""

from __future__ import annotations

from typing import Any

from mobile.errors import UsageError

PREFIX = "edgewise_serve"
STAGES = ("queue", "decode", "inference", "encode", "service")
# From 50 us, a small tail's time, to 10 s.
SECONDS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one server, in a registry of its own. A client can make no new labels."""

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise UsageError("a server needs the extra: pip install 'edgewise[split]'") from error
        self._prometheus = prometheus
        self.registry = prometheus.CollectorRegistry()

        def made(kind: Any, name: str, words: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"{PREFIX}_{name}", words, labels, registry=self.registry, **more)

        self._requests = made(prometheus.Counter, "requests", "Requests that were answered", ("model", "status"))
        self._received = made(prometheus.Counter, "received_bytes", "Bytes of bodies that came")
        self._sent = made(prometheus.Counter, "sent_bytes", "Bytes of bodies that were sent")
        self._stages = made(
            prometheus.Histogram, "stage_seconds", "Time of a request's stages", ("stage",), buckets=SECONDS
        )
        self._batch = made(
            prometheus.Histogram, "batch_requests", "Requests that ran as one", buckets=(1, 2, 4, 8, 16, 32)
        )
        self.load = made(prometheus.Gauge, "load", "Requests in the server now")
        self._tails = made(prometheus.Gauge, "loaded_tails", "Models in memory")
        self._tail_bytes = made(prometheus.Gauge, "loaded_bytes", "Size of the files of the models in memory")
        self._loads = made(prometheus.Counter, "loads", "Models that were loaded")
        self._again = made(prometheus.Counter, "answered_again", "Requests sent again and answered from memory")
        self._faults = made(prometheus.Counter, "faults", "Faults of the server itself", ("kind",))
        self._of_stage = {stage: self._stages.labels(stage) for stage in STAGES}

    def answered(self, model: str, status: int, received_bytes: int, sent_bytes: int) -> None:
        """One request was answered."""
        self._requests.labels(model, str(status)).inc()
        self._received.inc(received_bytes)
        self._sent.inc(sent_bytes)

    def stages(self, times_ns: dict[str, int]) -> None:
        """The times of one request's stages, "queue_ns" and so on."""
        for stage, histogram in self._of_stage.items():
            found = times_ns.get(f"{stage}_ns")
            if found is not None:
                histogram.observe(found * 1e-9)

    def fault(self, kind: str) -> None:
        """Something happened that the server should never do; ``kind`` is the exception's type."""
        self._faults.labels(kind).inc()

    def ran(self, requests: int) -> None:
        """So many requests ran as one."""
        self._batch.observe(requests)

    def again(self) -> None:
        """A request came again and was not computed again."""
        self._again.inc()

    def loaded(self, count: int, size_bytes: int) -> None:
        """A model was loaded; so many are there now."""
        self._loads.inc()
        self._tails.set(count)
        self._tail_bytes.set(size_bytes)

    def text(self) -> bytes:
        """The counters in Prometheus' text format."""
        made: bytes = self._prometheus.generate_latest(self.registry)
        return made

    @property
    def content_type(self) -> str:
        """The type of that text."""
        kind: str = self._prometheus.CONTENT_TYPE_LATEST
        return kind
