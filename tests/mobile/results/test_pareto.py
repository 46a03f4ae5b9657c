"""The front is what no other point beats; axes that not all points have are left out and named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mobile.results.pareto import AXES, Point, front

VALUES = st.integers(0, 4).map(float)


def beats(one, other):
    """The definition, written out: no worse anywhere, better somewhere."""
    signs = [(1 if less else -1) for less in AXES.values()]
    pairs = [(sign * one[axis], sign * other[axis]) for sign, axis in zip(signs, AXES, strict=True)]
    return all(left <= right for left, right in pairs) and any(left < right for left, right in pairs)


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(AXES, VALUES)), min_size=1, max_size=12))
def test_the_front_is_its_definition(values):
    found = front([Point(str(place), one) for place, one in enumerate(values)])
    for place, one in enumerate(values):
        better = [other for other in values if beats(other, one)]
        assert found.on[place] == (not better)
        if better:
            assert beats(values[int(found.beaten_by[place])], one)
    assert any(found.on)


def test_an_axis_that_a_point_lacks_is_left_out_and_named():
    found = front([
        Point("a", {"latency_s": 1.0, "energy_j": 2.0, "quality": None}),
        Point("b", {"latency_s": 2.0, "energy_j": None, "quality": float("nan")}),
    ])  # fmt: skip
    assert found.axes == ("latency_s",)
    assert found.missing == {"energy_j": ("b",)}
    assert found.on == (True, False)
    assert found.beaten_by == (None, "a")


def test_without_a_common_axis_nothing_is_on_the_front():
    found = front([Point("a", {"latency_s": 1.0}), Point("b", {"energy_j": 1.0})])
    assert found.axes == () and found.on == (False, False)
    assert front([]).on == ()


def test_more_quality_is_better_unless_it_is_said_otherwise():
    points = [Point("a", {"quality": 0.9}), Point("b", {"quality": 0.8})]
    assert front(points).on == (True, False)
    assert front(points, {"quality": True}).on == (False, True)
