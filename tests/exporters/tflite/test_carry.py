"""Compressed weights arrive in TFLite with their own codes: equal to the dequantised reference."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.compress.tensors import Affine, Binary, Codebook, Emulated, PowerOfTwo, Sparse, Ternary
from exporters.tflite import flat, read
from exporters.tflite.carry import carry
from exporters.tflite.rules import LITERT_2_3, TFLITE_2_14
from mobile.errors import ExportError
from tests.support.tflite import Net, error, old_runtime, run_new

RANDOM = np.random.default_rng(3)
ROWS, COLUMNS = 32, 64
TENTH = np.full((1, 1), 0.1, np.float32)


@pytest.fixture
def old(tmp_path):
    return old_runtime(tmp_path)


def scales(groups: int, rows: int = ROWS) -> np.ndarray:
    return RANDOM.uniform(0.01, 0.1, size=(rows, groups)).astype(np.float32)


def affine(width: int, group: int = COLUMNS, **more) -> Affine:
    half = 1 << (width - 1)
    codes = RANDOM.integers(-half, half, size=(ROWS, COLUMNS)).astype(np.int8)
    return Affine("w", (COLUMNS, ROWS), 1, codes, scales(COLUMNS // group), group, width, True, **more)


def bits(high: int) -> np.ndarray:
    return RANDOM.integers(0, high, size=(ROWS, COLUMNS)).astype(np.uint8)


def half_precision():
    values = RANDOM.normal(size=(ROWS, COLUMNS)).astype(np.float16)
    return Emulated("w", (COLUMNS, ROWS), 1, values.view(np.uint16), "fp16")


FAMILIES = {
    "int8": lambda: affine(8),
    "int4": lambda: affine(4),
    "int2": lambda: affine(2),
    "int5": lambda: affine(5),
    "int4 in groups of 32": lambda: affine(4, 32),
    "int8 in groups of 16": lambda: affine(8, 16),
    "zero points": lambda: affine(4, zero_points=RANDOM.integers(-8, 8, size=(ROWS, 1)).astype(np.int8)),
    "ternary": lambda: Ternary("w", (COLUMNS, ROWS), 1, bits(3).astype(np.int8) - 1, TENTH, COLUMNS),
    "binary": lambda: Binary("w", (COLUMNS, ROWS), 1, bits(2), scales(1), COLUMNS),
    "power of two": lambda: PowerOfTwo("w", (COLUMNS, ROWS), 1, bits(16) & 0b1011, scales(1), COLUMNS),
    "fp16": half_precision,
}  # fmt: skip


def dense(tensor, runtime):
    """A fully connected layer with the reference weights, and the same with the codes."""
    net = Net()
    x = net.input(5, COLUMNS)
    weight = net.const(tensor.dequantise_rows())
    program = net.program(net.op("FULLY_CONNECTED", [x, weight, -1], (5, ROWS)))
    return net.feeds(), program, *carry(program, {"w": tensor}, runtime)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_equal_to_its_reference_in_both_runtimes(family, old):
    # A hybrid layer rounds its activations to 8 bits; what is unpacked at load is exact.
    for runtime in (LITERT_2_3, TFLITE_2_14):
        feeds, program, small, report = dense(FAMILIES[family](), runtime)
        (way,) = report.ways
        (want,) = run_new(program, feeds)
        found = run_new(small, feeds) if runtime is LITERT_2_3 else old.run(flat.to_bytes(small), feeds)
        assert error(want, found[0]) < (0.012 if "hybrid" in way else 1e-6), (runtime.name, way)


@pytest.mark.parametrize(
    ("family", "runtime", "dtype"),
    [
        ("int8", LITERT_2_3, "int8"),
        ("int4", LITERT_2_3, "int4"),
        ("ternary", LITERT_2_3, "int2"),
        ("binary", LITERT_2_3, "int2"),
        ("ternary", TFLITE_2_14, "int4"),
        ("binary", TFLITE_2_14, "int8"),
    ],
)
def test_codes_lie_in_the_file_as_narrow_as_the_runtime_takes_them(family, runtime, dtype):
    _, _, small, _ = dense(FAMILIES[family](), runtime)
    back = read.read(flat.to_bytes(small))
    (weight,) = (tensor for tensor in back.main.tensors if tensor.data is not None and tensor.rank == 2)
    assert weight.dtype == dtype


def test_the_codes_in_the_file_are_the_given_ones():
    tensor = affine(4)
    _, _, small, _ = dense(tensor, LITERT_2_3)
    back = read.read(flat.to_bytes(small))
    (weight,) = (tensor for tensor in back.main.tensors if tensor.dtype == "int4")
    assert (weight.data == tensor.codes).all()
    assert (weight.quant.scales == tensor.scales.reshape(-1)).all()


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_a_kernel_is_found_however_its_dimensions_lie(kind, old):
    depthwise = kind == "DEPTHWISE_CONV_2D"
    shape = (16, 1 if depthwise else 8, 3, 3)  # as ONNX has it
    codes = RANDOM.integers(-8, 8, size=(16, shape[1] * 9)).astype(np.int8)
    tensor = Affine("k", shape, 0, codes, scales(1, 16), codes.shape[1], 4, True)
    kernel = tensor.dequantise().transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
    net = Net()
    x = net.input(1, 6, 6, 16 if depthwise else 8)
    inputs = [x, net.const(np.ascontiguousarray(kernel)), net.const(np.zeros(16, "f4"))]
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, **({"depth_multiplier": 1} if depthwise else {})}
    program = net.program(net.op(kind, inputs, (1, 6, 6, 16), **options))
    feeds = net.feeds()
    (want,) = run_new(program, feeds)
    small, report = carry(program, {"k": tensor}, LITERT_2_3)
    assert report.ways == {"int4, unpacked at load": 1}
    assert error(want, run_new(small, feeds)[0]) < 1e-6
    older, report = carry(program, {"k": tensor}, TFLITE_2_14)
    assert report.ways == {"int8, unpacked at load": 1}
    assert error(want, old.run(flat.to_bytes(older), feeds)[0]) < 1e-6


RUNTIMES = pytest.mark.parametrize("runtime", [LITERT_2_3, TFLITE_2_14], ids=lambda runtime: runtime.name)


def sparse(kept: float, block: int = 4) -> Sparse:
    values = RANDOM.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    mask = np.repeat(RANDOM.random((ROWS, COLUMNS // block)) < kept, block, axis=1)
    return Sparse("w", (ROWS, COLUMNS), 0, mask, values[mask])


def sparse_layer(tensor, runtime, old, rows: int) -> str:
    """How the layer is stored, once its values are seen to be right."""
    net = Net()
    x = net.input(rows, COLUMNS)
    program = net.program(net.op("FULLY_CONNECTED", [x, net.const(tensor.dequantise_rows()), -1], (rows, ROWS)))
    feeds = net.feeds()
    small, report = carry(program, {"w": tensor}, runtime)
    found = run_new(small, feeds) if runtime is LITERT_2_3 else old.run(flat.to_bytes(small), feeds)
    assert error(run_new(program, feeds)[0], found[0]) < 1e-6
    assert len(flat.to_bytes(small)) < len(flat.to_bytes(program))
    return next(iter(report.ways))


@RUNTIMES
def test_a_sparse_layer_of_one_row_computes_on_the_kept_blocks(runtime, old):
    assert sparse_layer(sparse(0.2), runtime, old, 1) == "sparse, kernel on kept blocks"


@RUNTIMES
@pytest.mark.parametrize(("kept", "block", "rows"), [(0.2, 4, 5), (0.5, 4, 1), (0.5, 1, 1)])
def test_where_the_sparse_kernel_is_slower_the_layer_is_unpacked_at_load(kept, block, rows, runtime, old):
    assert sparse_layer(sparse(kept, block), runtime, old, rows) == "sparse, unpacked at load"


@RUNTIMES
def test_a_sparse_kernel_of_a_convolution_is_unpacked_at_load(runtime, old):
    values = RANDOM.normal(size=(16, 72)).astype(np.float32)
    mask = RANDOM.random((16, 72)) < 0.3
    tensor = Sparse("k", (16, 8, 3, 3), 0, mask, values[mask])
    net = Net()
    x = net.input(1, 6, 6, 8)
    inputs = [
        x,
        net.const(np.ascontiguousarray(tensor.dequantise().transpose(0, 2, 3, 1))),
        net.const(np.zeros(16, "f4")),
    ]
    program = net.program(net.op("CONV_2D", inputs, (1, 6, 6, 16), padding="SAME", stride_w=1, stride_h=1))
    feeds = net.feeds()
    small, report = carry(program, {"k": tensor}, runtime)
    found = run_new(small, feeds) if runtime is LITERT_2_3 else old.run(flat.to_bytes(small), feeds)
    assert report.ways == {"sparse, unpacked at load": 1}
    assert error(run_new(program, feeds)[0], found[0]) < 1e-6


def test_a_layer_that_is_hardly_sparse_stays_dense():
    _, _, _, report = dense(sparse(0.95, 1), LITERT_2_3)
    assert report.float32 == {"w": "too few of its values are zero: sparse, it would be larger"}


def test_a_family_without_a_form_in_tflite_stays_float_and_is_said():
    tensor = Codebook("w", (COLUMNS, ROWS), 1, bits(16), RANDOM.normal(size=16).astype(np.float32))
    feeds, program, small, report = dense(tensor, LITERT_2_3)
    assert report.float32 == {"w": "TFLite has no form for the family codebook"}
    assert error(run_new(program, feeds)[0], run_new(small, feeds)[0]) == 0


def test_shifts_that_int8_cannot_hold_stay_float():
    codes = bits(16)
    codes[0, :2] = 0, 7
    _, _, _, report = dense(PowerOfTwo("w", (COLUMNS, ROWS), 1, codes, scales(1), COLUMNS), LITERT_2_3)
    assert list(report.float32) == ["w"]


def test_a_weight_that_the_conversion_changed_is_refused_by_name():
    net = Net()
    program = net.program(net.dense(net.input(5, COLUMNS), ROWS))
    with pytest.raises(ExportError, match=r"not in the converted graph as they were: w"):
        carry(program, {"w": affine(8)}, LITERT_2_3)


def test_a_weight_that_several_layers_share_lies_in_the_file_once():
    tensor = affine(8)
    net = Net()
    x = net.input(5, COLUMNS)
    outputs = []
    for _ in range(3):
        weight = net.const(tensor.dequantise_rows())
        outputs.append(net.op("FULLY_CONNECTED", [x, weight, -1], (5, ROWS)))
    small, report = carry(net.program(*outputs), {"w": tensor}, LITERT_2_3)
    assert sum(report.ways.values()) == 3
    assert len(flat.to_bytes(small)) < 2 * ROWS * COLUMNS + 4096
