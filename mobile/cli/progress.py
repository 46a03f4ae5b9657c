"""Progress of a benchmark on stderr: a live line on a terminal, one line for each change of state elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from mobile.cli.output import stderr_console

if TYPE_CHECKING:
    from mobile.benchmark import Progress

WORDS = {
    "connect": "connecting",
    "push": "pushing",
    "load": "loading",
    "warmup": "warming up",
    "measure": "measuring",
    "done": "done",
    "failed": "failed",
}


class BenchProgress:
    """Shows where a benchmark is. Use as a context manager; ``update`` takes each Progress."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._status = self._console.status("starting") if self._console.is_terminal else None
        self._last: tuple[int, str] | None = None
        self._count = 0

    def __enter__(self) -> BenchProgress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, progress: Progress) -> None:
        """Shows the state; on a terminal also how many invocations were measured."""
        step = (progress.index, progress.state)
        changed, self._last = step != self._last, step
        if changed:
            self._count = 0
        self._count += len(progress.detail.get("duration_ns", ()))
        line = f"[{progress.index + 1}/{progress.total}] {progress.device}: {progress.model}: {WORDS[progress.state]}"
        if "message" in progress.detail and progress.state == "failed":
            line += f": {progress.detail['message']}"
        ended = progress.state in ("done", "failed")
        if self._status is not None and not ended:
            self._status.update(line + (f", {self._count} invocations" if self._count else ""))
        elif changed:
            self._console.print(line, markup=False, soft_wrap=True)
