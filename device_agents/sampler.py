"""The sampler: threads of the supervisor that read every sensor on a fixed schedule and measure what that costs.

One thread reads all that is cheap, the small files of /sys. Each source that is dear (a program to start, a table to
print) has a thread of its own, at a rate that it can bear: it never holds up the others.
"""

import contextlib
import threading
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from device_agents import records
from device_agents.records import Record
from device_agents.sensors import Sensor, SensorError
from device_agents.sensors.base import Source

BLOCK_S = 1.0  # a block of samples is emitted about this often
HEARTBEAT_S = 1.0  # the period where there is nothing to read
STOP_TIMEOUT_S = 10.0  # a read that hangs in the kernel longer than this is left behind

Emit = Callable[[Record], None]
Readings = Callable[[Mapping[str, Optional[float]], Mapping[str, str]], None]  # values, and reasons for those missing


class Sampling:
    """All the sampling of a run: ``start`` and ``stop`` of one sampler for the files and one for each source.

    ``on_readings`` sees each tick's values as they are taken, in the samplers' threads.
    """

    def __init__(
        self, sensors: Sequence[Sensor], period_s: float, emit: Emit, on_readings: Optional[Readings] = None
    ) -> None:
        sources: Dict[Source, List[Sensor]] = {}
        for sensor in sensors:
            if sensor.source is not None:
                sources.setdefault(sensor.source, []).append(sensor)
        files = [sensor for sensor in sensors if sensor.source is None]
        self._files = Sampler(files, period_s, emit, on_readings=on_readings)
        self._slow = [Sampler(found, period_s, emit, source, on_readings) for source, found in sources.items()]

    def start(self) -> None:
        """Starts the threads; the first samples are taken at once."""
        for sampler in [self._files, *self._slow]:
            sampler.start()

    def stop(self) -> Dict[str, Any]:
        """Ends the sampling and gives the overhead: that of the files' sampler (see Sampler.stop), where the CPU time
        is that of all; ``sources`` has the same for each source, with its period_s.
        """
        for sampler in [self._files, *self._slow]:
            sampler.ask_to_stop()
        overhead = self._files.stop()
        sources = {sampler.name: sampler.stop() for sampler in self._slow}
        for name in ("sampler_cpu_s", "sampler_cpu_share"):
            overhead[name] += sum(part[name] for part in sources.values())
        errors = [overhead["sampler_error"]] + [part["sampler_error"] for part in sources.values()]
        overhead["sampler_error"] = next((error for error in errors if error), None)
        return dict(overhead, sources=sources)


class Sampler:
    """Samples ``sensors`` every ``period_s`` seconds and emits ``samples`` blocks about once a second.

    Ticks are due at whole multiples of the period after the start, so the schedule does not drift; a tick that
    could not be held is counted as missed and not caught up. Without sensors the blocks have no columns and are a
    heartbeat. Nothing that happens while reading or emitting stops the caller: an unexpected error ends the sampling,
    is reported as an ``event`` "sampler-failed" and stands in the overhead. With a ``source`` the sensors are its
    values: it is refreshed at each tick, no more often than it can bear.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor],
        period_s: float,
        emit: Emit,
        source: Optional[Source] = None,
        on_readings: Optional[Readings] = None,
    ) -> None:
        self._sensors = list(sensors)
        self._source = source
        self._on_readings = on_readings
        if source is not None:
            period_s = max(period_s, source.period_s)
        self._period_ns = max(1, int((period_s if sensors else max(period_s, HEARTBEAT_S)) * 1e9))
        self._emit = emit
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgewise-sampler", daemon=True)
        self._started_ns = 0
        self._ended_ns = 0
        self._cpu_s = 0.0
        self._ticks = 0
        self._missed = 0
        self._error: Optional[str] = None
        self._new_block()

    @property
    def name(self) -> str:
        """The source's name; "files" without one."""
        return "files" if self._source is None else self._source.name

    def start(self) -> None:
        """Starts the thread; the first samples are taken at once."""
        self._started_ns = time.monotonic_ns()
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Nothing; the sampling ends soon. So several samplers end side by side."""
        self._stopping.set()

    def stop(self) -> Dict[str, Any]:
        """Ends the sampling, emits the last block and gives the overhead; a second call gives the same again.

        period_s: between two ticks; sampler_cpu_s: CPU time of the thread, and of the programs that it started;
        sampler_cpu_share: the same per second of wall time (1.0 is one core); ticks, missed_ticks; sampler_error: null,
        or why sampling ended early.
        """
        self._stopping.set()
        if self._started_ns:
            self._thread.join(STOP_TIMEOUT_S)
            if self._thread.is_alive():
                self._error = "a sensor did not answer for {:g} s".format(STOP_TIMEOUT_S)
        return self.overhead()

    def overhead(self) -> Dict[str, Any]:
        """What the sampling has cost so far, as `stop` gives it."""
        wall_ns = (self._ended_ns or time.monotonic_ns()) - self._started_ns if self._started_ns else 0
        cpu_s = self._cpu_s + (self._source.cpu_s if self._source is not None else 0.0)
        return {
            "period_s": self._period_ns * 1e-9,
            "sampler_cpu_s": cpu_s,
            "sampler_cpu_share": cpu_s / (wall_ns * 1e-9) if wall_ns > 0 else 0.0,
            "ticks": self._ticks,
            "missed_ticks": self._missed,
            "sampler_error": self._error,
        }

    def _run(self) -> None:
        try:
            self._sample()
        except Exception as error:  # noqa: BLE001 - the thread's edge: the run goes on without samples and says so
            self._error = "{}: {}".format(type(error).__name__, error)
            self._report_failure()
        finally:
            for sensor in self._sensors:
                sensor.close()
            if self._source is not None:
                self._source.close()
            self._cpu_s = time.thread_time()
            self._ended_ns = time.monotonic_ns()

    def _report_failure(self) -> None:
        with contextlib.suppress(Exception):  # the stream itself may be what is broken: the overhead still tells
            self._emit(records.event("sampler-failed", error=self._error))

    def _sample(self) -> None:
        period_ns, tick = self._period_ns, 0
        block_end_ns = self._started_ns + int(BLOCK_S * 1e9)
        while not self._stopping.is_set():
            now_ns = self._read_all()
            self._ticks += 1
            if now_ns >= block_end_ns or (not self._sensors and self._ticks == 1):
                self._flush()
                block_end_ns = max(block_end_ns + int(BLOCK_S * 1e9), now_ns)
            now_ns = time.monotonic_ns()
            due = (now_ns - self._started_ns) // period_ns + 1
            self._missed += due - tick - 1
            tick = due
            self._wait_until(self._started_ns + tick * period_ns)
        self._read_all()  # once more, so that counters and traces cover the run to its end
        self._ticks += 1
        self._flush()

    def _wait_until(self, due_ns: int) -> None:
        # In short pieces: before Python 3.11 a wait follows the wall clock, which jumps when a board hears of NTP.
        while True:
            left_ns = due_ns - time.monotonic_ns()
            if left_ns <= 0 or self._stopping.wait(min(left_ns * 1e-9, 1.0)):
                return

    def _read_all(self) -> int:
        start_ns = time.monotonic_ns()
        if self._source is not None:
            self._source.refresh()
        for sensor, column in zip(self._sensors, self._columns):
            try:
                column.append(sensor.read())
            except SensorError as error:
                column.append(None)
                self._reasons[sensor.name] = error.reason
        end_ns = time.monotonic_ns()
        # The stamp is the middle of the reads: that is when the values were true, on average.
        self._t_ns.append((start_ns + end_ns) // 2)
        self._read_ns.append(end_ns - start_ns)
        if self._on_readings is not None:
            values = {sensor.name: column[-1] for sensor, column in zip(self._sensors, self._columns)}
            self._on_readings(values, self._reasons)
        return end_ns

    def _flush(self) -> None:
        self._cpu_s = time.thread_time()
        if not self._t_ns:
            return
        columns = {sensor.name: column for sensor, column in zip(self._sensors, self._columns)}
        block = records.samples(self._t_ns, columns, self._reasons, self._read_ns)
        self._new_block()
        self._emit(block)

    def _new_block(self) -> None:
        self._t_ns: List[int] = []
        self._read_ns: List[int] = []
        self._columns: List[List[Optional[float]]] = [[] for _ in self._sensors]
        self._reasons: Dict[str, str] = {}
