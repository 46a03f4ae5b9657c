"""Physics with known truth: a law moves a board's heat, power and clocks, and sensors show it as real ones do.

`law` is the law, `instruments` the sensors, `boards` which board has what, `daemon` the process that keeps a board's
files true, `truth` what really happened, and `handle` how a test starts and steers it.
"""

from __future__ import annotations

from tests.lab.physics.boards import BOARDS
from tests.lab.physics.handle import Physics
from tests.lab.physics.truth import Truth

__all__ = ["BOARDS", "Physics", "Truth"]
