"""Which wheels fit: held against packaging's own rules."""

from __future__ import annotations

import pytest
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from mobile.provision.tags import fits, platform_tags, wheel

NAMES = [
    "numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
    "numpy-2.4.6-cp312-cp312-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
    "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl",
    "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    "tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_aarch64.whl",
    "protobuf-7.36.2-cp310-abi3-manylinux2014_aarch64.whl",
    "protobuf-7.36.2-cp313-abi3-manylinux2014_aarch64.whl",
    "flatbuffers-25.12.19-py2.py3-none-any.whl",
    "packaging-26.4-py3-none-any.whl",
    "old-1.0-py2-none-any.whl",
    "odd-1.0-py311-none-any.whl",
    "odd-1.0-py313-none-any.whl",
    "onnxruntime_gpu-1.18.0-cp311-cp311-linux_aarch64.whl",
    "built-1.0-3-cp311-cp311-manylinux2014_aarch64.whl",
    "musl-1.0-cp311-cp311-musllinux_1_2_aarch64.whl",
]


@pytest.mark.parametrize("glibc", [(2, 17), (2, 27), (2, 31), (2, 36)])
@pytest.mark.parametrize("python", [(3, 8), (3, 11), (3, 13)])
@pytest.mark.parametrize("name", NAMES)
def test_a_wheel_fits_as_packaging_says(name, python, glibc):
    platforms = platform_tags("aarch64", glibc)
    theirs = {*cpython_tags(python, platforms=platforms), *compatible_tags(python, platforms=platforms)}
    expected = bool(parse_wheel_filename(name)[3] & theirs)
    assert fits(wheel(name), python, platforms) == expected


def test_a_vendors_own_platform_is_taken_where_it_is_allowed():
    vendor = wheel("onnxruntime_gpu-1.18.0-cp310-cp310-linux_aarch64.whl")
    assert not fits(vendor, (3, 10), platform_tags("aarch64", (2, 31)))
    assert fits(vendor, (3, 10), [*platform_tags("aarch64", (2, 31)), "linux_aarch64"])


def test_every_level_down_to_the_oldest_is_asked_for():
    tags = platform_tags("x86_64", (2, 28))
    assert tags[0] == "manylinux_2_28_x86_64"
    assert tags[-1] == "manylinux1_x86_64"
    assert "manylinux2014_x86_64" in tags
    assert "manylinux2010_x86_64" in tags
    assert not any("2010" in tag for tag in platform_tags("aarch64", (2, 28)))


@pytest.mark.parametrize("glibc", [None, (1, 0), (3, 0), (2, 5)])
def test_without_a_glibc_that_any_wheel_is_for_there_is_no_tag(glibc):
    assert platform_tags("aarch64", glibc) == []


@pytest.mark.parametrize("name", ["numpy.whl", "numpy-1.0.tar.gz", "", "a-b-c.whl", "../x-1-py3-none-any.zip"])
def test_what_is_no_wheel_is_none(name):
    assert wheel(name) is None
