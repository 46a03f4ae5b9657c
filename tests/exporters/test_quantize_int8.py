"""The int8 scheme: what is quantised, with which data, and how its error is reported."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

import exporters
from exporters.quantize import measure
from mobile.errors import ExportError, InputError
from mobile.example import INPUT_SCALE, evaluation_path, model_path
from mobile.formats import index
from tests.support.onnx_text import SMALL, listing, saved


@pytest.fixture
def source(tmp_path):
    return saved(tmp_path / "small.onnx")


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "small.int8.onnx"


@pytest.fixture
def calibration(tmp_path):
    path = tmp_path / "calibration.npz"
    np.savez(path, image=np.random.default_rng(1).random((40, 3, 8, 8), np.float32))
    return path


def test_weights_are_int8_per_channel_and_activations_uint8(source, out, calibration):
    exporters.export(source, out, scheme="int8", calibration=calibration)
    model = onnx.load(out)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    (conv,) = [node for node in model.graph.node if node.op_type == "Conv"]
    makers = {node.output[0]: node for node in model.graph.node}
    weight = makers[conv.input[1]]
    assert weights[weight.input[0]].data_type == TensorProto.INT8
    assert list(weights[weight.input[1]].dims) == [4]
    quantised = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {weights[node.input[2]].data_type for node in quantised} == {TensorProto.UINT8}


def test_only_domains_that_are_used_are_imported(source, out, calibration):
    exporters.export(source, out, scheme="int8", calibration=calibration, target="ort-1.12")
    found = index(out)
    assert set(found.opsets) == {""} and found.opsets[""] <= 17 and found.ir_version <= 8


def test_error_is_reported_as_figures_not_as_a_pass(source, out, calibration):
    result = exporters.export(source, out, scheme="int8", calibration=calibration)
    (figures,) = result.quantization.tensors
    assert 0 < figures.relative_error < 0.1 and figures.snr_db == pytest.approx(-20 * np.log10(figures.relative_error))
    assert 0 <= figures.argmax_agreement <= 1 and figures.rows == 40
    parity, error, loading = result.manifest.evidence
    assert loading["kind"] == "loading" and loading["load_s"] > 0
    assert (parity["kind"], parity["ok"]) == ("parity", True)
    assert error["kind"] == "quantization-error" and "not expected to be equal" in error["statement"]
    assert "ok" not in error and "ok" not in error["tensors"][0]
    assert result.manifest.quantization["calibration"] == {"inputs": "given", "items": 40}
    assert any("arg-max" in line for line in result.lines())


def test_figures_are_those_of_the_published_file(source, out, calibration):
    result = exporters.export(source, out, scheme="int8", calibration=calibration)
    image = np.load(calibration)["image"]
    want, have = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
        for path in (source, out)
    )
    expected = np.linalg.norm(have - want) / np.linalg.norm(want)
    (figures,) = result.quantization.tensors
    assert figures.relative_error == pytest.approx(expected, rel=1e-3)
    assert figures.argmax_agreement == np.mean(have.argmax(-1) == want.argmax(-1))


def test_the_example_keeps_its_answers(out):
    """Fashion-MNIST, real pixels: a quarter of the size, the same class in nearly all of 512 images."""
    result = exporters.export(
        model_path(), out, scheme="int8", calibration=evaluation_path(), scale=INPUT_SCALE, target="ort-1.19"
    )
    (figures,) = result.quantization.tensors
    assert figures.argmax_agreement > 0.97 and figures.relative_error < 0.05
    assert result.manifest.size_bytes < 0.3 * model_path().stat().st_size
    assert index(out).inputs == index(model_path()).inputs and index(out).outputs == index(model_path()).outputs


def test_generated_calibration_is_said_loudly(source, out):
    result = exporters.export(source, out, scheme="int8")
    assert any(note.startswith("CALIBRATED ON GENERATED NUMBERS") for note in result.manifest.notes)
    assert result.manifest.quantization["calibration"]["inputs"] == "generated"


def test_errors_are_measured_on_given_inputs_when_there_are_some(source, out, calibration, tmp_path):
    data = tmp_path / "inputs.npz"
    np.savez(data, image=np.random.default_rng(5).random((7, 3, 8, 8), np.float32))
    result = exporters.export(source, out, scheme="int8", calibration=calibration, inputs=data)
    assert result.quantization.inputs == "given" and result.quantization.tensors[0].rows == 7


def test_an_old_opset_is_raised_as_per_channel_scales_need(tmp_path, out, calibration):
    source = saved(tmp_path / "old.onnx", SMALL, opset=11)
    result = exporters.export(source, out, scheme="int8", calibration=calibration)
    assert result.manifest.opsets[""] == 13 and "opset 11 was converted to 13" in result.manifest.notes


def test_nothing_to_quantise(tmp_path, out):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (int64[2] x) => (int64[2] y) { y = Add (x, x) }
    """
    with pytest.raises(ExportError, match="found nothing"):
        exporters.export(saved(tmp_path / "ints.onnx", text), out, scheme="int8")
    assert listing(out.parent) == []


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((4, 3, 8, 9), np.float32), "shape"),
        (np.ones((4, 3, 8, 8)), "float64, expected float32"),
        (np.array([None], dtype=object), "pickled"),
    ],
)
def test_calibration_that_does_not_fit(source, out, tmp_path, array, said):
    path = tmp_path / "bad.npz"
    np.savez(path, image=array)
    with pytest.raises(InputError, match=said):
        exporters.export(source, out, scheme="int8", calibration=path)
    assert listing(out.parent) == []


def test_calibration_from_a_folder(source, out, tmp_path):
    folder = tmp_path / "items"
    folder.mkdir()
    for number in range(5):
        np.save(folder / f"{number}.npy", np.random.default_rng(number).random((3, 8, 8), np.float32))
    result = exporters.export(source, out, scheme="int8", calibration=folder)
    assert result.manifest.quantization["calibration"]["items"] == 5


def test_the_same_job_gives_the_same_bytes(source, out, calibration):
    exporters.export(source, out, scheme="int8", calibration=calibration)
    first = out.read_bytes()
    exporters.export(source, out, scheme="int8", calibration=calibration)
    assert out.read_bytes() == first


def test_outputs_without_a_choice_have_no_agreement_and_zero_sources_no_ratio():
    def source(feed):
        return [np.zeros((2, 1), np.float32), np.arange(4, dtype=np.int64)]

    found = measure(source, source, [{}], ["flat", "whole"], "given")
    (flat,) = found.tensors
    assert (flat.name, flat.relative_error, flat.snr_db, flat.argmax_agreement) == ("flat", None, None, None)


def test_a_quantised_model_that_gives_nan_is_refused():
    with pytest.raises(ExportError, match="NaN"):
        measure(lambda f: [np.ones(2, np.float32)], lambda f: [np.full(2, np.nan, np.float32)], [{}], ["y"], "given")
