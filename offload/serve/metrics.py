"""What the server counts, for Prometheus."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mobile.errors import UsageError

PREFIX = "edgewise_serve"
STAGES = ("queue", "decode", "inference", "encode", "service")
# From 50 us, a small tail's time, to 10 s.
SECONDS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REQUESTS = (1, 2, 4, 8, 16, 32)


class _Spread:
    """How often a figure was within each bound (inclusive, as Prometheus has it), and its sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, figure: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, figure)] += 1
        self.sum += figure

    def buckets(self, shown: Any) -> list[tuple[str, int]]:
        """(bound, how many up to it) for each bound and for all."""
        found, total = [], 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            found.append((shown(bound), total))
        return found


class Metrics:
    """Counters of one server, in a registry of its own. A client can make no new labels.

    What is counted for every request is counted in plain numbers and put into Prometheus' form when it is asked for:
    the library's own counters cost a small request as much as its inference.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
            import prometheus_client.core
            import prometheus_client.utils
        except ImportError as error:
            raise UsageError("a server needs the extra: pip install 'edgewise[split]'") from error
        self._prometheus = prometheus
        self.registry = prometheus.CollectorRegistry()

        def made(kind: Any, name: str, words: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"{PREFIX}_{name}", words, labels, registry=self.registry, **more)

        self._lock = threading.Lock()
        self._answered: Counter[tuple[str, int]] = Counter()
        self._received_bytes = self._sent_bytes = 0
        self._stages = {stage: _Spread(SECONDS) for stage in STAGES}
        self._batch = _Spread(REQUESTS)
        self.registry.register(self)
        self.load = made(prometheus.Gauge, "load", "Requests in the server now")
        self._tails = made(prometheus.Gauge, "loaded_tails", "Models in memory")
        self._tail_bytes = made(prometheus.Gauge, "loaded_bytes", "Size of the files of the models in memory")
        self._loads = made(prometheus.Counter, "loads", "Models that were loaded")
        self._again = made(prometheus.Counter, "answered_again", "Requests sent again and answered from memory")
        self._faults = made(prometheus.Counter, "faults", "Faults of the server itself", ("kind",))

    def answered(self, model: str, status: int, received_bytes: int, sent_bytes: int) -> None:
        """One request was answered."""
        with self._lock:
            self._answered[model, status] += 1
            self._received_bytes += received_bytes
            self._sent_bytes += sent_bytes

    def stages(self, times_ns: dict[str, int]) -> None:
        """The times of one request's stages, "queue_ns" and so on."""
        with self._lock:
            for stage, spread in self._stages.items():
                found = times_ns.get(stage + "_ns")
                if found is not None:
                    spread.add(found * 1e-9)

    def fault(self, kind: str) -> None:
        """Something happened that the server should never do; ``kind`` is the exception's type."""
        self._faults.labels(kind).inc()

    def ran(self, requests: int) -> None:
        """So many requests ran as one."""
        with self._lock:
            self._batch.add(requests)

    def again(self) -> None:
        """A request came again and was not computed again."""
        self._again.inc()

    def loaded(self, count: int, size_bytes: int) -> None:
        """A model was loaded; so many are there now."""
        self._loads.inc()
        self._tails.set(count)
        self._tail_bytes.set(size_bytes)

    def collect(self) -> Iterator[Any]:
        """The plain numbers as the library wants them: it calls this for each scrape."""
        core, shown = self._prometheus.core, self._prometheus.utils.floatToGoString

        def counter(name: str, words: str, value: float | None = None, labels: Sequence[str] | None = None) -> Any:
            return core.CounterMetricFamily(f"{PREFIX}_{name}", words, value, labels)

        with self._lock:
            answered = dict(self._answered)
            received, sent = self._received_bytes, self._sent_bytes
            stages = {stage: (spread.buckets(shown), spread.sum) for stage, spread in self._stages.items()}
            batch = self._batch.buckets(shown), self._batch.sum
        requests = counter("requests", "Requests that were answered", labels=("model", "status"))
        for (model, status), count in answered.items():
            requests.add_metric((model, str(status)), count)
        yield requests
        yield counter("received_bytes", "Bytes of bodies that came", received)
        yield counter("sent_bytes", "Bytes of bodies that were sent", sent)
        times = core.HistogramMetricFamily(f"{PREFIX}_stage_seconds", "Time of a request's stages", labels=("stage",))
        for stage, (buckets, total) in stages.items():
            times.add_metric((stage,), buckets, total)
        yield times
        yield core.HistogramMetricFamily(f"{PREFIX}_batch_requests", "Requests that ran as one", *batch)

    def text(self) -> bytes:
        """The counters in Prometheus' text format."""
        made: bytes = self._prometheus.generate_latest(self.registry)
        return made

    @property
    def content_type(self) -> str:
        """The type of that text."""
        kind: str = self._prometheus.CONTENT_TYPE_LATEST
        return kind
