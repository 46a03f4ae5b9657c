"""What happens to an inference request: taken apart, decoded, run with others where that is right, encoded.

All of it is done by a few threads; the event loop only hands over. A request that finds its model free runs at once.
One that finds it busy waits in the model's lane and runs together with all others there, so batches grow with the
load and nobody waits for company. Only when others of the same model are being decoded just now, a run waits for them,
at most ``WAIT_S``.

A request for a model that has been quick with such, when nothing else is in the server, is done on the event loop
itself: the way to a thread and back would take longer than the work.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device_agents.split.codecs import Range, encode, parse
from device_agents.split.delta import Streams
from device_agents.split.frames import CodecError
from offload.serve import oip
from offload.serve.answers import Answers, Key
from offload.serve.compressed import opened
from offload.serve.messages import Answer, Refused, Request, refusal
from offload.serve.metrics import Metrics
from offload.serve.models import Model
from offload.serve.tails import Engine, apart, rows_of, together
from offload.serve.threads import Threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Form = Callable[[str, oip.InferRequest, Sequence[tuple[oip.Wanted, Any]], Mapping[str, Any]], Answer]
WAIT_S = 0.002
THREADS = min(8, 2 + (os.cpu_count() or 1))  # those that decode, and one in each model that runs
CLOSE_S = 8.0
QUICK_S, QUICK_BYTES = 0.001, 4 << 20  # what may run on the event loop, where others wait for it
FORGET = 0.2  # of a request that was slow, with each one that is quicker
TAIL_BYTES = 64  # of a body that belong to a request's identity: a frame's check sum is there


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way. ``give``: takes the answer, from any thread. Times are ns of our clock.

    ``asked``: the request, None until its body has been taken apart; ``form``: makes the answer as its client reads it;
    ``coding``: how the body is compressed, "" for not.
    """

    request: Request
    model: Model
    header_length: int | None
    give: Callable[[Answer], None]
    asked: oip.InferRequest | None = None
    form: Form = oip.answer
    coding: str = ""
    wanted: tuple[oip.Wanted, ...] = ()
    feeds: Mapping[str, Array] = field(default_factory=dict)
    key: Key | None = None
    decoded_bytes: int = 0
    entered_ns: int = 0
    times: dict[str, int] = field(default_factory=dict)

    def late(self) -> bool:
        """Whether the client's deadline has passed."""
        limit_ms = self.asked.deadline_ms if self.asked is not None else None
        return limit_ms is not None and (time.monotonic_ns() - self.request.began_ns) * 1e-6 >= limit_ms

    def group(self) -> object:
        """Equal for requests that may run as one."""
        return sorted((name, array.dtype.str, array.shape[1:]) for name, array in self.feeds.items())


class _Lane:
    """The requests of one model that wait to be run."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: deque[Job] = deque()
        self.running = 0
        self.coming = 0  # requests that are being decoded
        # Seconds of the work on a request by the bits of its body's length: the longest, which fades.
        self.usual_s: dict[int, float] = {}


class Pipeline:
    """Takes requests and answers them. ``load``: how many requests are in the server.

    ``sizes``: bytes that one frame may decode to where the model leaves it open, and of all decoded frames that wait.
    """

    def __init__(
        self, engine: Engine, metrics: Metrics, max_batch: int, sizes: tuple[int, int], load: Callable[[], int]
    ) -> None:
        self._engine, self._metrics, self._max_batch, self._load = engine, metrics, max_batch, load
        self._limit_bytes, self._limit_decoded_bytes = sizes
        self._decoded_bytes, self._counting = 0, threading.Lock()
        self._answers, self._streams = Answers(), Streams()
        self._lanes: defaultdict[str, _Lane] = defaultdict(_Lane)
        self._pool = Threads(THREADS, "edgewise-serve")

    def submit(self, job: Job) -> None:
        """Nothing; the job is answered later. Called on the event loop."""
        lane = self._lanes[job.model.name]
        with lane.changed:
            lane.coming += 1
        self._pool.submit(self._take, job, lane)

    def is_quick(self, job: Job) -> bool:
        """Whether a model is loaded and has been quick with such requests. Called on the event loop, as is run_here."""
        size = len(job.request.body)
        usual_s = self._lanes[job.model.name].usual_s.get(size.bit_length(), math.inf)
        return usual_s <= QUICK_S and size <= QUICK_BYTES and not job.coding and self._engine.at_hand(job.model)

    def run_here(self, job: Job) -> None:
        """Nothing; the job has been answered. Only for one that is quick, with nothing else in the server: so it needs
        no lane.
        """
        try:
            if self._prepare(job):
                job.entered_ns = time.monotonic_ns()
                self._run([job])
        except Exception as error:  # noqa: BLE001 - as in the threads: one request must not end the server
            self._finish(job, refusal(error) if isinstance(error, Refused) else _fault(error))

    def close(self) -> None:
        """Nothing; waits for what is running."""
        self._pool.close(CLOSE_S)
        self._engine.close()

    def _take(self, job: Job, lane: _Lane) -> None:
        ready = False
        try:
            ready = self._prepare(job)
        except Refused as error:
            self._finish(job, refusal(error))
        except Exception as error:  # noqa: BLE001 - the thread's outermost edge: one request must not end the server
            self._finish(job, _fault(error))
        with lane.changed:
            lane.coming -= 1
            lead = ready and lane.running < self._engine.lanes
            if ready:
                job.entered_ns = time.monotonic_ns()
                lane.waiting.append(job)
            if lead:
                lane.running += 1
            lane.changed.notify_all()
        if lead:
            self._serve(lane)

    def _prepare(self, job: Job) -> bool:
        """Whether the job is ready to run; False when its answer is known or on its way."""
        began = time.monotonic_ns()
        job.times["queue_ns"] = began - job.request.arrived_ns
        if job.coding:
            limit_bytes = self._limit_bytes if job.header_length is not None else oip.MAX_JSON_BYTES
            job.request.body = opened(job.request.body, job.coding, min(limit_bytes, self._limit_bytes))
            self._count(job, len(job.request.body))
        asked = job.asked or oip.parse_request(job.request.body, job.header_length)
        job.asked = asked
        if asked.package and asked.package != job.model.package.id:
            raise Refused(
                409, f"model {job.model.name} is of package {job.model.package.id[:16]}, not of the one asked for"
            )
        if job.late():
            raise Refused(504, "the deadline had passed before the request could run")
        if asked.id and asked.package:
            key = self._key(job, asked)
            if not self._answers.claim(key, job.give):
                self._metrics.again()
                return False
            job.key = key
        job.wanted = asked.wanted([value.name for value in job.model.outputs])
        job.feeds = job.model.feeds(asked.inputs, self._limit_bytes, self._streams)
        self._count(job, sum(job.feeds[tensor.name].nbytes for tensor in asked.inputs if tensor.codec))
        job.times["decode_ns"] = time.monotonic_ns() - began
        return True

    def _count(self, job: Job, size_bytes: int) -> None:
        """Notes what a job takes beside its body: what was opened of it, frames that were decoded. Refused(503) when
        that is too much with others'.
        """
        if not size_bytes:
            return
        with self._counting:
            if self._decoded_bytes + size_bytes > self._limit_decoded_bytes:
                raise Refused(503, "the server is busy", [("Retry-After", "1")])
            self._decoded_bytes += size_bytes
            job.decoded_bytes += size_bytes

    def _key(self, job: Job, asked: oip.InferRequest) -> Key:
        """What makes a request the same one: protocol, model, id, the words in front of its tensors without the
        deadline, and the end of its bytes. Ids of clients that name no package are theirs: those promise nothing of
        being unique.
        """
        tensors = tuple((tensor.name, tensor.datatype, tensor.shape, tensor.codec) for tensor in asked.inputs)
        body = job.request.body
        return (job.form, job.model.name, asked.id, tensors, asked.outputs, len(body), bytes(body[-TAIL_BYTES:]))

    def _serve(self, lane: _Lane) -> None:
        """Runs one batch of a lane, and hands the lane on when more wait."""
        try:
            self._run_or_refuse(self._gather(lane))
        except Exception as error:  # noqa: BLE001 - the thread's outermost edge; the lane must go on
            self._metrics.fault(type(error).__name__)
        with lane.changed:
            more = bool(lane.waiting)
            if not more:
                lane.running -= 1
        if more:
            self._pool.submit(self._serve, lane)

    def _run_or_refuse(self, jobs: list[Job]) -> None:
        """Answers all jobs. What fails together is run one by one: a bad request must not spoil those beside it."""
        try:
            self._run(jobs)
        except Exception as error:  # noqa: BLE001 - the thread's outermost edge: one request must not end the server
            if len(jobs) > 1:
                for job in jobs:
                    self._run_or_refuse([job])
            elif jobs:
                self._finish(jobs[0], refusal(error) if isinstance(error, Refused) else _fault(error))

    def _gather(self, lane: _Lane) -> list[Job]:
        """The first job that waits, and those that may run with it."""
        with lane.changed:
            first = self._next(lane)
        if first is None:
            return []
        jobs = [first]
        if self._max_batch < 2 or not first.model.free_rows or rows_of(first.feeds) is None:
            return jobs
        with lane.changed:
            alone = not lane.waiting and not lane.coming
        if alone or not self._engine.batches(first.model, first.feeds):
            return jobs
        group, end = first.group(), time.monotonic() + WAIT_S
        with lane.changed:
            while len(jobs) < self._max_batch:
                if not lane.waiting and not (lane.coming and lane.changed.wait(max(0.0, end - time.monotonic()))):
                    break
                if lane.waiting and (lane.waiting[0].group() != group or rows_of(lane.waiting[0].feeds) is None):
                    break
                job = self._next(lane)
                if job is not None:
                    jobs.append(job)
        return jobs

    def _next(self, lane: _Lane) -> Job | None:
        """The next job whose answer somebody still waits for. The lane's lock is held."""
        while lane.waiting:
            job = lane.waiting.popleft()
            if job.late():
                self._finish(job, refusal(Refused(504, "the deadline passed while the request waited")))
            elif job.request.gone and job.key is None:
                self._finish(job, refusal(Refused(503, "the client has gone")))
            else:
                return job
        return None

    def _run(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        model, began = jobs[0].model, time.monotonic_ns()
        rows = [rows_of(job.feeds) or 0 for job in jobs] if len(jobs) > 1 else []
        outputs, loading_ns = self._engine.run(model, together([job.feeds for job in jobs]) if rows else jobs[0].feeds)
        if rows and any(len(array) != sum(rows) for array in outputs):
            raise Refused(500, "the model mixed the rows of several requests")  # so each is run alone
        ended = time.monotonic_ns()
        for job, found in zip(jobs, apart(outputs, rows) if rows else [outputs], strict=True):
            job.times["queue_ns"] += began - job.entered_ns
            job.times["inference_ns"] = ended - began - loading_ns
            if loading_ns:
                job.times["loading_ns"] = loading_ns
            if job is jobs[0]:
                self._answer(job, found)
            else:
                self._pool.submit(self._answer, job, found)
        self._metrics.ran(len(jobs))

    def _answer(self, job: Job, outputs: list[Array]) -> None:
        """Encodes a job's outputs and answers."""
        try:
            answer = self._encoded(job, outputs)
        except Refused as error:
            answer = refusal(error)
        except Exception as error:  # noqa: BLE001 - the thread's outermost edge: one request must not end the server
            answer = _fault(error)
        self._finish(job, answer)

    def _encoded(self, job: Job, outputs: list[Array]) -> Answer:
        asked = job.asked
        if asked is None:
            raise ValueError("the job was not prepared")
        began, named = time.monotonic_ns(), dict(zip((v.name for v in job.model.outputs), outputs, strict=True))
        ranges = job.model.package.ranges
        tensors = [(one, _coded(named[one.name], one, ranges.get(one.name))) for one in job.wanted]
        ended = time.monotonic_ns()
        job.times["encode_ns"] = ended - began
        self._note_work(job)
        job.times["service_ns"] = ended - job.request.arrived_ns
        told = {"edgewise_package": job.model.package.id, **job.times, "load": self._load()}
        return job.form(job.model.name, asked, tensors, told)

    def _note_work(self, job: Job) -> None:
        """Nothing; what the work on this request took is known for the next one of its size."""
        taken_s = (job.times["decode_ns"] + job.times["inference_ns"] + job.times["encode_ns"]) * 1e-9
        usual_s, size = self._lanes[job.model.name].usual_s, len(job.request.body).bit_length()
        before_s = usual_s.get(size, taken_s)
        usual_s[size] = max(taken_s, before_s + FORGET * (taken_s - before_s))

    def _finish(self, job: Job, answer: Answer) -> None:
        job.feeds = {}
        if job.decoded_bytes:
            with self._counting:
                self._decoded_bytes -= job.decoded_bytes
            job.decoded_bytes = 0
        if job.key is not None:
            self._answers.settle(job.key, answer)
        job.give(answer)


def _coded(array: Array, wanted: oip.Wanted, within: Range | None) -> Array | bytes:
    if not wanted.codec:
        return array
    channels = array.shape[1] if parse(wanted.codec).per_channel and array.ndim > 1 else 1
    try:
        return encode(array, wanted.codec, within if within is not None and len(within.low) == channels else None)
    except CodecError as error:
        raise Refused(400, f"output {wanted.name!r}: {error}") from error


def _fault(error: Exception) -> Answer:
    return refusal(Refused(500, f"internal error: {type(error).__name__}"))
