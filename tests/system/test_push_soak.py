"""A handful of rounds of the soak of pushes; `python -m tests.soak.push` runs as many as one likes."""

from __future__ import annotations

import os

import pytest

from tests.lab import missing
from tests.soak.push import KINDS, draw, soak

ROUNDS = int(os.environ.get("EDGEWISE_SOAK_ROUNDS", "10"))


def test_rounds_are_the_seeds_and_all_kinds_come():
    rounds = list(draw(20, 7))
    assert rounds == list(draw(20, 7))
    assert {(one.transport, one.kind) for one in rounds} == {(way, kind) for way in ("ssh", "adb") for kind in KINDS}


@pytest.mark.lab
@pytest.mark.timeout(60 + 30 * ROUNDS, func_only=True)
def test_pushes_that_are_cut_at_random_points_show_nothing_wrong():
    reason = missing()
    if reason:
        pytest.skip(reason)
    summary = soak(ROUNDS, 1, ("ssh", "adb"))
    assert summary["wrong"] == []
    assert summary["went_on_from_what_was_there"] > 0
