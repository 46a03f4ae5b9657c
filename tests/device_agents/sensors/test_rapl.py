"""RAPL counters: recorded listings, what each zone covers, and who may read them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from device_agents.sensors import SensorError, rapl
from tests.support.sysfs import make_tree, set_file

RECORDED = Path(__file__).parents[2] / "data" / "telemetry" / "x86" / "rapl"
BASE = "/sys/class/powercap/"


def zone(path: str, name: str, energy_uj: int = 1_500_000, range_uj: int = 262_143_328_850) -> dict[str, str]:
    folder = BASE + path
    return {
        f"{folder}/name": name,
        f"{folder}/energy_uj": str(energy_uj),
        f"{folder}/max_energy_range_uj": str(range_uj),
    }


def look(root: str):
    """({name: value}, {name: descriptor})."""
    findings = rapl.find(root)
    about = {sensor.name: sensor.descriptor for sensor in findings.sensors}
    about.update({missing["name"]: missing for missing in findings.missing})
    return {sensor.name: sensor.read() for sensor in findings.sensors}, about


def test_the_dram_zone_of_a_haswell_does_not_fit_32_bits(tmp_path) -> None:
    files = {}
    for line in (RECORDED / "haswell_4770s_dram_zone_listing.txt").read_text().splitlines():
        found = re.match(r"(/sys/\S+?):([^/:]*)$", line)
        if found and "/power/" not in line:
            files[found.group(1)] = found.group(2)
    values, about = look(make_tree(tmp_path, files))
    (name,) = values
    assert name.endswith(".dram")
    assert values[name] == pytest.approx(2469.474853)
    assert about[name]["wraps_at"] == pytest.approx(262143.999938)
    assert about[name]["scope"].startswith("DRAM (not part of the package)")


def test_a_xeon_above_its_stated_range_is_read_and_its_range_is_not_believed(tmp_path) -> None:
    lines = (RECORDED / "xeon_find_print_cat_excerpt.txt").read_text().splitlines()
    counter = lines[lines.index("/sys/devices/virtual/powercap/intel-rapl/intel-rapl:1/energy_uj") + 1]
    values, about = look(make_tree(tmp_path, zone("intel-rapl:1", "package-1", int(counter))))
    assert values == {"energy.rapl.package-1": pytest.approx(6.0293987e7)}
    assert about["energy.rapl.package-1"]["wraps_at"] is None


@pytest.fixture
def closed_tree():
    """A package with the modes of a recorded listing, as another user sees it."""
    root = Path(tempfile.mkdtemp(prefix="edgewise-rapl-"))
    root.chmod(0o755)
    make_tree(root, zone("intel-rapl:0", "package-0"))
    for line in (RECORDED / "ls_l_root_only.txt").read_text().splitlines():
        words = line.split()
        target = root / (BASE + "intel-rapl:0/" + words[-1]).lstrip("/")
        if words[0].startswith("-") and target.exists():
            bits = "".join("0" if bit == "-" else "1" for bit in words[0][1:])
            target.chmod(int(bits, 2))
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield str(root)
    os.seteuid(user)
    shutil.rmtree(root)


def test_a_counter_for_root_alone_tells_who_may_read_it_and_the_remedy(closed_tree) -> None:
    values, about = look(closed_tree)
    assert values == {}
    refused = about["energy.rapl.package-0"]  # the name could be read, the counter not
    assert refused["state"] == "failed"
    for words in ("root only", "CVE-2020-8694", "udev rule", "group"):
        assert words in refused["reason"]


def test_amd_names_its_zones_like_intel_and_the_cores_are_a_part(tmp_path) -> None:
    files = {**zone("intel-rapl:0", "package-0"), **zone("intel-rapl:0:0", "core", 400_000)}
    values, about = look(make_tree(tmp_path, files))
    assert set(values) == {"energy.rapl.package-0", "energy.rapl.package-0.core"}
    assert about["energy.rapl.package-0"]["scope"] == "CPU package package-0"
    assert "part of the package" in about["energy.rapl.package-0.core"]["scope"]


def test_dies_of_a_package_are_packages_of_their_own(tmp_path) -> None:
    files = {**zone("intel-rapl:0", "package-0-die-0"), **zone("intel-rapl:1", "package-0-die-1")}
    values, about = look(make_tree(tmp_path, files))
    assert set(values) == {"energy.rapl.package-0-die-0", "energy.rapl.package-0-die-1"}
    assert all(entry["scope"].startswith("CPU package") for entry in about.values())


def test_psys_says_that_the_packages_are_in_it(tmp_path) -> None:
    _, about = look(make_tree(tmp_path, {**zone("intel-rapl:0", "package-0"), **zone("intel-rapl:1", "psys")}))
    assert "includes the CPU packages: do not add them" in about["energy.rapl.psys"]["scope"]


def test_the_second_way_to_the_same_package_is_not_counted(tmp_path) -> None:
    files = {**zone("intel-rapl:0", "package-0"), **zone("intel-rapl-mmio:0", "package-0")}
    values, _ = look(make_tree(tmp_path, files))
    assert set(values) == {"energy.rapl.package-0"}


def test_a_counter_says_its_step_and_how_often_it_is_new(tmp_path) -> None:
    _, about = look(make_tree(tmp_path, zone("intel-rapl:0", "package-0")))
    assert about["energy.rapl.package-0"]["resolution"] == pytest.approx(61e-6)
    assert about["energy.rapl.package-0"]["period_s"] == pytest.approx(1e-3)


@pytest.mark.parametrize("content", ["", "-", "12x", "1" * 40, "\x00\x01"])
def test_what_is_no_number_is_a_reason(tmp_path, content: str) -> None:
    root = make_tree(tmp_path, zone("intel-rapl:0", "package-0"))
    (sensor,) = rapl.find(root).sensors
    set_file(root, BASE + "intel-rapl:0/energy_uj", content)
    with pytest.raises(SensorError):
        sensor.read()
    values, about = look(root)
    assert values == {}
    assert about["energy.rapl.package-0"]["reason"]


def test_a_range_that_cannot_be_read_leaves_the_wrap_unknown(tmp_path) -> None:
    files = zone("intel-rapl:0", "package-0")
    del files[BASE + "intel-rapl:0/max_energy_range_uj"]
    values, about = look(make_tree(tmp_path, files))
    assert values == {"energy.rapl.package-0": pytest.approx(1.5)}
    assert about["energy.rapl.package-0"]["wraps_at"] is None
    assert "cannot be read" in about["energy.rapl.package-0"]["note"]


def test_a_machine_without_counters_says_why(tmp_path) -> None:
    _, about = look(str(tmp_path))
    assert about["energy.rapl"]["state"] == "absent"
    assert "virtual machines" in about["energy.rapl"]["reason"]
