"""Boards with a personality: what real ones show in /sys and print, for trees and for devices of the lab."""

from __future__ import annotations

from pathlib import Path

from tests.lab.personalities import android, jetson, raspberry_pi, recording, x86
from tests.lab.personalities.base import SAID, Answer, Personality, Program, said_name
from tests.lab.personalities.recording import Recorded
from tests.lab.process import LabError

__all__ = ["PERSONALITIES", "SAID", "Answer", "Personality", "Program", "personality", "said_name"]

PERSONALITIES = {
    one.name: one
    for family in (jetson.PERSONALITIES, raspberry_pi.PERSONALITIES, android.PERSONALITIES, x86.PERSONALITIES)
    for one in family
}


def personality(name: str) -> Personality | Recorded:
    """The personality of that name, or of the recording at that path (what `edgewise doctor --record` wrote).

    LabError, with the names there are, for a name that is none; with the reason for a file that is no recording.
    """
    if name in PERSONALITIES:
        return PERSONALITIES[name]
    if "/" in name or name.endswith(".zip"):
        return recording.read(Path(name))
    raise LabError(f"unknown personality {name!r} (there are: {', '.join(PERSONALITIES)}; or the path of a recording)")
