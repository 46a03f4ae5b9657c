"""Exports from .onnx: what comes out is what went in, verified, and a failed export leaves nothing."""

import errno
import multiprocessing
import os
import random
import resource
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import exporters
from exporters import passes, quantize
from mobile.errors import EdgewiseError, ExportError, InputError, ModelError, UsageError
from mobile.formats import Manifest, index, manifest_path
from tests.support.onnx_text import SMALL, listing, parse, saved


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return saved(folder / "small.onnx")


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "small.onnx"


def _outputs(path, image):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": image})


def test_artifact_answers_as_its_source_and_says_so(source, out):
    steps = []
    result = exporters.export(source, out, progress=steps.append)
    image = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    assert np.allclose(_outputs(out, image)[0], _outputs(source, image)[0])
    assert result.parity.ok and result.parity.inferences == 3 and result.parity.worst.name == "logits"
    assert listing(out.parent) == ["small.onnx", "small.onnx.manifest.json"]
    manifest = Manifest.load(manifest_path(out))
    assert manifest == result.manifest and manifest.sha256 == index(out).sha256
    assert manifest.origin["sha256"] == index(source).sha256 and manifest.origin["name"] == "small.onnx"
    assert manifest.evidence[0]["kind"] == "parity" and steps[0] == "reading the source"
    assert any("verified" in line for line in result.lines()) and result.to_json()["parity"]["ok"]


def test_free_dimensions_stay_free(source, out):
    exporters.export(source, out, dims={"batch": 2})
    assert index(out).inputs == index(source).inputs and index(out).inputs[0].shape[0] == "batch"


@pytest.mark.parametrize("target", ["onnxruntime==1.12.1", "ort-1.12", "ort1.12"])
def test_target_bounds_opset_and_ir_version(tmp_path, out, target):
    source = saved(tmp_path / "new.onnx", SMALL.replace("ir_version: 8", "ir_version: 10"), opset=21)
    made = index(exporters.export(source, out, target=target).path)
    assert made.opsets[""] <= 17 and made.ir_version <= 8
    image = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    assert np.allclose(_outputs(out, image)[0], _outputs(source, image)[0], atol=1e-6)


def test_opset_within_the_target_is_not_touched(source, out):
    assert index(exporters.export(source, out, target="ort-1.32").path).opsets == {"": 17}


def test_what_the_target_has_not_got_is_refused_by_name(tmp_path, out):
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[2, 4] x) => (float[2, 4] y) { y = Gelu (x) }
    """
    source = saved(tmp_path / "gelu.onnx", text)
    with pytest.raises(ExportError, match=r"opset 21 to 18 for onnxruntime 1\.14") as caught:
        exporters.export(source, out, target="ort-1.14")
    assert "--target" in caught.value.hint and listing(out.parent) == []


def test_low_bit_weights_keep_their_ir_version(tmp_path, out):
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.INT4, [4], [1, -2, 3, 4])
    model = parse("""
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[4] x) => (float[4] y) <float s = {0.5}> { d = DequantizeLinear (w, s)  y = Add (x, d) }
    """)
    model.graph.initializer.append(weight)
    onnx.save(model, tmp_path / "int4.onnx")
    with pytest.raises(ExportError, match=r"holds int4|cannot be converted"):
        exporters.export(tmp_path / "int4.onnx", out, target="ort-1.17")


def test_equal_weights_and_dead_nodes_go_and_quantisation_scales_stay_apart(tmp_path, out):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2, 3] x) => (float[2, 3] y) <float[3] a = {1.0, 2.0, 3.0}, float[3] b = {1.0, 2.0, 3.0},
        float s = {0.5}, float t = {0.5}, uint8 z = {1}, uint8 z2 = {1}>
    {
        p = Add (x, a)
        q = Add (p, b)
        dead = Exp (q)
        i = Identity (q)
        k = QuantizeLinear (i, s, z)
        l = DequantizeLinear (k, t, z2)
        y = Relu (l)
    }
    """
    exporters.export(saved(tmp_path / "m.onnx", text), out)
    model = onnx.load(out)
    names = {tensor.name for tensor in model.graph.initializer}
    assert len(names & {"a", "b"}) == 1 and {"s", "t"} <= names
    assert [node.op_type for node in model.graph.node] == ["Add", "Add", "QuantizeLinear", "DequantizeLinear", "Relu"]


def test_machine_paths_and_stack_traces_are_stripped_and_labels_stay(tmp_path, out):
    model = parse(SMALL)
    model.graph.node[0].doc_string = "File /home/somebody/secret/train.py, line 3"
    model.graph.node[1].metadata_props.add(key="stack", value="/home/somebody/secret/train.py")
    model.graph.value_info.add(name="r").metadata_props.add(key="from", value="/home/somebody/secret")
    model.doc_string = "made by C:\\Users\\somebody"
    onnx.helper.set_model_props(model, {"labels": "cat/dog", "source": "/home/somebody/secret/train.py"})
    onnx.save(model, tmp_path / "m.onnx")
    exporters.export(tmp_path / "m.onnx", out)
    content = out.read_bytes() + manifest_path(out).read_bytes()
    assert b"somebody" not in content and str(tmp_path).encode() not in content
    assert index(out).metadata == {"labels": "cat/dog"}


def test_weights_listed_as_inputs_become_plain_weights(tmp_path, out):
    model = parse(SMALL.replace("ir_version: 8", "ir_version: 3"), opset=11)
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    onnx.save(model, tmp_path / "old.onnx")
    exporters.export(tmp_path / "old.onnx", out)
    assert [value.name for value in onnx.load(out).graph.input] == ["image"]


def test_a_branch_that_returns_an_outer_value_survives(tmp_path, out):
    """silero-vad has such branches; onnx-ir's own identity pass fails on them."""
    text = """
    <ir_version: 8, opset_import: ["" : 16]>
    g (bool flag, float[2] x) => (float[2] y)
    {
        a = Identity (x)
        b = Neg (a)
        y = If (flag) <
            then_branch = t () => (float[2] u) { u = Identity (b) },
            else_branch = e () => (float[2] v) { w = Identity (a)  v = Exp (w) }>
    }
    """
    assert exporters.export(saved(tmp_path / "if.onnx", text), out).parity.ok


def test_external_data_is_read_and_a_large_result_gets_its_own(tmp_path, out, monkeypatch):
    source = saved(tmp_path / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    exporters.export(source, out)
    assert index(out).external_files == ()
    monkeypatch.setattr(quantize, "EXTERNAL_BYTES", 100)
    result = exporters.export(source, out)
    (data,) = index(out).external_files
    assert listing(out.parent) == sorted([data, "small.onnx", "small.onnx.manifest.json"])
    assert result.manifest.sha256 == index(out).sha256 and len(result.manifest.files) == 2
    monkeypatch.undo()
    exporters.export(source, out)  # small again: the data file of the replaced artifact goes
    assert listing(out.parent) == ["small.onnx", "small.onnx.manifest.json"]


def test_given_inputs_are_compared_on(source, out, tmp_path):
    data = tmp_path / "data.npz"
    np.savez(data, image=np.random.default_rng(0).integers(0, 255, (20, 3, 8, 8), np.uint8), label=np.zeros(20))
    result = exporters.export(source, out, inputs=data, scale={"image": 1 / 255})
    assert (result.parity.inputs, result.parity.inferences) == ("given", 2)


def _wrong(model):
    tensor = model.graph.initializers["b"]
    import onnx_ir as ir

    tensor.const_value = ir.tensor(tensor.const_value.numpy() + np.float32(1), name="b")


def test_a_difference_names_the_worst_output_and_publishes_nothing(source, out, monkeypatch):
    out.write_bytes(b"the old artifact")
    monkeypatch.setattr(passes, "PASSES", (_wrong,))
    with pytest.raises(ExportError, match=r"output 'logits' \(float32\) is off by [\d.]+, allowed is 0\.0001"):
        exporters.export(source, out)
    assert out.read_bytes() == b"the old artifact" and listing(out.parent) == ["small.onnx"]


def test_a_difference_is_published_when_asked_for_and_told(source, out, monkeypatch):
    monkeypatch.setattr(passes, "PASSES", (_wrong,))
    result = exporters.export(source, out, publish_on_mismatch=True)
    assert not result.parity.ok and out.exists()
    assert any("differs" in note for note in result.manifest.notes)
    assert any("DIFFERS" in line for line in result.lines())


def test_without_verification_the_manifest_has_no_parity(source, out):
    result = exporters.export(source, out, verify=False)
    assert result.parity is None and result.manifest.evidence == []


def test_a_random_source_is_told_from_a_wrong_export(tmp_path, out):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[4] y) { n = RandomNormalLike (x)  y = Add (x, n) }
    """
    with pytest.raises(ExportError, match="source itself answers differently"):
        exporters.export(saved(tmp_path / "random.onnx", text), out)


def test_a_failing_pass_is_named(source, out, monkeypatch):
    def broken_pass(model):
        raise ValueError("no")

    monkeypatch.setattr(passes, "PASSES", (broken_pass,))
    with pytest.raises(ExportError, match="the pass broken_pass failed"):
        exporters.export(source, out)


@pytest.mark.parametrize("content", [b"", b"\x08\x08", b"random" * 50, bytes(range(256)), SMALL.encode()])
def test_a_bad_source_is_refused_and_leaves_nothing(tmp_path, out, content):
    source = tmp_path / "bad.onnx"
    source.write_bytes(content)
    with pytest.raises(ModelError):
        exporters.export(source, out)
    assert listing(out.parent) == []


def test_a_truncated_source(source, out):
    whole = source.read_bytes()
    for size in range(0, len(whole), 97):
        source.write_bytes(whole[:size])
        with pytest.raises(EdgewiseError):
            exporters.export(source, out)
    assert listing(out.parent) == []


def test_missing_source_and_missing_or_escaping_external_data(tmp_path, out):
    with pytest.raises(ModelError, match="no such file"):
        exporters.export(tmp_path / "none.onnx", out)
    source = saved(tmp_path / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    (tmp_path / "big.data").unlink()
    with pytest.raises(ModelError, match="missing"):
        exporters.export(source, out)
    assert listing(out.parent) == []


def test_an_invalid_graph_is_refused_with_the_checkers_words(tmp_path, out):
    model = parse(SMALL)
    model.graph.node[0].input[0] = "nowhere"
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(ModelError, match="nowhere"):
        exporters.export(tmp_path / "bad.onnx", out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "coreml"}, "coreml"),
        ({"scheme": "int9"}, "int9"),
        ({"target": "tensorrt-8"}, "tensorrt-8"),
        ({"target": "ort-1.2"}, "1.8 to 1.32"),
        ({"calibration": "x.npz"}, "without a scheme"),
        ({"dims": {"batch": 0}}, "at least 1"),
        ({"example": ["x:1:float32"]}, "PyTorch"),
    ],
)
def test_wrong_options_are_named(source, out, options, said):
    with pytest.raises(UsageError, match=said):
        exporters.export(source, out, **options)
    assert listing(out.parent) == []


def test_the_source_is_never_the_output(source):
    before = source.read_bytes()
    with pytest.raises(UsageError, match="the source itself"):
        exporters.export(source, source)
    assert source.read_bytes() == before


def test_inputs_that_cannot_be_generated_ask_for_real_ones(tmp_path, out):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x, float[m] y) => (float[k] z) <int64[1] s = {7777}> { a = Reshape (x, s)  z = Add (a, y) }
    """
    source = saved(tmp_path / "odd.onnx", text)
    with pytest.raises(InputError, match="no generated input is accepted") as caught:
        exporters.export(source, out)
    assert "--inputs" in caught.value.hint
    assert exporters.export(source, out, dims={"n": 7777, "m": 1}).parity.ok


# --- interrupted and out of space


STEPS = ["reading", "cleaning", "comparing", "calibrating", "measuring", "publishing"]


@pytest.mark.parametrize("phase", STEPS)
def test_an_interrupt_leaves_the_old_artifact_and_nothing_else(source, out, phase):
    exporters.export(source, out)
    before = {name: (out.parent / name).read_bytes() for name in listing(out.parent)}

    def interrupt(step):
        if step.startswith(phase):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exporters.export(source, out, scheme="int8", progress=interrupt)
    assert {name: (out.parent / name).read_bytes() for name in listing(out.parent)} == before


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_an_interrupt_while_publishing_puts_everything_back(source, out, monkeypatch, allowed):
    """The data file, the model and the manifest are moved in that order: stopped before each of them."""
    exporters.export(source, out)
    before = {name: (out.parent / name).read_bytes() for name in listing(out.parent)}
    monkeypatch.setattr(quantize, "EXTERNAL_BYTES", 100)
    real, moved = Path.replace, []

    def replace(self, target):
        if Path(target).parent == out.parent and self.parent.name.startswith(".small.onnx.edgewise-"):
            if len(moved) == allowed:
                monkeypatch.setattr(Path, "replace", real)
                raise KeyboardInterrupt
            moved.append(target)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        exporters.export(source, out)
    assert len(moved) == allowed
    assert {name: (out.parent / name).read_bytes() for name in listing(out.parent)} == before


def _export_with_small_files(source, out, queue):
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
    try:
        exporters.export(source, out, verify=False)
    except ExportError as error:
        queue.put(error.message)
    else:
        queue.put("it was written")


def test_a_write_that_the_system_refuses(source, out):
    """A file size limit: the kernel fails the write, as a full disk does."""
    out.write_bytes(b"old")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_export_with_small_files, args=(source, out, queue))
    process.start()
    message = queue.get(timeout=30)
    process.join(timeout=60)
    assert process.exitcode == 0
    assert "cannot be written (File too large)" in message
    assert out.read_bytes() == b"old" and listing(out.parent) == ["small.onnx"]


def test_a_full_disk(tmp_path, source, monkeypatch):
    """On a real file system of 16 kB where mounting is allowed, else with an fsync that says the same."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    try:
        if mounted:
            (folder / "filler").write_bytes(bytes(12 * 1024))
        else:

            def full(_):
                raise OSError(errno.ENOSPC, "No space left on device")

            monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ExportError, match="No space left on device") as caught:
            exporters.export(source, folder / "m.onnx")
        assert "space" in caught.value.hint
        assert [name for name in listing(folder) if name != "filler"] == []
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True, timeout=20)


def test_unwritable_places(tmp_path, source):
    with pytest.raises(ExportError, match="there is no folder"):
        exporters.export(source, tmp_path / "none" / "m.onnx")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError, match="is a folder"):
        exporters.export(source, tmp_path / "folder")
    with pytest.raises(ExportError, match="cannot be written"):
        exporters.export(source, Path("/proc/m.onnx"))


def test_a_manifest_that_is_no_manifest_deletes_nothing(source, out):
    manifest_path(out).write_text('{"files": [{"location": "../../x.data"}]}')
    other = out.parent / "small.other.data"
    other.write_bytes(b"not ours")
    exporters.export(source, out)
    assert other.exists()


def test_telemetry_is_off_before_onnxruntime_is_imported():
    import sys

    code = (
        "import os, sys; os.environ.pop('ORT_DISABLE_TELEMETRY', None); import exporters;"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'torch', 'onnx_ir'} & set(sys.modules);"
        "from exporters.runtime import onnxruntime; onnxruntime();"
        "print(sorted(heavy), os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[0] == "[] 1"


def test_manifest_is_exactly_what_was_published(source, out):
    result = exporters.export(source, out, target="ort-1.19")
    made = result.manifest
    assert (made.target, made.scheme) == ("onnxruntime 1.19", None)
    assert made.size_bytes == out.stat().st_size and made.sizes["source_bytes"] == source.stat().st_size
    assert set(made.tools) == {"onnx", "onnx-ir", "onnxruntime"}


def test_weights_are_unchanged(source, out):
    exporters.export(source, out)
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(source).graph.initializer}
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(out).graph.initializer}
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_text_that_is_no_text_in_the_source(tmp_path, out):
    """onnx-ir reads such a model and cannot write it back."""
    source = saved(tmp_path / "m.onnx", SMALL.replace("opset_import", 'producer_name: "exporter-x", opset_import'))
    source.write_bytes(source.read_bytes().replace(b"exporter-x", b"exporter-\xff"))
    with pytest.raises(ExportError, match="cannot be written back"):
        exporters.export(source, out)
    assert listing(out.parent) == []


@pytest.mark.parametrize("scheme", [None, "int8"])
def test_flipped_bytes_raise_only_our_own_errors(tmp_path, out, scheme, capfd):
    whole = exporters.export(saved(tmp_path / "m.onnx"), tmp_path / "whole.onnx", scheme=scheme).path.read_bytes()
    chance = random.Random(11)
    path = tmp_path / "flipped.onnx"
    for _ in range(60):
        content = bytearray(whole)
        content[chance.randrange(len(content))] = chance.choice((0, 1, 127, 128, 255))
        path.write_bytes(content)
        for job in (lambda: exporters.inspect_model(path), lambda: exporters.export(path, out)):
            try:
                job()
            except EdgewiseError as error:
                assert error.message
    assert set(listing(out.parent)) <= {"small.onnx", "small.onnx.manifest.json"}
    assert capfd.readouterr().out == ""
