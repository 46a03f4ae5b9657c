"""Sensors never raise on what a board shows: no permission, garbage bytes, devices that go away in the middle."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agents import records
from device_agents.facts import board, cpu, system
from device_agents.sensors import SensorError, find_sensors
from tests.support.sysfs import make_tree, read_tsv

TREES = tuple(f"constructed_{name}.tsv" for name in ("orin_nano_hwmon", "thor_hwmon", "pi5", "x86_laptop"))


@pytest.fixture
def public_folder():
    """A folder that another user may enter (pytest's own are closed to others)."""
    path = Path(tempfile.mkdtemp(prefix="edgewise-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def ordinary_user(public_folder):
    """Runs the test without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def close_to_others(root, *names):
    for path in Path(root).rglob("*"):
        if path.name in names:
            path.chmod(0o000)


@pytest.fixture
def laptop(public_folder):
    root = make_tree(public_folder, read_tsv("constructed_x86_laptop.tsv"))
    close_to_others(root, "energy_uj", "max_energy_range_uj", "temp2_input", "temp")
    return root


def test_rapl_without_permission_tells_the_remedy(laptop, ordinary_user):
    _, descriptors = find_sensors(laptop)
    about = {a["name"]: a for a in descriptors}
    for name in ("energy.rapl.package-0", "energy.rapl.package-0.core", "energy.rapl.psys"):
        assert about[name]["state"] == "failed"
        assert "udev" in about[name]["reason"] and "CVE-2020-8694" in about[name]["reason"]
        assert "444" not in about[name]["reason"]


def test_a_zone_without_permission_is_failed_not_sampled(laptop, ordinary_user):
    sensors, descriptors = find_sensors(laptop)
    about = {a["name"]: a for a in descriptors}
    assert about["temperature.acpitz"]["state"] == "failed"
    assert about["temperature.acpitz"]["reason"] == "permission denied"
    assert not any(sensor.name.startswith("temperature.acpitz") for sensor in sensors)
    assert about["temperature.coretemp.Package id 0"]["state"] == "present"


def test_sensors_that_vanish_in_the_middle_give_a_reason(tmp_path):
    root = make_tree(tmp_path, read_tsv("constructed_x86_laptop.tsv"))
    sensors, _ = find_sensors(root)
    assert len(sensors) > 15
    shutil.rmtree(Path(root) / "sys")
    for sensor in sensors:
        with pytest.raises(SensorError, match="gone"):
            sensor.read()


_BYTES = st.one_of(
    st.binary(max_size=80),
    st.integers(-(2**70), 2**70).map(lambda number: str(number).encode()),
    st.sampled_from([b"", b"-256000\n", b"<unknown>\n", b"32760 ma\n", b"nan", b"1_000", b"\xd9\xa3\n", b"9" * 5000]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), tree=st.sampled_from(TREES))
def test_garbage_in_any_file_never_raises(data, tree):
    files = read_tsv(tree)
    spoiled = data.draw(st.dictionaries(st.sampled_from(sorted(files)), _BYTES, min_size=1, max_size=12))
    files.update(spoiled)
    root = Path(tempfile.mkdtemp(prefix="edgewise-test-"))
    try:
        _check(make_tree(root, files))
    finally:
        shutil.rmtree(root)


@settings(max_examples=15, deadline=None)
@given(content=_BYTES, tree=st.sampled_from(TREES))
def test_the_same_garbage_in_every_file_never_raises(content, tree):
    root = Path(tempfile.mkdtemp(prefix="edgewise-test-"))
    try:
        _check(make_tree(root, dict.fromkeys(read_tsv(tree), content)))
    finally:
        shutil.rmtree(root)


def _check(root):
    sensors, descriptors = find_sensors(root)
    facts = [reader(root) for reader in (board.model, board.soc, board.power_supply, cpu.cores, cpu.clusters)]
    facts += [reader(root) for reader in (cpu.governor, system.memory, system.os_name, system.kernel)]
    assert all(reason if value is None else reason is None for value, reason in facts)
    records.encode(records.hello({"facts": facts}, descriptors, None, None))
    for sensor in sensors:
        try:
            value = sensor.read()
        except SensorError as error:
            assert error.reason
        else:
            assert isinstance(value, float) and value == value and abs(value) < float("inf")
        sensor.close()
