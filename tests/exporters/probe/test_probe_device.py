"""Models for every carrier of a target, and a probe of this machine through the command."""

import onnx

from exporters.probe import find_probe
from exporters.probe.models import candidates
from exporters.targets import parse_target
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
