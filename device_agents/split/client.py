"""Runs a model split between this device and an edge server, one frame after the other.

For each frame: decide where it is cut, run the head, code and send what crosses, run what comes after the answer. Every
frame ends by its deadline: where the server's answer would come too late, or does not come, the rest runs here, if the
model fits; else it is refused in words. The server's late answer is dropped with its connection.
"""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitTimeout
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, Iterable, Iterator, NamedTuple, Optional

from device_agents.split import exchange
from device_agents.split.breaker import OPEN, Breaker
from device_agents.split.decide import LOCAL, Decider, Decision, Policy
from device_agents.split.estimate import Exchange, Factor, LinkEstimate
from device_agents.split.exchange import Coded, Served
from device_agents.split.local import LocalParts
from device_agents.split.package import SERVER, Package, Placement
from device_agents.split.table import DEVICE, Conditions, Level, Table
from device_agents.split.table import Placement as Row
from device_agents.split.wire import Endpoint, Wire, WireError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = Dict[str, NDArray[Any]]

NO_DEADLINE_S = 60.0  # nothing waits for ever
STAGES = ("head", "encode", "link", "decode", "tail")
PROBE_BYTES = 16_384
PROBE_AFTER_S = 5.0  # without traffic the link is asked so often
SPARE_S = 0.002  # for waking up and putting the answer together


class Result(NamedTuple):
    """What became of one frame. ``outputs`` is None when it was refused (``why`` says so).

    ``stages_ns`` by STAGES; ``latency_s`` from the frame's arrival to its answer; ``fallback``: why the rest ran here
    although the placement has it on the server (a WireError's kind, or "deadline"), else None.
    """

    outputs: "Optional[Values]"
    placement: Optional[str]
    why: str
    predicted_s: Optional[float]
    latency_s: float
    stages_ns: Dict[str, int]
    bytes_up: int = 0
    bytes_down: int = 0
    fallback: Optional[str] = None


class _Frame(NamedTuple):
    """A frame under way: what is known of it, and the request that was sent."""

    began_s: float
    decision: Decision
    placement: Placement
    row: Row
    values: "Values"
    done: int  # parts that have run
    coded: Optional[Coded]
    sent: "Optional[Future[Served]]"
    stages_ns: Dict[str, int]


class SplitClient:
    """See the module. ``package``: as `package.read` gives it; without ``server`` everything runs here.

    ``policy``: which placement; left out the fastest, or all on the server for a package without a table.
    ``link``: what is believed of the link before the first request. ``sense``: gives temperature_c, battery, charging
    as far as they are known. ``threads``, ``provider``: of the local runtime.
    """

    def __init__(
        self,
        package: Package,
        server: Optional[Endpoint] = None,
        policy: Optional[Policy] = None,
        deadline_s: Optional[float] = None,
        link: Optional[LinkEstimate] = None,
        threads: Optional[int] = None,
        provider: Optional[str] = None,
        sense: Optional[Callable[[], Dict[str, Any]]] = None,
        parts: Optional[LocalParts] = None,
    ) -> None:
        self.package = package
        self.link = link or LinkEstimate(2e7, 2e7, 0.02)
        self.slow_down, self.device_scale = Factor(), Factor()
        self.breaker = Breaker()
        self._table = package.table or _unpriced(package)
        self._policy = policy or (Policy() if package.table is not None else _without_costs(package))
        self._decider = Decider(self._policy, self._table)
        self._deadline_s = deadline_s
        self._parts = parts or LocalParts(package, threads, provider)
        self._sense = sense or dict
        self._wire = None if server is None else Wire(server)
        self._network = ThreadPoolExecutor(1, thread_name_prefix="edgewise-split")
        self._last_heard_s = time.monotonic()
        self._probing: "Optional[Future[Any]]" = None

    def infer(self, feeds: "Values") -> Result:
        """The result for one frame. AgentFailure when a part cannot be loaded or run on this device."""
        return self._finish(self._begin(feeds))

    def run(self, frames: "Iterable[Values]", depth: int = 2) -> Iterator[Result]:
        """The results in the order of the frames; while one's data travel the head of the next ones is computed."""
        under_way: Deque[_Frame] = deque()
        for feeds in frames:
            under_way.append(self._begin(feeds))
            while len(under_way) >= max(depth, 1):
                yield self._finish(under_way.popleft())
        while under_way:
            yield self._finish(under_way.popleft())

    def warm(self, placement_id: str) -> None:
        """Nothing, once the parts of a placement that run here are loaded."""
        for part in self.package.placements[placement_id].parts:
            if part.place != SERVER:
                self._parts.load(part)

    def conditions(self) -> Conditions:
        """What is known now."""
        link = self.link
        up = self._wire is not None and self.breaker.state(time.monotonic()) != OPEN
        known = self._sense()
        return Conditions(
            link.uplink_bps,
            link.downlink_bps,
            link.rtt_s,
            self.slow_down.value,
            self.device_scale.value,
            up,
            known.get("temperature_c"),
            known.get("battery"),
            known.get("charging"),
        )

    def close(self) -> None:
        """Nothing; the connection and the sessions are given back."""
        if self._wire is not None:
            self._wire.abort()
        self._network.shutdown(wait=True)
        if self._wire is not None:
            self._wire.close()
        self._parts.close()

    def _begin(self, feeds: "Values") -> _Frame:
        began_s = time.monotonic()
        self._keep_in_touch(began_s)
        decision = self._decider.choose(self.conditions())
        if decision.placement is None:
            return _Frame(began_s, decision, _NOTHING, _NO_ROW, feeds, 0, None, None, {})
        row = decision.placement
        placement = self.package.placements[row.id]
        values, done, stages = dict(feeds), 0, dict.fromkeys(STAGES, 0)
        for part in placement.parts:
            if part.place == SERVER:
                break
            began_ns = time.monotonic_ns()
            values.update(self._parts.run(part, values))
            stages["head"] += time.monotonic_ns() - began_ns
            done += 1
        if sum(part.place != SERVER for part in placement.parts) == 1:  # else the table's seconds are of several parts
            self.device_scale.take(stages["head"] * 1e-9, row.device_s)
        coded, sent = None, None
        if done < len(placement.parts):
            coded, sent = self._send(placement, row, done, values, began_s)
            stages["encode"] += coded.encode_ns
        return _Frame(began_s, decision, placement, row, values, done, coded, sent, stages)

    def _send(self, placement: Placement, row: Row, done: int, values: "Values", began_s: float) -> Any:
        part = placement.parts[done]
        coded = exchange.code(self.package, placement, part, values)
        wire, wait_s = self._wire, self._patience_s(row, began_s)
        if wire is None or wait_s <= 0 or not self.breaker.allows(time.monotonic()):
            return coded, None
        sent = self._network.submit(self._serve, wire, placement, done, coded, began_s + self._limit_s(row))
        return coded, sent

    def _serve(self, wire: Wire, placement: Placement, done: int, coded: Coded, until_s: float) -> Served:
        """In the network's thread: requests wait for each other there, so the time that is left is counted anew."""
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise WireError("late", "there was no time left to ask")
        return exchange.serve(wire, self.package, placement, placement.parts[done], coded, left_s)

    def _limit_s(self, row: Row) -> float:
        """How long after its arrival a frame may wait for the server: the rest must still be done here in time."""
        if self._deadline_s is None:
            return NO_DEADLINE_S
        local = self._table.local
        rest_s = 0.0
        if local is not None and self._policy.fallback == LOCAL:
            rest_s = max(local.device_s - row.device_s, 0.0) * self.device_scale.value
        return self._deadline_s - rest_s - SPARE_S

    def _patience_s(self, row: Row, began_s: float) -> float:
        return began_s + self._limit_s(row) - time.monotonic()

    def _finish(self, frame: _Frame) -> Result:
        if frame.decision.placement is None:
            return self._result(frame, None, 0, 0, None)
        values, done, up, down = frame.values, frame.done, 0, 0
        sent, coded = frame.sent, frame.coded
        while done < len(frame.placement.parts):
            if frame.placement.parts[done].place == SERVER:
                if done != frame.done:  # a later visit to the server
                    coded, sent = self._send(frame.placement, frame.row, done, values, frame.began_s)
                    frame.stages_ns["encode"] += coded.encode_ns
                try:
                    served = self._wait(sent, frame)
                except WireError as error:
                    return self._rescue(frame, values, done, up, down, error)
                self._learn(frame, served)
                values.update(served.values)
                frame.stages_ns["link"] += served.link_ns
                frame.stages_ns["decode"] += served.decode_ns
                up, down = up + served.bytes_up, down + served.bytes_down
            else:
                self._tail(frame, values, done)
            done += 1
        return self._result(frame, values, up, down, None)

    def _tail(self, frame: _Frame, values: "Values", done: int) -> None:
        began_ns = time.monotonic_ns()
        values.update(self._parts.run(frame.placement.parts[done], values))
        frame.stages_ns["tail"] += time.monotonic_ns() - began_ns

    def _wait(self, sent: "Optional[Future[Served]]", frame: _Frame) -> Served:
        if sent is None:
            raise WireError("unreachable", "the server is not asked now")
        try:
            return sent.result(max(self._patience_s(frame.row, frame.began_s), 0.0))
        except WaitTimeout:
            if not sent.cancel() and self._wire is not None:
                self._wire.abort()  # its late answer goes with the connection
            raise WireError("late", "no answer in time", sent=True) from None

    def _rescue(self, frame: _Frame, values: "Values", done: int, up: int, down: int, error: WireError) -> Result:
        """The rest of the frame on this device, or a refusal in words."""
        now_s = time.monotonic()
        self.breaker.failed(now_s)
        if error.kind == "late" and frame.coded is not None:
            bits = 8.0 * sum(len(tensor.data) for tensor in frame.coded.tensors)
            self.link.lost(bits, now_s - frame.began_s)
        if self._policy.fallback != LOCAL or self._table.local is None:
            return self._result(frame, None, up, down, error.kind, "refused: {}".format(error))
        began_ns = time.monotonic_ns()
        values = self._parts.finish(frame.placement, values, done)
        frame.stages_ns["tail"] += time.monotonic_ns() - began_ns
        return self._result(frame, values, up, down, error.kind, str(error))

    def _learn(self, frame: _Frame, served: Served) -> None:
        self.breaker.succeeded()
        self._last_heard_s = time.monotonic()
        service_s = served.service_ns * 1e-9
        self.link.take(Exchange(8.0 * served.bytes_up, 8.0 * served.bytes_down, served.link_ns * 1e-9, service_s))
        if frame.row.server_s > 0 and served.service_ns:
            self.slow_down.take(service_s, frame.row.server_s + frame.row.server_codec_s + frame.row.request_s)

    def _result(
        self, frame: _Frame, values: "Optional[Values]", up: int, down: int, fallback: Optional[str], why: str = ""
    ) -> Result:
        outputs = None if values is None else {value.name: values[value.name] for value in self.package.outputs}
        return Result(
            outputs,
            None if frame.decision.placement is None else frame.row.id,
            why or frame.decision.why,
            frame.decision.predicted_s,
            time.monotonic() - frame.began_s,
            frame.stages_ns,
            up,
            down,
            fallback,
        )

    def _keep_in_touch(self, now_s: float) -> None:
        """While nothing is sent the link is asked now and then, beside the frames: else nothing would tell that it is
        better, or that the server is back.
        """
        if self._wire is None or now_s - self._last_heard_s < PROBE_AFTER_S:
            return
        if self._probing is not None and not self._probing.done():
            return
        if self.breaker.allows(now_s):
            self._last_heard_s = now_s
            self._probing = self._network.submit(self._probe, self._wire)

    def _probe(self, wire: Wire) -> None:
        try:
            _, send_ns, wait_ns = wire.request("POST", "/edgewise/link", bytes(PROBE_BYTES), 2.0)
        except WireError:
            self.breaker.failed(time.monotonic())
            return
        self.breaker.succeeded()
        self.link.take(Exchange(8.0 * PROBE_BYTES, 0.0, (send_ns + wait_ns) * 1e-9, 0.0))


_NOTHING = Placement("", "", (), ())
_NO_ROW = Row("", DEVICE, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def _unpriced(package: Package) -> Table:
    """A table for a package without costs: its placements with nothing known, so that only fixed ones make sense."""
    rows = [_NO_ROW._replace(id=placement.id, label=placement.label) for placement in package.placements.values()]
    return Table(rows, [Level(1.0, (0.0, 1.0), (rows[0].id,))])


def _without_costs(package: Package) -> Policy:
    """All on the server where the package has that, else its last placement."""
    there = [placement.id for placement in package.placements.values() if placement.label == "server"]
    return Policy("fixed", placement=(there or list(package.placements))[-1])
