"""What the agent reads of memory and clocks around a measurement."""

from __future__ import annotations

import pytest

from device_agents.surroundings import PAGE_BYTES, between, look, stalled_s, swapped_pages


@pytest.mark.parametrize(
    "text", ["", "pswpin\n", "pswpin 1\n", "pswpin x\npswpout 2\n", "pswpin -1\npswpout 2\n", "pswpin 1\npswpout ²\n"]
)
def test_swapping_that_is_not_told_is_none(text):
    assert swapped_pages(text) is None


@pytest.mark.parametrize("text", ["", "some", "some total=", "some total=x", "full total=5", "some avg10=1\n"])
def test_stalls_that_are_not_told_are_none(text):
    assert stalled_s(text) is None


def write(root, swapped, stalled_us):
    (root / "proc/pressure").mkdir(parents=True, exist_ok=True)
    (root / "proc/vmstat").write_text(f"nr_free_pages 5\npswpin {swapped}\npswpout 10\n")
    (root / "proc/pressure/memory").write_text(f"some avg10=0.00 total={stalled_us}\nfull avg10=0.00 total=1\n")


def test_what_rose_between_two_looks(tmp_path):
    write(tmp_path, 100, 2_000_000)
    before = look(str(tmp_path))
    write(tmp_path, 356, 2_500_000)
    told = between(before, look(str(tmp_path)))
    assert told["swapped_bytes"] == 256 * PAGE_BYTES
    assert told["stalled_s"] == pytest.approx(0.5)
    assert told["major_faults"] is not None
    assert abs(told["clock_step_s"]) < 0.01
    assert 0 < told["over_s"] < 30


def test_a_system_that_does_not_show_it_has_none(tmp_path):
    told = between(look(str(tmp_path)), look(str(tmp_path)))
    assert (told["swapped_bytes"], told["stalled_s"]) == (None, None)


def test_a_clock_that_was_set_and_a_sleep_are_seen(tmp_path):
    before = look(str(tmp_path))._replace(asleep_s=0.5)
    after = before._replace(wall_s=before.wall_s + 3600.0, asleep_s=2.5, at_s=before.at_s + 1)
    told = between(before, after)
    assert (told["clock_step_s"], told["asleep_s"], told["over_s"]) == pytest.approx((3600.0, 2.0, 1.0))
