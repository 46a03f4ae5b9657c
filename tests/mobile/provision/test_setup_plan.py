"""What is decided for which device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mobile.errors import SetupError
from mobile.provision.plan import Installed, check_fit, decide, explain
from mobile.provision.probe import parse

DATA = Path(__file__).resolve().parents[2] / "data" / "provision"
BOTH = ("onnxruntime", "litert")
JETSON = Installed(
    {"numpy": "1.23.5", "onnxruntime": "1.18.0"},
    providers=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
)


def board(name="lab_board86", **changes):
    return replace(parse([(DATA / f"{name}.txt").read_bytes()]), **changes)


def test_a_board_with_python_gets_wheels():
    plan = decide(board(), Installed(), BOTH)
    assert (plan.kind, plan.runtimes, plan.libraries, plan.present) == ("wheels", BOTH, False, ())


def test_a_board_that_has_it_all_gets_nothing():
    plan = decide(board(), Installed({"numpy": "1", "onnxruntime": "1", "tflite_runtime.interpreter": "2"}), BOTH)
    assert (plan.kind, plan.runtimes) == ("installed", ())


def test_a_jetson_keeps_the_runtime_with_tensorrt():
    plan = decide(board(jetson="# R35"), JETSON, ("onnxruntime",))
    assert plan.kind == "installed"
    assert "TensorrtExecutionProvider" in plan.notes[0]


def test_a_jetson_keeps_its_numpy_when_litert_is_brought_beside():
    plan = decide(board(jetson="# R35"), JETSON, BOTH)
    assert plan.runtimes == ("litert",)
    assert plan.present == (("numpy", "1.23.5"),)
    assert plan.notes == ()


def test_a_jetson_without_a_runtime_is_told_where_cuda_comes_from():
    plan = decide(board(jetson="# R35"), Installed(), ("onnxruntime",))
    assert plan.kind == "wheels"
    assert "--wheels" in plan.notes[0]


def test_a_runtime_that_is_installed_and_does_not_load_is_replaced_and_named():
    error = "ImportError: libstdc++.so.6: cannot open shared object file: No such file or directory"
    plan = decide(board(), Installed({"numpy": "1"}, {"onnxruntime": error}), ("onnxruntime",))
    assert plan.kind == "wheels"
    assert "onnxruntime is installed there and does not load" in plan.notes[0]


@pytest.mark.parametrize("name", ["lab_phone", "constructed_jetpack4"])
def test_a_device_without_a_usable_python_gets_one(name):
    plan = decide(board(name), Installed(), BOTH)
    assert (plan.kind, plan.runtimes) == ("bundle", BOTH)
    assert plan.reason.startswith("it has no Python")


def test_a_musl_board_gets_an_interpreter_with_its_own_c_library():
    plan = decide(board("constructed_alpine"), Installed(), BOTH)
    assert plan.kind == "bundle"
    assert "musl" in plan.reason


def test_a_board_without_libstdcxx_gets_it():
    assert decide(board(libstdcxx=None), Installed(), BOTH).libraries


def test_an_old_board_without_libstdcxx_gets_the_bundle():
    plan = decide(board(libstdcxx=None, glibc=(2, 31)), Installed(), BOTH)
    assert plan.kind == "bundle"
    assert "glibc 2.31 is too old" in plan.reason


def test_vendor_wheels_are_brought_even_where_a_runtime_is():
    plan = decide(board(jetson="# R35"), JETSON, ("onnxruntime",), vendor_wheels=True)
    assert (plan.kind, plan.runtimes, plan.present) == ("wheels", ("onnxruntime",), (("numpy", "1.23.5"),))


def test_a_board_whose_disk_is_too_small_is_refused_with_both_sizes():
    with pytest.raises(SetupError, match=r"pi: the runtime needs 120\.0 MB on the disk, 50\.0 MB are free"):
        check_fit("pi", board(free_bytes=50_000_000), BOTH, 120_000_000)


def test_a_limit_of_the_inventory_counts_like_a_small_disk():
    with pytest.raises(SetupError, match=r"50\.0 MB are free"):
        check_fit("pi", board(), BOTH, 120_000_000, disk_limit_bytes=50_000_000)


def test_a_board_with_too_little_memory_is_refused():
    with pytest.raises(SetupError, match="of memory before a model is loaded"):
        check_fit("pi", board(memory_bytes=50_000_000), BOTH, 0)


def test_a_board_with_little_free_memory_is_warned_about():
    (warning,) = check_fit("pi", board(memory_available_bytes=50_000_000), BOTH, 0)
    assert "only 50.0 MB of memory are free" in warning
    assert check_fit("pi", board(), BOTH, 0) == []


@pytest.mark.parametrize(("field", "words"), [("write_error", "cannot be written"), ("exec_error", "noexec")])
def test_a_folder_that_cannot_be_used_is_refused_before_anything_is_sent(field, words):
    with pytest.raises(SetupError) as caught:
        check_fit("pi", board(**{field: "Permission denied"}), BOTH, 1)
    assert words in f"{caught.value.message} {caught.value.hint}"


def test_nothing_to_send_needs_no_place():
    assert check_fit("pi", board(write_error="Read-only file system", free_bytes=0), BOTH, 0) == []


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        ("numpy says\n\nOriginal error was: libstdc++.so.6: cannot open shared object file", "takes it along"),
        ("ImportError: /lib/libm.so.6: version `GLIBC_2.28' not found", "C library is too old"),
        ("ImportError: x.so: failed to map segment from shared object", "noexec"),
        ("ended by SIGILL", "OPENBLAS_CORETYPE"),
    ],
)
def test_an_import_error_is_explained_in_one_line(error, meaning):
    assert meaning in explain(error)
    assert "\n" not in explain(error)
