"""Several models at once on one device: workers that begin to measure together, and keep the load up to the end.

They meet by files in one folder, which belongs to the order: ``ready-N`` when worker N is warm, ``done-N`` when it has
measured, ``gone-N`` when its process has ended (written by the order's process, so that nobody waits for it). While a
worker waits for the others it goes on with inferences that are not recorded: the others are to meet its load.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional

from device_agents.failures import AgentFailure

READY, DONE, GONE = "ready", "done", "gone"


class Barrier(NamedTuple):
    """One worker's part: it is number ``place`` of ``size``."""

    folder: str
    size: int
    place: int

    @classmethod
    def of(cls, document: Dict[str, Any]) -> Optional["Barrier"]:
        """The barrier of a spec's field; None for an empty one. AgentFailure "bad-spec" when it is wrong."""
        if not document:
            return None
        folder, size, place = (document.get(name) for name in cls._fields)
        whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (size, place))
        if not isinstance(folder, str) or not whole or not 0 <= place < size:  # type: ignore[operator]
            raise AgentFailure("bad-spec", "barrier is {!r}, expected folder, size and place".format(document))
        return cls(folder, size, place)  # type: ignore[arg-type]

    def mark(self, word: str) -> None:
        """Nothing; the others see that we are READY or DONE. AgentFailure "internal" when the folder is gone."""
        try:
            mark(self.folder, word, self.place)
        except OSError as error:
            raise AgentFailure("internal", "the runs beside this one: {}".format(error)) from error

    def all_at(self, word: str) -> bool:
        """True once every worker is there, or gone."""
        return len(self._at(word) | self._at(GONE)) >= self.size

    def missing(self) -> List[int]:
        """The places of the others that have gone without being done."""
        return sorted(self._at(GONE) - self._at(DONE))

    def _at(self, word: str) -> "set[int]":
        try:
            names = os.listdir(self.folder)
        except OSError:
            return set(range(self.size))  # the order is over: nobody is waited for
        return {int(name[len(word) + 1 :]) for name in names if name.startswith(word + "-")}


def mark(folder: str, word: str, place: int) -> None:
    """Nothing; worker ``place`` has come to ``word``. OSError when it cannot be written."""
    with open(os.path.join(folder, "{}-{}".format(word, place)), "wb"):
        pass
