"""What adapting loses to a fixed placement is kept within a share."""

from __future__ import annotations

import pytest

from device_agents.split.decide import Decider, Policy
from device_agents.split.guard import FRAMES, SHARE, Guard, longest_s
from device_agents.split.table import Conditions, Level, Placement, Table

LOCAL = Placement("p0", "device", 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
REMOTE = Placement("p1", "server", 0.0, 0.01, 0.0, 0.0, 1e5, 0.0, 0.0)
TABLE = Table([LOCAL, REMOTE], [Level(1.0, (1e-10, 1e-3), ("p1",))])
GOOD, BAD = Conditions(1e7, 1e7, 0.01), Conditions(2e5, 2e5, 0.01)


def test_one_mistake_at_the_beginning_does_not_count() -> None:
    guard = Guard(TABLE)
    assert guard.better() is None
    guard.take(LOCAL, 0.05, GOOD)
    assert guard.better() is None


def test_who_loses_too_much_is_told_which_placement_is_better_until_it_is_made_up_for() -> None:
    guard = Guard(TABLE, longest_s(TABLE, 0.2))
    for _ in range(40):
        guard.take(LOCAL, 0.1, BAD)  # the server would have been slower
    assert guard.better() is None
    for _ in range(20):
        guard.take(REMOTE, 0.3, BAD)
    assert guard.better() is LOCAL
    frames = 0
    while guard.better() is not None:
        guard.take(REMOTE, 0.03, GOOD)
        frames += 1
        assert frames < 1000
    # Nothing else than quick frames makes up for it.
    assert frames > 20


def test_no_frame_counts_more_than_it_can_take() -> None:
    assert longest_s(TABLE, None) == float("inf")
    assert longest_s(TABLE, 0.2) == pytest.approx(0.3)
    guard = Guard(TABLE, 0.3)
    for _ in range(100):
        guard.take(LOCAL, 0.1, BAD._replace(server_up=False))
    for _ in range(5):
        guard.take(LOCAL, 0.1 * (1 + SHARE + FRAMES), GOOD)
    assert guard.better() is None  # the server's sum is what it may take at most, and not infinite


def test_the_better_placement_is_kept_where_it_can_be_waited_for() -> None:
    guard = Guard(TABLE)
    decider = Decider(Policy(), TABLE, 0.2, guard)
    assert decider.choose(GOOD).placement is REMOTE
    for _ in range(50):
        guard.take(REMOTE, 0.2, GOOD)
    assert guard.better() is not REMOTE
    for _ in range(50):
        guard.take(LOCAL, 0.1, GOOD)
    assert guard.better() is REMOTE or guard.better() is LOCAL
    kept = guard.better()
    assert kept is not None
    assert decider.choose(GOOD).placement is kept
    assert Decider(Policy("fixed", placement="p1"), TABLE, 0.2, guard).choose(GOOD).placement is REMOTE
    assert decider.choose(BAD).placement is LOCAL  # the server's answer would be late
