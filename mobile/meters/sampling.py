"""The host samples a meter in a thread of its own while it follows a run, and notes when it heard of what.

All times are this host's monotonic clock. They are never compared with the device's: the window of the run is what lies
between the receipt of two events, and how late a receipt can be is a part of the uncertainty (mobile/results/meter.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mobile.meters.base import Meter, MeterFault, Reading
from mobile.results.run import MeterSamples

MARKS = ("idle-started", "idle-done", "warmup-done", "measured")
STOP_S = 8.0  # for a reading that is in progress: a meter answers, or fails, within five
LONGEST_PAUSE_S = 5.0  # between two tries of a meter that does not answer
MAX_SAMPLES = 1_000_000
MAX_REASONS = 16


class MeterSampler:
    """Use as a context manager around following a run. Whatever the meter does, the run goes on."""

    def __init__(self, meter: Meter) -> None:
        self.samples = MeterSamples(asdict(meter.info))
        self._meter = meter
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgewise-meter", daemon=True)

    def __enter__(self) -> MeterSampler:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def hear(self, record: Mapping[str, Any]) -> None:
        """Nothing; a record of the device has just arrived. The first of each event that bounds a window is marked."""
        if record.get("type") == "event" and record.get("name") in MARKS:
            self.samples.marks.setdefault(str(record["name"]), time.monotonic_ns())

    def stop(self) -> None:
        """Nothing, once the last reading is taken; a second call does nothing more."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)
        if self._thread.is_alive():
            self._note("the meter did not answer any more")
        self._meter.close()

    def _run(self) -> None:
        period_s = self._meter.info.period_s
        began, tick, failed = time.monotonic(), 0, 0
        try:
            while not self._stopping.is_set() and len(self.samples.t_ns) < MAX_SAMPLES:
                failed = 0 if self._take() else failed + 1
                tick = max(tick + 1, int((time.monotonic() - began) / period_s) + 1)
                pause_s = began + tick * period_s - time.monotonic()
                if failed > 2:
                    pause_s = max(pause_s, min(LONGEST_PAUSE_S, 0.5 * failed))
                self._stopping.wait(max(0.0, pause_s))
            self._take()  # once more, so that the readings reach past the end of the run
        except Exception as error:  # noqa: BLE001 - the thread's edge: the run goes on without a meter and says so
            self._note(f"reading the meter failed: {type(error).__name__}")

    def _take(self) -> bool:
        start_ns = time.monotonic_ns()
        try:
            reading = self._meter.read()
        except MeterFault as fault:
            reading = Reading(reason=fault.reason)
        end_ns = time.monotonic_ns()
        samples = self.samples
        samples.t_ns.append((start_ns + end_ns) // 2)
        samples.read_ns.append(end_ns - start_ns)
        samples.power_w.append(reading.power_w)
        samples.energy_j.append(reading.energy_j)
        if reading.reason is not None:
            self._note(reading.reason)
        return reading.power_w is not None or reading.energy_j is not None

    def _note(self, reason: str) -> None:
        known = self.samples.reasons
        if reason in known or len(known) < MAX_REASONS:
            known[reason] = known.get(reason, 0) + 1
