"""Progress of a push on stderr: a bar for each device on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from mobile.cli.output import stderr_console

if TYPE_CHECKING:
    from rich.progress import Progress

    from mobile.push.deploy import Step

WORDS = {"connect": "connecting", "push": "pushing", "check": "checking", "done": "done", "failed": "failed"}
LINE_PERIOD_S = 5.0
_WINDOW_S = 10.0


@dataclass
class Rate:
    """Bytes a second over the last ten seconds."""

    points: list[tuple[float, int]] = field(default_factory=list)

    def add(self, now_s: float, done_bytes: int) -> None:
        """Nothing, once the point is kept."""
        self.points.append((now_s, done_bytes))
        while len(self.points) > 2 and self.points[1][0] < now_s - _WINDOW_S:
            self.points.pop(0)

    def bytes_per_s(self) -> float | None:
        """The rate; None while there is nothing to tell it from."""
        if len(self.points) < 2 or self.points[-1][0] - self.points[0][0] < 0.5:
            return None
        (start_s, start_bytes), (end_s, end_bytes) = self.points[0], self.points[-1]
        return (end_bytes - start_bytes) / (end_s - start_s)


def describe(done_bytes: int, size_bytes: int, rate: float | None) -> str:
    """How far a push is, in words.

    >>> describe(50_000_000, 100_000_000, 5e6)
    '50 % of 100.0 MB, 5.0 MB/s, 10 s left'
    """
    share = 100 * done_bytes // max(1, size_bytes)
    text = f"{share} % of {size_bytes / 1e6:.1f} MB"
    if not rate:
        return text
    return f"{text}, {rate / 1e6:.1f} MB/s, {(size_bytes - done_bytes) / rate:.0f} s left"


class PushProgress:
    """Shows where each device is. Use as a context manager; ``update`` takes each Step."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._bars: Progress | None = None
        self._tasks: dict[str, int] = {}
        self._states: dict[str, str] = {}
        self._rates: dict[str, Rate] = {}
        self._said_s: dict[str, float] = {}

    def __enter__(self) -> PushProgress:
        if self._console.is_terminal:
            from rich import progress

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, step: Step) -> None:
        """Shows the step."""
        line = f"{step.device}: {WORDS[step.state]}"
        if self._bars is not None:
            self._bar(self._bars, step, line)
        elif step.state == "push":
            self._push_line(step)
        elif self._states.get(step.device) != step.state:
            self._say(line)
        self._states[step.device] = step.state

    def _bar(self, bars: Progress, step: Step, line: str) -> None:
        if step.device not in self._tasks:
            self._tasks[step.device] = bars.add_task(line, total=None)
        task = bars.tasks[self._tasks[step.device]].id
        if step.state == "push":
            bars.update(task, description=line, completed=step.done_bytes, total=step.size_bytes)
        else:
            bars.update(task, description=line)

    def _push_line(self, step: Step) -> None:
        now_s = time.monotonic()
        rate = self._rates.setdefault(step.device, Rate())
        rate.add(now_s, step.done_bytes)
        if now_s - self._said_s.setdefault(step.device, now_s) >= LINE_PERIOD_S:
            self._said_s[step.device] = now_s
            told = describe(step.done_bytes, step.size_bytes, rate.bytes_per_s())
            self._say(f"{step.device}: {told}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)
