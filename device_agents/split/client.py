"""Runs a model split between this device and an edge server, one frame after the other.

For each frame: decide where it is cut, run the head, code and send what crosses, run what comes after the answer. Every
frame ends by its deadline: where the server's answer would come too late, or does not come, the rest runs here, if the
model fits; else it is refused in words. The server's late answer is dropped with its connection.
"""

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitTimeout
from concurrent.futures import wait as wait_for
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, Iterable, Iterator, List, NamedTuple, Optional, Union

from device_agents.split import exchange
from device_agents.split.decide import Decision, Policy
from device_agents.split.delta import Senders
from device_agents.split.estimate import Exchange, LinkEstimate
from device_agents.split.exchange import Coded, Served
from device_agents.split.local import LocalParts, Stop
from device_agents.split.package import SERVER, Package, Placement
from device_agents.split.pilot import PROBE_LIMIT_S, Pilot
from device_agents.split.table import DEVICE, Conditions, Level, Table
from device_agents.split.table import Placement as Row
from device_agents.split.wire import Endpoint, Wire, WireError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = Dict[str, NDArray[Any]]

STAGES = ("head", "encode", "link", "server", "decode", "tail")
UNKNOWN = ("unknown-model", "refused", "too-large")  # a server that is there and has no /edgewise/link


class Result(NamedTuple):
    """What became of one frame. ``outputs`` is None when it was refused (``why`` says so).

    ``stages_ns`` by STAGES ("server" as it told itself, "link" without that); ``latency_s`` from the frame's arrival to
    its answer; ``fallback``: why the rest ran here although the placement has it on the server (a WireError's kind, or
    "deadline"), else None.
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
    conditions: Optional[Conditions] = None  # what was known when it was decided


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
    until_s: float = 0.0  # it waits for the server until then
    sent_s: float = 0.0
    conditions: Optional[Conditions] = None


class _Probe(NamedTuple):
    """One request of a probe: its bits, how long it took, when it ended, and a WireError's kind or "ok"."""

    bits: float
    waited_s: float
    ended_s: float
    kind: str


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
        policy = policy or (Policy() if package.table is not None else _without_costs(package))
        self._pilot = Pilot(policy, package.table or _unpriced(package), link, deadline_s)
        self._parts = parts or LocalParts(package, threads, provider)
        self._sense = sense or dict
        self._wire = None if server is None else Wire(server)
        self._senders = Senders()
        self._network = ThreadPoolExecutor(1, thread_name_prefix="edgewise-split")
        self._here = ThreadPoolExecutor(1, thread_name_prefix="edgewise-here")
        self._stopping: "Optional[Future[Values]]" = None
        self._probing: "Optional[Future[List[_Probe]]]" = None

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
        known = self._pilot.conditions(time.monotonic(), self._sense())
        return known if self._wire is not None else known._replace(server_up=False)

    def close(self) -> None:
        """Nothing; the connection and the sessions are given back."""
        if self._wire is not None:
            self._wire.abort()
        self._network.shutdown(wait=True)
        self._here.shutdown(wait=True)
        if self._wire is not None:
            self._wire.close()
        self._parts.close()

    def _begin(self, feeds: "Values") -> _Frame:
        began_s = time.monotonic()
        self._hear()
        known = self.conditions()
        decision = self._pilot.decide(began_s, known)
        if decision.placement is None:
            return _Frame(began_s, decision, _NOTHING, _NO_ROW, feeds, 0, None, None, {}, conditions=known)
        row = decision.placement
        placement = self.package.placements[row.id]
        values, done, stages = dict(feeds), 0, dict.fromkeys(STAGES, 0)
        for part in placement.parts:
            if part.place == SERVER:
                break
            self._settle()
            began_ns = time.monotonic_ns()
            values.update(self._parts.run(part, values))
            stages["head"] += time.monotonic_ns() - began_ns
            done += 1
        if sum(part.place != SERVER for part in placement.parts) == 1:  # else the table's seconds are of several parts
            self._pilot.computed(stages["head"] * 1e-9, row.device_s, time.monotonic())
        until_s = began_s + self._pilot.patience_s(decision)
        frame = _Frame(began_s, decision, placement, row, values, done, None, None, stages, until_s, conditions=known)
        return self._send(frame, values, done) if done < len(placement.parts) else frame

    def _send(self, frame: _Frame, values: "Values", done: int) -> _Frame:
        """The frame with its request on the way; without one where there is no time, or the server is left alone."""
        coded = exchange.code(self.package, frame.placement, frame.placement.parts[done], values, self._senders)
        frame.stages_ns["encode"] += coded.encode_ns
        now_s, wire, sent = time.monotonic(), self._wire, None
        if wire is not None and now_s < frame.until_s and self._pilot.breaker.allows(now_s):
            sent = self._network.submit(self._serve, wire, frame.placement, done, coded, self._ends_s(frame))
        return frame._replace(coded=coded, sent=sent, sent_s=now_s)

    def _ends_s(self, frame: _Frame) -> float:
        """When a frame is done here, if its rest begins when it has waited for long enough: no answer helps then."""
        return frame.until_s + self._pilot.rest_s(frame.row)

    def _serve(self, wire: Wire, placement: Placement, done: int, coded: Coded, until_s: float) -> Served:
        """In the network's thread: requests wait for each other there, so the time that is left is counted anew."""
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise WireError("late", "there was no time left to ask")
        return exchange.serve(wire, self.package, placement, placement.parts[done], coded, left_s)

    def _finish(self, frame: _Frame) -> Result:
        if frame.decision.placement is None:
            return self._result(frame, None, 0, 0, None)
        values, done, up, down = frame.values, frame.done, 0, 0
        while done < len(frame.placement.parts):
            if frame.placement.parts[done].place == SERVER:
                if done != frame.done:  # a later visit to the server
                    frame = self._send(frame, values, done)
                try:
                    served = self._wait(frame)
                except WireError as error:
                    told = self._rescue(frame, values, done, error)
                    if not isinstance(told, Served):
                        why = "{}{}".format("refused: " if told is None else "", error)
                        return self._result(frame, told, up, down, error.kind, why)
                    served = told
                self._learn(frame, served)
                values.update(served.values)
                frame.stages_ns["link"] += max(served.link_ns - served.service_ns, 0)
                frame.stages_ns["server"] += served.service_ns
                frame.stages_ns["decode"] += served.decode_ns
                up, down = up + served.bytes_up, down + served.bytes_down
            else:
                self._tail(frame, values, done)
            done += 1
        return self._result(frame, values, up, down, None)

    def _settle(self) -> None:
        """Nothing, once what was computed in vain has ended: the device does one thing at a time."""
        if self._stopping is not None:
            wait_for([self._stopping])
            self._stopping = None

    def _tail(self, frame: _Frame, values: "Values", done: int) -> None:
        self._settle()
        began_ns = time.monotonic_ns()
        values.update(self._parts.run(frame.placement.parts[done], values))
        frame.stages_ns["tail"] += time.monotonic_ns() - began_ns

    def _wait(self, frame: _Frame) -> Served:
        sent = frame.sent
        if sent is None:
            raise WireError("unreachable", "the server is not asked now")
        try:
            return sent.result(max(frame.until_s - time.monotonic(), 0.0))
        except WaitTimeout:
            raise WireError("late", "no answer in time", sent=True) from None

    def _rescue(self, frame: _Frame, values: "Values", done: int, error: WireError) -> "Union[Values, Served, None]":
        """The rest of the frame from this device, or the server's answer if that is there first; None: it is refused.

        While the device computes the answer is still waited for. Who loses is stopped: the device's computation, or the
        answer with its connection.
        """
        began_ns = time.monotonic_ns()
        told: "Union[Values, Served, None]" = None
        if self._pilot.rescues:
            self._settle()
            told = self._race(frame, values, done) if error.kind == "late" else None
            if told is None:
                told = self._parts.finish(frame.placement, values, done)
            frame.stages_ns["tail"] += time.monotonic_ns() - began_ns
        sent, now_s = frame.sent, time.monotonic()
        if sent is not None and not isinstance(told, Served):
            if not sent.done() and not sent.cancel() and self._wire is not None:
                self._wire.abort()  # its late answer goes with the connection
            self._pilot.failed(frame.row, now_s - frame.sent_s, now_s, late=error.kind == "late")
        return told

    def _race(self, frame: _Frame, values: "Values", done: int) -> "Union[Values, Served, None]":
        """Who is first; None when nobody is asked any more."""
        sent = frame.sent
        if sent is None or sent.done():
            return None
        stop = Stop()
        rest = self._here.submit(self._parts.finish, frame.placement, values, done, stop)
        either: "List[Future[Any]]" = [sent, rest]
        wait_for(either, return_when=FIRST_COMPLETED)
        if not rest.done() and sent.exception() is None:
            stop.ask()
            self._stopping = rest  # an operator that takes long ends in its own time
            return sent.result()
        return rest.result()

    def _learn(self, frame: _Frame, served: Served) -> None:
        told = Exchange(
            8.0 * served.bytes_up, 8.0 * served.bytes_down, served.link_ns * 1e-9, served.service_ns * 1e-9
        )  # fmt: skip
        self._pilot.answered(frame.row, told, time.monotonic())

    def _result(
        self, frame: _Frame, values: "Optional[Values]", up: int, down: int, fallback: Optional[str], why: str = ""
    ) -> Result:
        outputs = None if values is None else {value.name: values[value.name] for value in self.package.outputs}
        ended_s = time.monotonic()
        if outputs is not None:
            self._pilot.ended(frame.row, ended_s - frame.began_s)
        self._keep_in_touch(frame.decision, ended_s)
        return Result(
            outputs,
            None if frame.decision.placement is None else frame.row.id,
            why or frame.decision.why,
            frame.decision.predicted_s,
            ended_s - frame.began_s,
            frame.stages_ns,
            up,
            down,
            fallback,
            frame.conditions,
        )

    def _keep_in_touch(self, decision: Decision, now_s: float) -> None:
        """While nothing is sent the link is asked now and then, when a frame has ended: so the next one knows it."""
        if self._wire is None or self._probing is not None or not self._pilot.probe_due(decision, now_s):
            return
        self._pilot.probing(now_s)
        self._probing = self._network.submit(self._probe, self._wire)

    def _probe(self, wire: Wire) -> List[_Probe]:
        """In the network's thread: the requests of a probe, one after the other until one has no answer."""
        found: List[_Probe] = []
        until_s = time.monotonic() + PROBE_LIMIT_S
        for size in self._pilot.probe_bytes:
            began_s, kind = time.monotonic(), "ok"
            try:
                wire.request("POST", "/edgewise/link", bytes(size), max(until_s - began_s, 1e-3))
            except WireError as error:
                kind = error.kind
            ended_s = time.monotonic()
            found.append(_Probe(8.0 * size, ended_s - began_s, ended_s, kind))
            if kind != "ok":
                break
        return found

    def _hear(self) -> None:
        """What a probe has told, once it is over."""
        if self._probing is None or not self._probing.done():
            return
        found, self._probing = self._probing.result(), None
        for told in found:
            if told.kind == "ok":
                self._pilot.probed(Exchange(told.bits, 0.0, told.waited_s, 0.0), told.ended_s)
            elif told.kind in UNKNOWN:
                self._pilot.not_probed()
            else:
                self._pilot.probe_failed(told.bits, told.waited_s, told.ended_s, late=told.kind == "late")


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
