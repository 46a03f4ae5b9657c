"""Wheels are chosen for the device, not for this host. All of it from a folder: no test asks a registry."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

from mobile.deadline import Deadline
from mobile.errors import SetupError
from mobile.provision import wheels
from mobile.provision.layers import pack
from mobile.provision.tags import Target, platform_tags
from tests.support.provision import make_wheel

AARCH64 = Target("3.11", "aarch64", tuple(platform_tags("aarch64", (2, 36))))


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def folder(tmp_path):
    """A registry on disk: two numpys, two onnxruntimes, for other machines and Pythons as well."""
    found = tmp_path / "wheels"
    found.mkdir()
    for tag in ("cp311-cp311-manylinux_2_28_aarch64", "cp312-cp312-manylinux_2_28_aarch64",
                "cp311-cp311-manylinux_2_28_x86_64"):  # fmt: skip
        make_wheel(found, "onnxruntime", "1.32.0", tag, {
            "onnxruntime/__init__.py": f"tag = {tag!r}", "onnxruntime/tools/big.py": "",
            "onnxruntime/capi/__init__.py": "",
        }, needs=["numpy", "protobuf"])  # fmt: skip
    for version, tag in (("2.4.6", "cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64"),
                         ("1.26.4", "cp311-cp311-manylinux2014_aarch64")):  # fmt: skip
        make_wheel(found, "numpy", version, tag, {
            "numpy/__init__.py": f"__version__ = {version!r}", "numpy/tests/test_x.py": "", "numpy/core.pyi": "",
        })  # fmt: skip
    make_wheel(found, "protobuf", "7.0", "py3-none-any", {"google/protobuf/__init__.py": ""})
    return found


def build(tree, folder, *runtimes, target=AARCH64, present=()):
    tree.mkdir(exist_ok=True)
    return wheels.build(wheels.Request(runtimes, target, present, folder), tree, Deadline(60))


def test_the_wheels_of_the_device_are_taken_with_what_they_need(tmp_path, folder):
    assert build(tmp_path / "t", folder, "onnxruntime") == {"numpy": "2.4.6", "onnxruntime": "1.32.0"}
    assert "manylinux_2_28_aarch64" in (tmp_path / "t/onnxruntime/__init__.py").read_text()
    left = {path.relative_to(tmp_path / "t").as_posix() for path in (tmp_path / "t").rglob("*") if path.is_file()}
    assert left == {
        "numpy/__init__.py", "numpy-2.4.6.dist-info/METADATA", "numpy-2.4.6.dist-info/WHEEL",
        "onnxruntime/__init__.py", "onnxruntime/capi/__init__.py",
        "onnxruntime-1.32.0.dist-info/METADATA", "onnxruntime-1.32.0.dist-info/WHEEL",
    }  # fmt: skip


def test_libraries_of_wheels_are_never_stripped(tmp_path):
    """A stripped one does not load ("ELF load command not page-aligned"): each byte arrives, up to the device."""
    library = Path(sys.executable).resolve().read_bytes()[:200_000] + b"sections that strip would drop"
    path = make_wheel(tmp_path, "numpy", "1.0", "py3-none-any", {"numpy/core/_umath.so": library})
    wheels.unpack(path, tmp_path / "tree")
    with tarfile.open(pack("wheels", tmp_path / "tree", {}).archive) as archive:
        assert archive.extractfile("numpy/core/_umath.so").read() == library


def test_an_older_glibc_gets_the_older_wheel_or_a_clear_word(tmp_path, folder):
    old = Target("3.11", "aarch64", tuple(platform_tags("aarch64", (2, 17))))
    with pytest.raises(SetupError, match=r"no registry has onnxruntime for Python 3\.11 on aarch64") as caught:
        build(tmp_path / "t", folder, "onnxruntime", target=old)
    assert "--wheels" in caught.value.hint


def test_a_numpy_of_the_device_is_kept_and_the_others_fit_it(tmp_path, folder):
    made = build(tmp_path / "t", folder, "onnxruntime", present=(("numpy", "1.26.4"),))
    assert made == {"onnxruntime": "1.32.0"}
    assert not (tmp_path / "t/numpy").exists()


def test_a_numpy_of_the_device_that_no_registry_has_is_kept_too(tmp_path, folder):
    assert build(tmp_path / "t", folder, "onnxruntime", present=(("numpy", "1.13.3"),)) == {"onnxruntime": "1.32.0"}


def test_a_vendors_wheel_comes_first(tmp_path, folder):
    make_wheel(folder, "onnxruntime_gpu", "1.18.0", "cp311-cp311-linux_aarch64",
               {"onnxruntime/__init__.py": "vendor = 1"}, needs=["numpy"])  # fmt: skip
    assert build(tmp_path / "t", folder, "onnxruntime") == {"numpy": "2.4.6", "onnxruntime-gpu": "1.18.0"}
    assert (tmp_path / "t/onnxruntime/__init__.py").read_text() == "vendor = 1"


def test_tflite_runtime_brings_an_older_numpy(tmp_path, folder):
    """It fails with numpy 2 when a model is loaded, and does not say so itself."""
    make_wheel(folder, "tflite_runtime", "2.14.0", "cp311-cp311-manylinux_2_34_aarch64",
               {"tflite_runtime/__init__.py": ""}, needs=["numpy>=1.23.2"])  # fmt: skip
    request = wheels.Request(("litert",), AARCH64, (), folder)
    assert wheels.CARRIERS["litert"][-1] == ("tflite-runtime", "numpy<2")
    (tmp_path / "t").mkdir()
    wheels.download(request, wheels.CARRIERS["litert"][-1], tmp_path / "t", Deadline(60))
    assert {path.name.split("-")[1] for path in (tmp_path / "t").glob("numpy*")} == {"1.26.4"}


def test_a_wheel_with_a_file_outside_is_refused(tmp_path):
    path = make_wheel(tmp_path, "numpy", "1.0", "py3-none-any", {"../evil.py": ""})
    with pytest.raises(SetupError, match="leads out of the wheel"):
        wheels.unpack(path, tmp_path / "tree")
    assert not (tmp_path / "evil.py").exists()


def test_platlib_of_a_data_folder_is_the_root_and_scripts_are_left_out(tmp_path):
    path = make_wheel(tmp_path, "numpy", "1.0", "py3-none-any",
                      {"numpy-1.0.data/platlib/numpy/x.py": "1", "numpy-1.0.data/scripts/f2py": "2"})  # fmt: skip
    wheels.unpack(path, tmp_path / "tree")
    assert (tmp_path / "tree/numpy/x.py").read_text() == "1"
    assert not list((tmp_path / "tree").rglob("f2py"))


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"not a zip"])
def test_a_damaged_wheel_is_refused(data, tmp_path):
    path = tmp_path / "numpy-1.0-py3-none-any.whl"
    path.write_bytes(data)
    with pytest.raises(SetupError, match="not a wheel that can be read"):
        wheels.unpack(path, tmp_path / "tree")


def test_the_key_changes_with_all_that_decides(folder):
    base = wheels.Request(("onnxruntime",), AARCH64)
    others = [
        wheels.Request(("litert",), AARCH64),
        wheels.Request(("onnxruntime",), AARCH64, (("numpy", "1.26.4"),)),
        wheels.Request(("onnxruntime",), AARCH64, (), folder),
        wheels.Request(("onnxruntime",), Target("3.12", "aarch64", AARCH64.platforms)),
    ]
    assert all(other.key() != base.key() for other in others)
    assert wheels.Request(("onnxruntime",), AARCH64).key() == base.key()


def test_without_pip_the_next_step_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="needs pip") as caught:
        wheels.pip()
    assert "ensurepip" in caught.value.hint
