"""Rails of the INA3221 as JetPack 4 and older show them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.sensors import ina3221x
from tests.support.jetson import make_board, named, recorded_tree

BASE = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/"
NANO = named("NVIDIA Jetson Nano Developer Kit", "nvidia,p3450-0000 nvidia,jetson-nano nvidia,tegra210")


def read(root):
    found = ina3221x.find(root)
    return {sensor.name: sensor.read() for sensor in found.sensors}, found


def test_nano_shows_the_watts_of_its_power_files(tmp_path):
    values, found = read(make_board(tmp_path, recorded_tree("constructed_nano_ina3221x_iio.tsv"), NANO))
    assert values == {
        "power.POM_5V_IN": pytest.approx(1.388),  # as in tegrastats/nano_jp4_nosudo.txt
        "power.POM_5V_GPU": pytest.approx(0.122),
        "power.POM_5V_CPU": pytest.approx(0.163),
    }
    about = found.sensors[0].descriptor
    assert about["scope"] == "board 5 V input"
    assert about["resolution"] == pytest.approx(8e-3 * 5.096)
    assert about["accuracy"]["offset"] == pytest.approx(16e-3 * 5.096)
    assert "warn 32.76 A, crit 32.76 A" in about["note"]


@pytest.mark.parametrize("spoiled", [None, "", "garbage"])
def test_without_its_power_file_a_rail_is_voltage_times_current(tmp_path, spoiled):
    files = recorded_tree("constructed_nano_ina3221x_iio.tsv")
    files[BASE + "in_power0_input"] = spoiled or ""
    if spoiled is None:
        del files[BASE + "in_power0_input"]
    values, found = read(make_board(tmp_path, files))
    assert values["power.POM_5V_IN"] == pytest.approx(5.096 * 0.272)
    assert "two conversions" in found.sensors[0].descriptor["note"]


def test_the_oldest_folder_name_unused_rails_and_negative_steps(tmp_path):
    base = BASE.replace("iio:device0", "iio_device")
    files = {base + "rail_name_0": "VDD_IN", base + "in_power0_input": "-152", base + "rail_name_1": "NC"}
    values, found = read(make_board(tmp_path, files, named("jetson_tx1", "nvidia,p2371-2180 nvidia,tegra210")))
    assert values == {"power.VDD_IN": pytest.approx(-0.152)}  # one step of 8 mA at 19 V, as TX2 shows
    assert found.sensors[0].descriptor["resolution"] == pytest.approx(8e-3 * 20)
    assert found.missing == []


def test_a_rail_whose_files_all_fail_has_a_reason(tmp_path):
    files = {BASE + "rail_name_0": "POM_5V_IN", BASE + "in_power0_input": "oops"}
    _, found = read(make_board(tmp_path, files))
    assert [(gone["name"], gone["state"]) for gone in found.missing] == [("power.POM_5V_IN", "failed")]
    assert "not a number" in found.missing[0]["reason"]


@pytest.mark.parametrize(
    "text, amperes",
    [("32760 ma", 32.76), ("5000mA", 5.0), ("7784", 7.784), ("-1 ma", -0.001), ("ma", None), ("1e3 ma", None),
     ("32760 a", None), ("", None), (None, None), ("٣ ma", None), ("9" * 50, None)],
)  # fmt: skip
def test_limits_with_their_odd_unit(text, amperes):
    assert ina3221x.limit_a(text) == (None if amperes is None else pytest.approx(amperes))


@given(st.text(max_size=200))
def test_no_text_breaks_a_limit(text):
    limit = ina3221x.limit_a(text)
    assert limit is None or abs(limit) < 1e6
