"""The ranking of carriers comes from the nearest measurement; damaged files are refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.probe import Measured, Probe, find_probe, probe_folder
from exporters.probe.measure import Plan, table
from mobile.errors import ConfigError, UsageError

PROBE = Probe(
    "board", "onnxruntime==1.23.2", "2026-01-01T00:00:00Z", "real",
    (
        Measured("int4", "MatMulNBits b4", 1024, 1024, 1, 1e-3), Measured("int4", "MatMulInteger", 1024, 1024, 1, 2e-3),
        Measured("int4", "MatMulNBits b4", 1024, 1024, 128, 9e-3),
        Measured("int4", "MatMulInteger", 1024, 1024, 128, 4e-3),
        Measured("int4", "MatMulNBits b4", 64, 64, 1, 1e-3), Measured("float", "float32", 1024, 1024, 1, 3e-3),
    ),
    {"threads": None},
)  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))


def test_the_fastest_is_first_for_the_nearest_number_of_rows():
    assert [name for name, _ in PROBE.rank("int4", 1024, 1024, 1)] == ["MatMulNBits b4", "MatMulInteger"]
    assert [name for name, _ in PROBE.rank("int4", 1024, 1024, 200)] == ["MatMulInteger", "MatMulNBits b4"]
    assert PROBE.rank("ternary", 1024, 1024, 1) == []


def test_a_family_that_was_not_tried_whole_is_not_ranked():
    """A carrier that a busy device kept from being measured must not lose to a slower one."""
    part = replace(PROBE, incomplete=("int4",))
    assert part.rank("int4", 1024, 1024, 1) == []
    assert part.rank("float", 1024, 1024, 1)


def test_the_nearest_size_counts_and_is_scaled():
    (_, first), *_ = PROBE.rank("int4", 2048, 1024, 1)
    assert first == pytest.approx(2e-3)
    assert dict(PROBE.rank("int4", 64, 128, 1))["MatMulNBits b4"] == pytest.approx(2e-3)


def test_it_is_kept_by_device_and_runtime():
    path = PROBE.save()
    assert find_probe("board", "onnxruntime==1.23.2") == PROBE
    assert find_probe("board", "onnxruntime==1.32.0") is None
    assert path.parent == probe_folder()


@pytest.mark.parametrize("name", ["../../etc/x", "a/b", "günther"])
def test_a_name_never_leaves_the_folder(name):
    path = Probe(name, "onnxruntime==1.2.3", "", "real", (), {}).save()
    assert path.parent == probe_folder()


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_a_damaged_file_is_refused_in_one_line(value):
    document = PROBE.to_json()
    for key in ("measured", "schema", "facts"):
        path = PROBE.save()
        path.write_text(json.dumps({**document, key: value}))
        try:
            found = find_probe("board", "onnxruntime==1.23.2")
        except ConfigError as error:
            assert "\n" not in error.message
        else:
            assert found is not None


def test_the_table_marks_the_fastest_of_a_family():
    headers, lines = table(PROBE)
    assert headers == ["family", "shape", "carrier", "M=1 ms", "M=128 ms"]
    assert ["int4", "1024x1024", "MatMulNBits b4", "1*", "9"] in lines
    assert ["float", "1024x1024", "float32", "3", "-"] in lines


@pytest.mark.parametrize(
    "wrong", [{"schemes": ()}, {"shapes": ((0, 4),)}, {"shapes": ((1 << 20, 1 << 20),)}, {"rows_m": (0,)}]
)
def test_an_impossible_plan_is_refused(wrong):
    with pytest.raises(UsageError):
        Plan(**wrong)
