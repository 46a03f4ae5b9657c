"""Progress of a benchmark on stderr: a live table on a terminal, one line for each change of state elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mobile.cli.output import stderr_console

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from mobile.benchmark import Progress

WORDS = {
    "connect": "connecting",
    "push": "pushing",
    "load": "loading",
    "warmup": "warming up",
    "measure": "measuring",
    "done": "done",
    "left": "started",
    "failed": "failed",
}
ENDED = ("done", "left", "failed")
# What a live line shows of the sensors: quantity, and how its unit is written.
SHOWN = (("temperature", "°C"), ("power", "W"))
REFRESHES_PER_S = 4.0


@dataclass
class _Row:
    """What is known of one device at this moment."""

    place: str = ""
    model: str = ""
    state: str = ""
    count: int = 0
    quantities: dict[str, str] = field(default_factory=dict)  # of each sensor, by its name
    values: dict[str, float] = field(default_factory=dict)  # the newest, by quantity

    def take(self, progress: Progress) -> None:
        """Nothing, once the news are part of the row."""
        place = f"{progress.index + 1}/{progress.total}"
        if place != self.place:
            self.count = 0
        self.place, self.model = place, progress.model
        self._take_sensors(progress.detail)
        if progress.state != "sample":
            self.state = progress.state
            self.count += len(progress.detail.get("duration_ns", ()))

    def _take_sensors(self, detail: Mapping[str, Any]) -> None:
        for sensor in detail.get("sensors") or ():
            self.quantities[sensor.get("name", "")] = sensor.get("quantity", "")
        newest: dict[str, float] = {}
        for name, column in (detail.get("columns") or {}).items():
            value = next((value for value in reversed(column) if value is not None), None)
            quantity = self.quantities.get(name)
            if quantity is not None and value is not None:
                newest[quantity] = max(value, newest.get(quantity, value))
        self.values.update(newest)

    def cells(self) -> list[str]:
        """The row's texts: state, model, place, invocations, temperature, power."""
        shown = [f"{self.values[name]:.1f} {unit}" if name in self.values else "" for name, unit in SHOWN]
        return [WORDS.get(self.state, self.state), self.model, self.place, str(self.count or ""), *shown]


class BenchProgress:
    """Shows where a benchmark is. Use as a context manager; ``update`` takes each Progress."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._rows: dict[str, _Row] = {}
        self._states: dict[tuple[str, int], str] = {}
        self._live: Live | None = None

    def __enter__(self) -> BenchProgress:
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(
                console=self._console,
                get_renderable=self._table,
                refresh_per_second=REFRESHES_PER_S,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Shows what is new: in the table, and a line for good when a measurement has ended."""
        self._rows.setdefault(progress.device, _Row()).take(progress)
        if progress.state == "sample":
            return
        step = (progress.device, progress.index)
        changed = self._states.get(step) != progress.state
        self._states[step] = progress.state
        if not changed or (self._live is not None and progress.state not in ENDED):
            return
        line = f"[{progress.index + 1}/{progress.total}] {progress.device}: {progress.model}: {WORDS[progress.state]}"
        if "message" in progress.detail and progress.state == "failed":
            line += f": {progress.detail['message']}"
        self._console.print(line, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table("device", "state", "model", "run", "invocations", "temperature", "power", box=box.SIMPLE_HEAD)
        for name, row in list(self._rows.items()):
            table.add_row(Text(name), *(Text(cell) for cell in row.cells()))
        return table
