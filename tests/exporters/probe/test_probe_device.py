"""Models for every carrier of a target, and a probe of this machine through the command."""

from pathlib import Path

import onnx

from exporters.device_target import target_text
from exporters.probe import Measured, Probe, find_probe
from exporters.probe.models import candidates
from exporters.targets import parse_target
from mobile.cli.main import run
from mobile.inventory import load_inventory
from tests.support.cli import edgewise_json


def carriers(scheme, target, folder):
    return {one.carrier: one for one in candidates(scheme, 128, 256, parse_target(target), folder)}


def test_an_old_runtime_gets_no_carrier_that_it_lacks(tmp_path):
    assert "MatMulNBits b2" in carriers("ternary", "ort:1.32", tmp_path)
    old = carriers("ternary", "ort:1.19", tmp_path)
    assert old
    assert not any("b2" in name for name in old)


def test_the_models_differ_in_their_operators(tmp_path):
    found = carriers("int8", "ort:1.32", tmp_path)
    kinds = {name: {node.op_type for node in onnx.load(one.path).graph.node} for name, one in found.items()}
    assert len(kinds) >= 2
    assert any("MatMulInteger" in operators for operators in kinds.values())


def test_this_machine_is_probed_and_the_exporter_reads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))
    document = edgewise_json(
        "probe", "local", "--schemes", "float,int4", "--shapes", "64x128", "--rows", "2", "--duration", "0.02",
        cwd=tmp_path, EDGEWISE_CACHE=str(tmp_path),
    )  # fmt: skip
    families = {one["family"] for one in document["measured"]}
    assert families == {"float", "int4"}
    found = find_probe("local", document["runtime"])
    assert found is not None
    assert found.rank("int4", 64, 128, 2)


def test_an_export_for_a_device_says_whether_its_carriers_are_ranked(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))
    source = str(Path(__file__).parents[3] / "mobile/example/fashion_mnist.onnx")
    arguments = ["export", source, "-o", str(tmp_path / "o.onnx"), "--scheme", "int4", "--target", "local"]
    assert run(arguments) == 0
    assert "`edgewise probe local` measures them there" in capsys.readouterr().err
    release = target_text("local", "onnx", load_inventory(None))
    times = (Measured("int4", "folded float32", 512, 784, 1, 1e-3), Measured("int4", "MatMulNBits", 512, 784, 1, 2e-3))
    Probe("local", release, "2026-01-01T00:00:00Z", "real", times, {}).save()
    assert run(arguments) == 0
    said = capsys.readouterr()
    assert "measures them there" not in said.err
    assert f"carriers are ranked by what was measured on local ({release})" in said.out
    assert "MatMulNBits" not in said.out


def test_emulated_times_rank_for_an_emulated_device_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    source = str(Path(__file__).parents[3] / "mobile/example/fashion_mnist.onnx")
    times = (Measured("int4", "folded float32", 512, 784, 1, 1e-3), Measured("int4", "MatMulNBits", 512, 784, 1, 2e-3))
    Probe(
        "board", target_text("local", "onnx", load_inventory(None)), "2026-01-01T00:00:00Z", "emulated", times, {}
    ).save()
    said = {}
    for provenance in ("emulated", "real"):
        (tmp_path / "devices.yaml").write_text(
            f"devices:\n  board: {{transport: local, provenance: {provenance}}}\n", encoding="utf-8"
        )
        assert run(["export", source, "-o", str(tmp_path / "o.onnx"), "--scheme", "int4", "--target", "board"]) == 0
        said[provenance] = capsys.readouterr()
    assert "THESE TIMES ARE EMULATED" in said["emulated"].err and "THESE TIMES ARE EMULATED" in said["emulated"].out
    assert "the probe's times are emulated, the device is real" in said["real"].err
    assert "ranked" not in said["real"].out
