"""The GPU's clock, cap and load, and the memory's clock, on the Jetson boards' own names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.sensors import SensorError, devfreq
from tests.support.jetson import make_board, named, recorded_probe
from tests.support.sysfs import set_file

BASE = "/sys/class/devfreq/"
NANO_GPU = {
    BASE + "57000000.gpu/cur_freq": "76800000",
    BASE + "57000000.gpu/min_freq": "76800000",
    BASE + "57000000.gpu/max_freq": "640000000",  # the mode 5W (nvpmodel/nano_p_verbose.txt)
    BASE + "57000000.gpu/available_frequencies": "76800000 153600000 614400000 921600000 ",
}


def read(root):
    found = devfreq.find(root)
    return {sensor.name: sensor.read() for sensor in found.sensors}, {gone["name"]: gone for gone in found.missing}


def test_nano_in_its_5w_mode(tmp_path):
    root = make_board(tmp_path, NANO_GPU, {"/sys/devices/gpu.0/load": "999"}, named("Jetson Nano", "nvidia,tegra210"))
    values, missing = read(root)
    assert values == {
        "frequency.gpu": 76.8e6,
        "cap.gpu": pytest.approx(640 / 921.6),
        "load.gpu": pytest.approx(0.999),
    }
    assert "only root" in missing["frequency.emc"]["reason"]


@pytest.mark.parametrize(
    "name", ["17000000.gp10b", "17000000.gv11b", "17000000.ga10b", "17000000.gpu", "gpu", "13000000.mali",
             "5000000.qcom,kgsl-3d0"],
)  # fmt: skip
def test_the_gpu_is_found_by_its_name(tmp_path, name):
    files = {f"{BASE}{name}/cur_freq": "306000000", f"{BASE}8000000.memory/cur_freq": "1", f"{BASE}gpubw/cur_freq": "2"}
    values, missing = read(make_board(tmp_path, files))
    assert values == {"frequency.gpu": 306e6}
    assert missing["cap.gpu"]["state"] == missing["load.gpu"]["state"] == "absent"


def test_thor_has_two_clocks_and_shows_its_memory_to_all(tmp_path):
    files = {}
    for name, now, highest in (
        ("gpu-nvd-0", 1, 1692000000),
        ("gpu-gpc-0", 315000000, 1575000000),
        ("bwmgr", 665, 4266),
    ):
        files |= {f"{BASE}{name}/cur_freq": str(now), f"{BASE}{name}/max_freq": str(highest)}
        files[f"{BASE}{name}/available_frequencies"] = f"{now} {highest}"
    values, missing = read(make_board(tmp_path, files, named("NVIDIA Jetson AGX Thor", "nvidia,tegra264")))
    assert values == {
        "frequency.gpu": 315e6,
        "cap.gpu": 1.0,
        "frequency.gpu-nvd-0": 1.0,
        "cap.gpu-nvd-0": 1.0,
        "frequency.emc": 665.0,
    }
    assert "none on Thor" in missing["load.gpu"]["reason"]


@pytest.mark.parametrize("path", devfreq.EMC_CLOCKS)
def test_root_sees_the_memorys_clock(tmp_path, path):
    values, _ = read(make_board(tmp_path, NANO_GPU, {path: "1600000000"}))
    assert values["frequency.emc"] == 1.6e9


def test_the_load_of_the_recorded_orin_nano_is_per_mille(tmp_path):
    probe = recorded_probe()
    now, highest = probe["gpu_hz"].split()
    files = {
        BASE + "17000000.gpu/cur_freq": now,
        BASE + "17000000.gpu/max_freq": highest,
        BASE + "17000000.gpu/available_frequencies": f"306000000 {highest}",
        BASE + "17000000.gpu/device/load": probe["gpu_load"],
    }
    values, _ = read(make_board(tmp_path, files))
    assert values == {"frequency.gpu": 1.02e9, "cap.gpu": 1.0, "load.gpu": pytest.approx(0.999)}


@pytest.mark.parametrize("number", ["1001", "-1"])
def test_a_load_out_of_its_range_is_none(tmp_path, number):
    root = make_board(tmp_path, NANO_GPU, {"/sys/devices/platform/gpu.0/load": number})
    sensor = next(sensor for sensor in devfreq.find(root).sensors if sensor.name == "load.gpu")
    with pytest.raises(SensorError, match="per mille"):
        sensor.read()
    set_file(root, "/sys/devices/platform/gpu.0/load", "0")
    assert sensor.read() == 0.0


def test_a_cap_above_all_steps_is_no_cap(tmp_path):
    values, _ = read(make_board(tmp_path, NANO_GPU | {BASE + "57000000.gpu/max_freq": "2147483647"}))
    assert values["cap.gpu"] == 1.0


def test_a_system_without_a_gpu_clock_says_so(tmp_path):
    values, missing = read(make_board(tmp_path, {BASE + "8000000.memory/cur_freq": "1"}))
    assert values == {} and list(missing) == ["frequency.gpu"]


@given(
    st.one_of(st.none(), st.text(max_size=300), st.lists(st.integers(-5, 2**80)).map(lambda n: " ".join(map(str, n))))
)
def test_no_list_of_frequencies_breaks_it(text):
    highest = devfreq.highest_step(text)
    assert highest is None or 0 < highest < 10**15
