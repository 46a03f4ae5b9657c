"""Large models, made large by a lower limit: one session at a time, weights through files, equal results."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import exporters
from exporters import loading, quantize, runtime, saving, sources, stages, streaming
from exporters.compress.fit import compress_all
from exporters.compress.schemes import parse_scheme
from exporters.compress.spec import write_spec
from exporters.compress.weights import find_weights
from exporters.sources import load_ir
from mobile.formats import index
from tests.support.onnx_text import listing

SCHEMES = (
    None, "int4:g=32", "binary", "codebook", "block-pruned:block=8", "low-rank", "fp16", "ternary:trits",
    "shared:of=int4", "w0=low-rank,@gemm=sparse,*=power-of-two",
)  # fmt: skip
TEXT = """
<ir_version: 8, opset_import: ["" : %d]>
g (float[n, 64] x) => (float[n, 64] y) {
    a = MatMul (x, w0)  b = Relu (a)  c = MatMul (b, w1)  d = MatMul (c, w2)  e = Gemm <transB = 1> (d, w3, bias)
    y = Identity (e)
}
"""


@pytest.fixture(autouse=True)
def _no_loading_is_measured(monkeypatch):
    monkeypatch.setattr(stages, "measure_loading", lambda model: loading.Loading("not measured", 0.0, None, None))


@pytest.fixture
def source(tmp_path):
    """A chain with external data, of which two weights are equal."""
    return chain(tmp_path / "large.onnx", 18)


def chain(path, opset):
    model = onnx.parser.parse_model(TEXT % opset)
    random = np.random.default_rng(0)
    for name in ("w0", "w1", "w2", "w3", "bias"):
        shape = (64,) if name == "bias" else (64, 64)
        values = random.standard_normal(shape).astype(np.float32) / 8
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    model.graph.initializer[2].raw_data = model.graph.initializer[1].raw_data
    onnx.save(model, path, save_as_external_data=True, location="large.data", size_threshold=1000)
    return path


@pytest.fixture
def everything_is_large(monkeypatch):
    """Lower limits, and the most sessions of large models that were open at once."""
    monkeypatch.setattr(sources, "LARGE_BYTES", 1000)
    monkeypatch.setattr(saving, "STREAM_BYTES", 1000)
    monkeypatch.setattr(streaming, "BIG_BYTES", 1000)
    monkeypatch.setattr("exporters.carriers.tape.BIG_BYTES", 1000)
    opened, most = runtime.Session._opened, []

    def counted(self):
        session = opened(self)
        most.append(sum(other._session is not None for other in runtime._alone))
        assert self._is_alone
        return session

    monkeypatch.setattr(runtime.Session, "_opened", counted)
    return most


def export(source, out, **options):
    out.mkdir(exist_ok=True)
    result = exporters.export(source, out / "small.onnx", **options)
    model = onnx.load(out / "small.onnx")
    return result, {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_large_model_is_exported_with_one_session_at_a_time(source, tmp_path, scheme, request):
    usual, weights = export(source, tmp_path / "usual", scheme=scheme, target="ort:1.32")
    most = request.getfixturevalue("everything_is_large")
    result, same = export(source, tmp_path / "large", scheme=scheme, target="ort:1.32")
    assert max(most) == 1 and weights == same
    assert listing(tmp_path / "large") == listing(tmp_path / "usual")
    onnx.checker.check_model(str(tmp_path / "large" / "small.onnx"), full_check=True)
    if scheme is not None:
        assert result.proof.ok and [use.how for use in result.proof.uses] == [use.how for use in usual.proof.uses]
        assert result.reference.tensors[0].relative_error == usual.reference.tensors[0].relative_error
        assert result.quantization == usual.quantization


@pytest.mark.usefixtures("everything_is_large")
def test_a_large_spec_goes_in_weight_by_weight(source, tmp_path):
    weights = {weight.name: (weight.array(), weight.kind, weight.axis) for weight in find_weights(load_ir(source))}
    write_spec(compress_all(weights, parse_scheme("w3=shared,shared:of=ternary")), tmp_path / "w.safetensors")
    result, stored = export(source, tmp_path / "out", weights=tmp_path / "w.safetensors")
    assert result.proof.ok and "w3" in stored
    assert {entry["family"] for entry in result.manifest.quantization["tensors"]} == {"ternary", "shared"}


@pytest.mark.usefixtures("everything_is_large")
def test_a_large_result_has_external_data_of_its_own(source, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "EXTERNAL_BYTES", 1000)
    result, _ = export(source, tmp_path / "out", scheme="int8:g=32", target="ort:1.32")
    (data,) = index(tmp_path / "out" / "small.onnx").external_files
    assert result.proof.ok and (tmp_path / "out" / data).stat().st_size > 3 * 64 * 64


def test_a_wrong_weight_of_a_large_model_is_seen(source, tmp_path, everything_is_large, monkeypatch):
    from exporters.compress.tensors import Affine, Codebook
    from mobile.errors import ExportError

    for family, scheme in ((Affine, "int4:g=32"), (Codebook, "codebook")):
        right = family.dequantise_rows
        monkeypatch.setattr(family, "dequantise_rows", lambda self, right=right: right(self) * np.float32(2))
        with pytest.raises(ExportError, match="differs from its reference"):
            export(source, tmp_path / "out", scheme=scheme, target="ort:1.32")
        monkeypatch.setattr(family, "dequantise_rows", right)
    assert listing(tmp_path / "out") == []


def test_the_opset_of_external_data_is_converted_without_its_weights(tmp_path):
    source = chain(tmp_path / "large.onnx", 12)
    result, stored = export(source, tmp_path / "out", scheme="int8", target="ort:1.32")
    assert result.manifest.opsets[""] == 13 and result.parity.ok
    plain, weights = export(source, tmp_path / "plain", target="ort:1.8")
    assert plain.parity.ok and weights["w0"] == numpy_helper.to_array(onnx.load(source).graph.initializer[0]).tobytes()
    assert stored


def test_a_streamed_file_is_the_same_model(source, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BIG_BYTES", 1000)
    model = load_ir(source)
    streaming.write_one_file(model, tmp_path / "one.onnx")
    want, have = onnx.load(source), onnx.load(tmp_path / "one.onnx", load_external_data=False)
    first = {tensor.name: (tensor.data_type, numpy_helper.to_array(tensor)) for tensor in want.graph.initializer}
    second = {tensor.name: (tensor.data_type, numpy_helper.to_array(tensor)) for tensor in have.graph.initializer}
    assert first.keys() == second.keys()
    assert all(first[name][0] == second[name][0] and (first[name][1] == second[name][1]).all() for name in first)
    assert have.SerializeToString() == onnx.ModelProto.FromString(have.SerializeToString()).SerializeToString()
    nodes = [[(node.op_type, node.input, node.output) for node in model.graph.node] for model in (want, have)]
    assert nodes[0] == nodes[1] and have.opset_import == want.opset_import
    assert index(tmp_path / "one.onnx").external_files == ()
    assert all(isinstance(value.const_value.nbytes, int) for value in model.graph.initializers.values())


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31, 2**40])
def test_numbers_are_written_as_protobuf_writes_them(number):
    tensor = onnx.TensorProto(dims=[number])
    assert tensor.SerializeToString().endswith(streaming._varint(number))
