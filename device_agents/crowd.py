"""The processes of one order whose runs go on at once: forked, waited for, and reached by signals."""

import os
import shutil
import signal
import tempfile
import traceback
from typing import Any, Callable, Dict

from device_agents.together import GONE, mark


class Crowd:
    """``stopped``: True once all is to end."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._places: Dict[int, int] = {}  # by process id

    def run(self, size: int, act: Callable[[int, Dict[str, Any]], int]) -> int:
        """The highest exit code of ``size`` processes, once all have ended; each does ``act(place, barrier)``."""
        folder, code = tempfile.mkdtemp(prefix="edgewise-"), 0
        try:
            for place in range(size):
                self._fork(place, {"folder": folder, "size": size, "place": place}, act)
            self.signal(signal.SIGTERM if self._stopped() else signal.SIGUSR1)  # what came while they were started
            while self._places:
                pid, status = os.waitpid(-1, 0)
                if pid in self._places:
                    mark(folder, GONE, self._places.pop(pid))
                    code = max(code, os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return code

    def signal(self, number: int) -> None:
        """Nothing; every process that is still there has the signal."""
        for pid in list(self._places):
            try:
                os.kill(pid, number)
            except ProcessLookupError:  # it has ended, and is about to be waited for
                continue

    def _fork(self, place: int, barrier: Dict[str, Any], act: Callable[[int, Dict[str, Any]], int]) -> None:
        pid = os.fork()
        if pid:
            self._places[pid] = place
            return
        code = 1
        try:
            self._places.clear()  # the others are not ours
            code = act(place, barrier)
        except BaseException:
            traceback.print_exc()  # into the run's log
            raise
        finally:
            os._exit(code)
