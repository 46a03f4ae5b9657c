"""The facts of a device: found, or null with a reason; nothing that identifies its owner."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import textwrap

import pytest

from device_agents.facts import board, cpu, device_facts, software
from tests.support.phone import make_phone, recorded
from tests.support.sysfs import make_tree, read_tsv

KEYS = {
    "model",
    "soc",
    "arch",
    "cores",
    "cpu_clusters",
    "governor",
    "memory_bytes",
    "memory_available_bytes",
    "os",
    "kernel",
    "libc",
    "python",
    "runtimes",
    "power_supply",
    "power_mode",
    "clocks_locked",
    "clock_utc",
    "missing",
}


def test_this_machine():
    facts = device_facts()
    assert set(facts) == KEYS
    assert facts["arch"] == platform.machine()
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > facts["memory_available_bytes"] > 2**20
    assert facts["kernel"] == platform.release()
    assert facts["python"] == {"version": platform.python_version(), "executable": sys.executable, "bits": 64}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", facts["clock_utc"])
    assert {key for key, value in facts.items() if value is None} | {"runtimes"} >= set(facts["missing"])
    assert all(facts["missing"].values())
    assert platform.node() not in json.dumps({k: v for k, v in facts.items() if k != "python"}).split('"')


def test_nothing_known_is_null_with_a_reason(tmp_path):
    facts = device_facts(str(tmp_path))
    unknown = {key for key, value in facts.items() if value is None}
    assert unknown == {
        "model",
        "soc",
        "cores",
        "cpu_clusters",
        "governor",
        "memory_bytes",
        "memory_available_bytes",
        "os",
        "kernel",
        "power_supply",
        "power_mode",
        "clocks_locked",
    }
    assert unknown <= set(facts["missing"])


def test_laptop(tmp_path):
    facts = device_facts(make_tree(tmp_path, read_tsv("constructed_x86_laptop.tsv")))
    assert facts["model"] == "Example Computers Laptop 14"
    assert facts["cores"] == 4
    assert facts["cpu_clusters"] == [
        {"cpus": [0, 1], "max_hz": 4e9, "capacity": None},
        {"cpus": [2, 3], "max_hz": 3e9, "capacity": None},
    ]
    assert facts["governor"] == "powersave,performance"
    assert facts["memory_bytes"] == 16303232 * 1024
    assert facts["memory_available_bytes"] is None
    assert facts["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert facts["kernel"] == "6.1.0-18-amd64"
    assert facts["power_supply"] == {"source": "battery", "battery": "Discharging"}
    assert "SECRET" not in json.dumps(facts)


def test_pi5(tmp_path):
    files = read_tsv("constructed_pi5.tsv")
    files["/proc/device-tree/model"] = b"Raspberry Pi 5 Model B Rev 1.0\0"
    files["/proc/device-tree/compatible"] = b"raspberrypi,5-model-b\0brcm,bcm2712\0"
    facts = device_facts(make_tree(tmp_path, files))
    assert facts["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts["soc"] == "brcm,bcm2712"


def test_clusters_of_a_phone_without_cpufreq(tmp_path):
    files = {f"/sys/devices/system/cpu/cpu{n}/cpu_capacity": str(400 if n < 4 else 1024) for n in range(8)}
    clusters, _ = cpu.clusters(make_tree(tmp_path, files))
    assert [c["cpus"] for c in clusters] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [c["capacity"] for c in clusters] == [400, 1024]


@pytest.mark.parametrize(
    "text, cpus",
    [("0-3,5", [0, 1, 2, 3, 5]), ("0 1 2", [0, 1, 2]), ("", []), ("x-y", []), ("3-1", []), ("٣", [])],
)
def test_cpu_lists(text, cpus):
    assert cpu.cpu_list(text) == cpus


def test_a_cpu_list_from_hell_stays_small():
    assert len(cpu.cpu_list("0-99999,5-99999")) < 10_000


@pytest.mark.parametrize(
    "files, expected",
    [
        (
            {
                "/sys/class/dmi/id/product_name": "System Product Name",
                "/sys/class/dmi/id/board_name": "Z790",
                "/sys/class/dmi/id/board_vendor": "ACME",
            },
            "ACME Z790",
        ),
        ({"/sys/class/dmi/id/product_name": "ACME Box", "/sys/class/dmi/id/sys_vendor": "ACME"}, "ACME Box"),
        ({"/sys/class/dmi/id/product_name": "To Be Filled By O.E.M."}, None),
        ({"/sys/firmware/devicetree/base/model": b"NVIDIA Jetson Orin Nano\0"}, "NVIDIA Jetson Orin Nano"),
    ],
)
def test_models(tmp_path, files, expected):
    model, reason = board.model(make_tree(tmp_path, files))
    assert model == expected
    assert (reason is None) == (expected is not None)


@pytest.mark.parametrize(
    "script, expected",
    [
        ('[ "$1" = ro.product.model ] && echo "Pixel  8a"', "Pixel 8a"),
        ("echo; exit 1", None),
        ("exec >&-; exec sleep 60", None),
    ],
    ids=["answers", "knows none", "hangs"],
)
def test_a_phone_is_asked_for_its_model(tmp_path, monkeypatch, script, expected):
    """Neither adb's list of devices nor the greeting of adbd has it on every phone."""
    (tmp_path / "getprop").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "getprop").chmod(0o755)
    own, _ = board.model("/")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(board, "_GETPROP_LIMIT_S", 1.0)
    assert board.model("/")[0] == (expected or own)


@pytest.mark.parametrize(
    "online, status, source",
    [
        ("1", "Discharging", "external"),
        ("0", "Discharging", "battery"),
        ("0", "Full", "external"),
        ("0", "Unknown", None),
    ],
)
def test_what_feeds_the_device(tmp_path, online, status, source):
    files = {
        "/sys/class/power_supply/AC/online": online,
        "/sys/class/power_supply/BAT0/type": "Battery",
        "/sys/class/power_supply/BAT0/status": status,
    }
    supply, _ = board.power_supply(make_tree(tmp_path, files))
    assert supply == {"source": source, "battery": status}


def test_a_phone_is_known_by_its_properties_and_its_reports(tmp_path):
    properties = {
        "ro_product_model": "SM-S911B",
        "ro_product_manufacturer": "samsung",
        "ro_build_version_release": "14",
        "ro_build_version_sdk": "34",
        "ro_build_type": "user",
        "ro_soc_model": "SM8550",
        "ro_serialno": "SECRET",
    }
    reports = {"battery": recorded("android/battery/samsung_s23_usb.txt")}
    facts = device_facts(make_phone(tmp_path, reports, **properties))
    assert facts["model"] == "SM-S911B" and facts["soc"] == "SM8550" and facts["os"] == "Android 14"
    assert facts["android"] == {"maker": "samsung", "release": "14", "sdk": "34", "build_type": "user"}
    assert facts["power_supply"] == {"source": "external", "battery": "Charging"}
    assert "SECRET" not in json.dumps(facts)
    assert not {"model", "soc", "os", "power_supply"} & set(facts["missing"])


@pytest.mark.parametrize(
    "report, supply",
    [
        ("", None),
        (
            "Current Battery Service state:\n  USB powered: false\n  status: 3\n",
            {"source": "battery", "battery": "Discharging"},
        ),
        ("Current Battery Service state:\n  status: 5\n", {"source": "external", "battery": "Full"}),
        ("Current Battery Service state:\n  level: 50\n  status: 1\n", {"source": None, "battery": "Unknown"}),
    ],
)
def test_what_feeds_a_phone_that_closes_its_files(tmp_path, report, supply):
    assert board.power_supply(make_phone(tmp_path, {"battery": report}))[0] == supply


def fake_package(folder, name, version, code=""):
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(textwrap.dedent(code))
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def runtime(name, **options):
    return next(entry for entry in software.runtimes(**options) if entry["name"] == name)


def test_runtimes_are_found_without_importing_them(tmp_path):
    fake_package(tmp_path, "onnxruntime", "9.8.7", "raise SystemExit('imported')")
    assert runtime("onnxruntime", python_path=[str(tmp_path)]) == {
        "name": "onnxruntime",
        "version": "9.8.7",
        "providers": [],
        "python_path": str(tmp_path),
        "error": None,
    }


def test_probing_asks_for_providers_in_a_process_of_its_own(tmp_path):
    code = """
        import os
        print("noise on stdout")
        def get_available_providers():
            return ["CPUExecutionProvider", os.environ["ORT_DISABLE_TELEMETRY"]]
    """
    fake_package(tmp_path, "onnxruntime", "9.8.7", code)
    found = runtime("onnxruntime", python_path=[str(tmp_path)], probe=True)
    assert found["providers"] == ["CPUExecutionProvider", "1"]
    assert found["error"] is None


@pytest.mark.parametrize(
    "code, words",
    [
        ("raise ImportError('libstdc++.so.6: cannot open shared object file')", "libstdc++.so.6"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import os; os.write(2, b'Illegal thing'); os._exit(3)", "exit code 3: Illegal thing"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_what_keeps_a_runtime_from_loading(tmp_path, code, words):
    fake_package(tmp_path, "onnxruntime", "9.8.7", code)
    found = runtime("onnxruntime", python_path=[str(tmp_path)], probe=True)
    assert words in found["error"]
    assert found["version"] == "9.8.7"
    assert found["providers"] == []


def test_an_import_that_hangs_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(software, "PROBE_TIMEOUT_S", 0.3)
    fake_package(tmp_path, "onnxruntime", "9.8.7", "import time; time.sleep(60)")
    assert "longer than 0.3 s" in runtime("onnxruntime", python_path=[str(tmp_path)], probe=True)["error"]


def test_a_package_without_metadata_has_no_version_until_it_is_asked(tmp_path):
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").write_text("__version__ = '2.14.0'")
    (tmp_path / "tflite_runtime" / "interpreter.py").write_text("")
    assert runtime("tflite_runtime", python_path=[str(tmp_path)])["version"] is None
    assert runtime("tflite_runtime", python_path=[str(tmp_path)], probe=True)["version"] == "2.14.0"


def test_the_working_folder_is_not_searched(tmp_path):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("raise ImportError('the wrong numpy')")
    code = "from device_agents.facts import software; print(software._probe('numpy', []))"
    environment = dict(os.environ, PYTHONPATH=os.getcwd())
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "the wrong numpy" not in result.stdout
    assert "version" in result.stdout


def test_nothing_heavy_is_imported():
    code = "import sys; from device_agents.facts import device_facts; device_facts(); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"numpy", "onnxruntime", "ai_edge_litert", "tflite_runtime"} & set(result.stdout.split())
