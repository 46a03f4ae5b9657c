"""Progress of a benchmark on stderr: a live table on a terminal, one line for each change of state elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from mobile.cli.live import Live
from mobile.cli.output import stderr_console

if TYPE_CHECKING:
    from rich.live import Live as Display
    from rich.table import Table

    from mobile.benchmark import Progress

WORDS = {
    "connect": "connecting",
    "push": "pushing",
    "evaluate": "evaluating",
    "gate": "cooling down",
    "idle": "idle baseline",
    "load": "loading",
    "warmup": "warming up",
    "measure": "measuring",
    "done": "done",
    "left": "started",
    "failed": "failed",
}
ENDED = ("done", "left", "failed")
COLUMNS = ("device", "state", "model", "run", "invocations", "temperature", "clock", "power", "throttling")
REFRESHES_PER_S = 4.0


@dataclass
class _Row:
    """What is known of one device at this moment."""

    place: str = ""
    model: str = ""
    state: str = ""
    count: int = 0
    live: Live = field(default_factory=Live)

    def take(self, progress: Progress) -> None:
        """Nothing, once the news are part of the row."""
        place = f"{progress.index + 1}/{progress.total}"
        if place != self.place:
            self.count = 0
        self.place, self.model = place, progress.model
        if "sensors" in progress.detail:  # the hello of a new run
            self.live = Live(progress.detail["sensors"] or ())
        if progress.state == "sample":
            self.live.take(progress.detail.get("t_ns") or (), progress.detail.get("columns") or {})
            return
        self.state = progress.state
        self.count += len(progress.detail.get("duration_ns", ()))

    def cells(self) -> list[str]:
        """The row's texts: state, model, place, invocations, temperature, clock, power, throttling."""
        return [WORDS.get(self.state, self.state), self.model, self.place, str(self.count or ""), *self.live.cells()]


class BenchProgress:
    """Shows where a benchmark is. Use as a context manager; ``update`` takes each Progress."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._rows: dict[str, _Row] = {}
        self._states: dict[tuple[str, int], str] = {}
        self._live: Display | None = None

    def __enter__(self) -> BenchProgress:
        if self._console.is_terminal:
            from rich.live import Live as Display

            self._live = Display(
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

        table = Table(*COLUMNS, box=box.SIMPLE_HEAD)
        for name, row in list(self._rows.items()):
            table.add_row(Text(name), *(Text(cell) for cell in row.cells()))
        return table
