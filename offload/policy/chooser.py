"""Whatever decides where a frame runs: the door for policies that are not written by hand."""

from __future__ import annotations

from typing import Protocol

from device_agents.split.decide import Decision
from device_agents.split.table import Conditions


class Chooser(Protocol):
    """device_agents.split.decide.Decider is one. A learned policy would be another: it is given the conditions of now,
    frame after frame, and nothing else; it can be simulated, replayed and used live wherever a Decider can.
    """

    def choose(self, now: Conditions) -> Decision:
        """The placement for the next frame."""
