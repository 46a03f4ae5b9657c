"""PyTorch programs as sources: compared with the module's own outputs, user errors in one line, nothing left behind."""

import sys
import textwrap

import numpy as np
import onnx
import pytest

import exporters
from exporters import torch_source
from mobile.errors import ExportError, ModelError, UsageError
from mobile.formats import index
from tests.support.onnx_text import listing

PROGRAM = """
import torch
from torch import nn
from helper import HIDDEN

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, HIDDEN, 3, padding=1), nn.BatchNorm2d(HIDDEN)
        self.drop, self.head = nn.Dropout(), nn.Linear(HIDDEN, 5)

    def forward(self, image):
        features = torch.relu(self.norm(self.conv(image))).mean((2, 3))
        return {"logits": self.head(self.drop(features)), "features": features}

def net():
    print("a word from the program")
    torch.manual_seed(0)
    return Net()

def example_inputs():
    return torch.rand(2, 3, 8, 8)

dynamic_shapes = {"image": {0: "batch"}}

def broken():
    raise KeyError("no weights")

def leaving():
    raise SystemExit(3)

def no_module():
    return 3

def pair():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b.to(a.dtype)
    return Sum()

def pair_inputs():
    return {"a": torch.rand(2, 3), "b": torch.ones(2, 3, dtype=torch.int64)}

pair_dynamic_shapes = None

def data_dependent():
    class Odd(nn.Module):
        def forward(self, image):
            return image if image.sum() > 0 else -image
    return Odd()
"""


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture
def program(tmp_path, torch):
    pytest.importorskip("onnxscript", reason="torch is not installed")
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "helper.py").write_text("HIDDEN = 4\n")
    path = folder / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return path


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "net.onnx"


def test_program_is_exported_and_equals_the_module(program, out, torch, capsys):
    before = {*sys.modules}
    result = exporters.export(f"{program}:net", out)
    assert result.parity.ok and result.parity.inputs == "example"
    found = index(out)
    assert [(v.name, v.shape) for v in found.inputs] == [("image", ("batch", 3, 8, 8))]
    assert [(v.name, v.shape) for v in found.outputs] == [("logits", ("batch", 5)), ("features", ("batch", 4))]
    assert found.opsets[""] == torch_source.DEFAULT_OPSET
    assert result.manifest.origin["name"] == "program.py:net" and "torch" in result.manifest.tools
    captured = capsys.readouterr()
    assert captured.out == "" and "a word from the program" in captured.err
    assert not [name for name in {*sys.modules} - before if name.startswith("_edgewise_program_")]
    assert str(program.parent) not in sys.path and listing(program.parent) == ["helper.py", "program.py"]


def test_no_path_of_the_machine_is_in_the_artifact(program, out):
    exporters.export(f"{program}:net", out)
    content = out.read_bytes() + (out.parent / "net.onnx.manifest.json").read_bytes()
    assert str(program.parent).encode() not in content and b"site-packages" not in content


@pytest.mark.parametrize(("target", "opset"), [("ort-1.12", 17), ("ort-1.23", torch_source.NEWEST_OPSET)])
def test_target_chooses_the_opset(program, out, target, opset):
    exporters.export(f"{program}:net", out, target=target)
    assert index(out).opsets[""] == opset


def test_program_to_int8(program, out):
    result = exporters.export(f"{program}:net", out, scheme="int8")
    assert result.quantization.tensors[0].relative_error < 0.1
    assert index(out).operators["QuantizeLinear"] > 0


def test_named_inputs_of_their_own(program, out):
    result = exporters.export(f"{program}:pair", out)
    assert [(value["name"], value["dtype"]) for value in result.manifest.inputs] == [("a", "float32"), ("b", "int64")]


def test_example_inputs_on_the_command_line(program, out):
    result = exporters.export(f"{program}:net", out, example=["image:2x3x16x16:float32"])
    assert result.manifest.inputs[0]["shape"] == ["batch", 3, 16, 16]
    with pytest.raises(UsageError, match="example input"):
        exporters.export(f"{program}:net", out, example=["image=3"])


def test_given_inputs_are_compared_on(program, out, tmp_path):
    np.savez(tmp_path / "in.npz", image=np.random.default_rng(0).random((5, 3, 8, 8), np.float32))
    result = exporters.export(f"{program}:net", out, inputs=tmp_path / "in.npz")
    assert (result.parity.inputs, result.parity.ok) == ("given", True)


def test_exported_program_file(program, out, torch, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(program.parent))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import program as user

    exported = torch.export.export(
        user.net().eval(), (torch.rand(2, 3, 8, 8),), dynamic_shapes={"image": {0: torch.export.Dim("batch")}}
    )
    for name in ("program", "helper"):
        sys.modules.pop(name)
    torch.export.save(exported, tmp_path / "net.pt2")
    result = exporters.export(tmp_path / "net.pt2", out)
    assert result.parity.ok and result.manifest.origin["kind"] == "torch-pt2"
    assert isinstance(index(out).inputs[0].shape[0], str)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("broken", r"program\.py:broken\(\) failed: KeyError: 'no weights' \(program\.py:27\)"),
        ("leaving", "SystemExit"),
        ("no_module", "returned int, a torch.nn.Module was expected"),
        ("data_dependent", "conversion to ONNX failed"),
    ],
)
def test_the_users_error_in_one_line(program, out, factory, said):
    with pytest.raises(ExportError, match=said) as caught:
        exporters.export(f"{program}:{factory}", out)
    assert "\n" not in caught.value.message and listing(out.parent) == []


def test_a_function_that_is_not_there(program, out):
    with pytest.raises(UsageError, match="has no function 'nte'") as caught:
        exporters.export(f"{program}:nte", out)
    assert "net" in caught.value.hint


@pytest.mark.parametrize("text", ["def f(:\n", "import nowhere_to_be_found\n", "1 / 0\n", "\0"])
def test_a_file_that_does_not_import(program, out, text):
    program.write_text(text)
    with pytest.raises(ExportError, match="importing"):
        exporters.export(f"{program}:net", out)


def test_no_example_inputs(program, out):
    program.write_text(PROGRAM.replace("def example_inputs", "def other"))
    with pytest.raises(UsageError, match="no example inputs") as caught:
        exporters.export(f"{program}:net", out)
    assert "example_inputs()" in caught.value.hint


def test_an_interrupt_in_the_users_code_is_an_interrupt(program, out):
    program.write_text(PROGRAM.replace('raise KeyError("no weights")', "raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        exporters.export(f"{program}:broken", out)
    assert listing(out.parent) == []


def test_files_that_are_not_there_or_not_programs(tmp_path, out, torch):
    with pytest.raises(ModelError, match="no such file"):
        exporters.export(tmp_path / "none.pt2", out)
    with pytest.raises(ModelError, match="no such file"):
        exporters.export(f"{tmp_path}/none.py:net", out)
    (tmp_path / "bad.pt2").write_bytes(b"not a zip")
    with pytest.raises(ExportError, match=r"torch\.export\.load failed"):
        exporters.export(tmp_path / "bad.pt2", out)


def test_a_file_without_its_function(program, out):
    with pytest.raises(UsageError, match="name the function"):
        exporters.export(program, out)


def test_without_torch_the_extra_is_named(tmp_path, out, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    (tmp_path / "program.py").write_text("")
    with pytest.raises(UsageError, match="need torch") as caught:
        exporters.export(f"{tmp_path}/program.py:net", out)
    assert "pip install 'edgewise[torch]'" in caught.value.hint


def test_weights_survive(program, out, torch):
    exporters.export(f"{program}:net", out)
    weights = {tensor.name: tensor for tensor in onnx.load(out).graph.initializer}
    assert any(list(tensor.dims) == [4, 3, 3, 3] for tensor in weights.values())


def test_the_command_line_gives_inputs_by_name(tmp_path):
    from tests.support.cli import edgewise

    (tmp_path / "net.py").write_text("import torch\n\n\ndef factory():\n    return torch.nn.Linear(4, 3)\n")
    done = edgewise("export", "net.py:factory", "-o", "a.onnx", "--input", "input:2x4:float32", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    missing = edgewise("export", "net.py:factory", "-o", "b.onnx", cwd=tmp_path)
    assert missing.returncode in (1, 2)
    assert "--input" in missing.stderr
