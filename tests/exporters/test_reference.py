"""The reference's answers beside an artifact: what is kept, what may differ, and what `verify` makes of it."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import exporters
from exporters.reference import WHOLE, rounding
from mobile.benchmark.verifying import difference, promise
from mobile.cli.main import run
from mobile.errors import ExportError, InputError, ModelError, UsageError
from mobile.formats import Manifest, manifest_path
from tests.support.cli import edgewise, edgewise_json
from tests.support.products import two_products


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "m.onnx"
    onnx.save(two_products(), path)
    return path


@pytest.fixture(scope="module")
def artifact(source):
    path = source.with_name("m.ternary.onnx")
    exporters.export(source, path, scheme="ternary", target="ort:1.32", keep_reference=True)
    return path


def evidence(path):
    entries = Manifest.load(manifest_path(path)).evidence
    return next((entry for entry in entries if entry["kind"] == "reference"), None)


def test_the_kept_answers_are_those_of_the_dequantised_weights(source, artifact):
    told = evidence(artifact)
    with np.load(artifact.with_name(told["file"])) as kept:
        x, answers = kept["x"], kept["reference.y"]
    assert len(x) == len(answers) == told["items"] > 1
    model = onnx.load(source)
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    first, second = (np.clip(np.rint(w / abs(w).mean()), -1, 1) * abs(w).mean() for w in weights)  # BitNet's absmean
    assert np.allclose(np.maximum(x @ first, 0) @ second, answers, rtol=1e-4, atol=1e-3)


def test_the_tolerance_is_between_what_rounding_does_and_what_a_fault_does(artifact):
    (told,) = evidence(artifact)["outputs"].values()
    assert 0 < told["host"] < told["tolerance"] == told["float32"] + told["rounding"]
    assert told["tolerance"] < 0.2 * told["largest"]


def test_where_no_carrier_rounds_only_float32_may_differ(source, tmp_path):
    out = tmp_path / "m.codebook.onnx"
    exporters.export(source, out, scheme="codebook", keep_reference=True)
    (told,) = evidence(out)["outputs"].values()
    assert told["rounding"] == 0
    assert told["tolerance"] == pytest.approx(1e-4 * told["largest"])


def test_a_tflite_file_has_a_reference_and_its_load_too(source, tmp_path):
    out = tmp_path / "m.int8.tflite"
    exporters.export(source, out, format="tflite", scheme="*=int8", target="litert:2.3", keep_reference=True)
    (told,) = evidence(out)["outputs"].values()
    assert told["rounding"] > 0  # hybrid kernels round activations
    (load,) = [entry for entry in Manifest.load(manifest_path(out)).evidence if entry["kind"] == "loading"]
    assert load["runtime"].startswith("LiteRT") and load["load_s"] > 0
    assert load["peak_rss_bytes"] is None or load["peak_rss_bytes"] > 0


def test_a_whole_int8_network_has_no_exact_reference(source, tmp_path):
    with pytest.raises(UsageError, match="compressed weights"):
        exporters.export(source, tmp_path / "o.onnx", scheme="int8", keep_reference=True)
    assert list(tmp_path.iterdir()) == []


def test_an_export_without_it_removes_the_old_answers(source, tmp_path):
    out = tmp_path / "o.onnx"
    exporters.export(source, out, scheme="binary", keep_reference=True)
    assert (tmp_path / "o.onnx.reference.npz").exists()
    exporters.export(source, out, scheme="binary")
    assert not (tmp_path / "o.onnx.reference.npz").exists()


def test_verify_says_equal_and_what_it_took(artifact):
    document = edgewise_json("verify", artifact.name, "--on", "local", cwd=artifact.parent)
    (row,) = document["verified"]
    assert (row["state"], row["device"]) == ("equal", "local")
    assert 0 <= row["worst_share"] < 1
    assert row["peak_rss_bytes"] > row["before_load_bytes"] > 0
    assert row["packed"]["checked"]["ok"] and "2" in row["packed"]["bytes_by_bits"]


def test_verify_sees_an_artifact_with_a_wrong_scale(source, artifact, tmp_path):
    """The file and its manifest agree, but the weights are 50 % too large: as a faulty kernel would make them."""
    model = onnx.load(artifact)
    tensor = next(one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
    bad = tmp_path / artifact.name
    onnx.save(model, bad)
    document = json.loads(manifest_path(artifact).read_text())
    document["sha256"] = promise_hash(bad)
    manifest_path(bad).write_text(json.dumps(document))
    kept = f"{artifact.name}.reference.npz"
    (tmp_path / kept).write_bytes(artifact.with_name(kept).read_bytes())
    done = edgewise("verify", bad.name, cwd=tmp_path)
    assert done.returncode == 1
    assert "differs" in done.stdout and "allowed is" in done.stdout


def promise_hash(path):
    from mobile.formats import index

    return index(path).sha256


def test_files_that_do_not_belong_together_are_refused(artifact, tmp_path):
    copy = tmp_path / artifact.name
    copy.write_bytes(artifact.read_bytes())
    manifest_path(copy).write_bytes(manifest_path(artifact).read_bytes())
    with pytest.raises(InputError, match="are not there"):
        promise(copy)
    (tmp_path / f"{artifact.name}.reference.npz").write_bytes(b"other")
    with pytest.raises(InputError, match="content differs"):
        promise(copy)
    copy.write_bytes(artifact.with_name("m.onnx").read_bytes())
    with pytest.raises(ModelError, match="its content differs"):
        promise(copy)


def test_an_artifact_without_a_reference_names_the_option(source, capsys):
    out = source.with_name("plain.onnx")
    exporters.export(source, out, scheme="binary")
    assert run(["verify", str(out)]) == 2
    assert "--keep-reference" in capsys.readouterr().err


def test_inputs_without_a_common_first_axis_are_refused(tmp_path):
    from exporters.reference import keep
    from mobile.formats import TensorInfo

    with pytest.raises(ExportError, match="common first axis"):
        keep(tmp_path / "r.onnx", lambda feed: [], [], [TensorInfo("x", "float32", ())], ["y"], {}, "given")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([np.ones(3)], "1 answers for 2 items"),
        ([np.ones(3), None], "no array"),
        ([np.ones(3), np.ones(4)], r"\[4\], expected \[3\]"),
        ([np.ones(3), np.array([1, np.nan, 1])], "not finite"),
        ([np.ones(3), np.array([1, 1, 1.2])], "off by 0.2"),
    ],
)
def test_every_way_to_differ_is_named(given, why):
    import re

    found = difference("y", given, np.ones((2, 3), np.float32), 0.1)
    assert not found.ok
    assert re.search(why, found.why)


def test_within_the_tolerance_is_equal_and_the_same_nan_is_equal():
    want = np.array([[1.0, np.nan], [np.inf, 2.0]])
    found = difference("y", [np.array([1.05, np.nan]), np.array([np.inf, 2.0])], want, 0.1)
    assert (found.ok, found.difference) == (True, pytest.approx(0.05))


def test_rounding_is_by_block_or_by_the_whole_tensor():
    x = np.array([[1.0, -2.0, 8.0, 0.0, 0.5]])
    assert rounding(x, 2)[0] == pytest.approx(np.array([2, 2, 8, 8, 0.5]) / 254, rel=2e-3)
    assert rounding(x, WHOLE)[0] == pytest.approx(np.full(5, 10 / 255), rel=2e-3)
