"""One small ONNX model per operator and form, with the shapes to try it at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int, ...]
_KINDS = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "j": TensorProto.INT32, "b": TensorProto.BOOL}


def weights(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Random float32 weights."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)


def ints(*numbers: int) -> np.ndarray:
    """An int64 vector."""
    return np.array(numbers, np.int64)


@dataclass(frozen=True)
class Case:
    """A model of one operator (or the nodes given), and the shapes of its first input, x.

    ``free`` are x's dimensions that are declared free: then every shape of ``shapes`` is run, else each has a model of
    its own. ``image``: a convolution comes before, so that x lies channels last. ``others``: further inputs by name, as
    (kind, shape with the names of x's free dimensions).
    """

    name: str
    op: str
    shapes: tuple[Shape, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    fixed: tuple[np.ndarray | None, ...] = ()  # further inputs that are constant
    outputs: int = 1
    kind: str = "f"
    opset: int = 17
    free: tuple[int, ...] = ()
    image: bool = False
    positive: bool = False
    halves: bool = False  # values that lie between two whole numbers, as roundings differ there
    low: int = 0
    high: int = 5
    tolerance: float = 2e-6
    second: tuple[Shape, ...] = ()  # shapes of another computed input
    nodes: tuple[onnx.NodeProto, ...] = ()

    def model(self, shape: Shape, second: Shape | None, free: bool) -> onnx.ModelProto:
        """The model for one shape; with ``free``, with the free dimensions left free."""
        dims: list[int | str] = [f"d{n}" if free and n in self.free else size for n, size in enumerate(shape)]
        inputs = [helper.make_tensor_value_info("x", _KINDS[self.kind], dims)]
        names, nodes = ["x"], []
        tables = []
        if self.image:
            tables.append(numpy_helper.from_array(weights(shape[1], shape[1], 1, 1, seed=7), "first"))
            nodes.append(helper.make_node("Conv", ["x", "first"], ["seen"]))
            names = ["seen"]
        if second is not None:
            inputs.append(helper.make_tensor_value_info("z", _KINDS[self.kind], list(second)))
            names.append("z")
        for number, array in enumerate(self.fixed):
            if array is None:
                names.append("")
                continue
            tables.append(numpy_helper.from_array(array, f"c{number}"))
            names.append(f"c{number}")
        made = [f"y{n}" for n in range(self.outputs)]
        if self.nodes:
            nodes += self.nodes
        else:
            nodes.append(helper.make_node(self.op, names, made, name=f"the {self.op}", **self.attrs))
        ends = [onnx.ValueInfoProto(name=name) for name in made]
        graph = helper.make_graph(nodes, "case", inputs, ends, tables)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)

    def feeds(self, shape: Shape, second: Shape | None, seed: int) -> dict[str, np.ndarray]:
        """Random inputs."""
        random = np.random.default_rng(seed)
        made = {"x": self._array(random, shape)}
        if second is not None:
            made["z"] = self._array(random, second)
        return made

    def _array(self, random: np.random.Generator, shape: Shape) -> np.ndarray:
        if self.kind == "f":
            array = random.standard_normal(shape).astype(np.float32) * 2
            if self.halves:
                array = np.round(array) + np.float32(0.5)
            return np.abs(array) + np.float32(0.1) if self.positive else array
        if self.kind == "b":
            return random.integers(0, 2, shape).astype(bool)
        return random.integers(self.low, self.high, shape).astype(np.int64 if self.kind == "i" else np.int32)


_S4 = ((1, 4, 6, 5), (2, 4, 6, 5), (1, 4, 9, 7))


def _img(name: str, op: str, *fixed: np.ndarray | None, shapes: tuple[Shape, ...] = _S4, **more: Any) -> Case:
    """A case over images whose batch, height and width are free."""
    attrs = more.pop("attrs", {})
    free = more.pop("free", (0, 2, 3))
    return Case(name, op, shapes, attrs, tuple(fixed), free=free, **more)


def _seq(name: str, op: str, *fixed: np.ndarray | None, shapes: tuple[Shape, ...] | None = None, **more: Any) -> Case:
    """A case over sequences whose batch and length are free."""
    attrs = more.pop("attrs", {})
    free = more.pop("free", (0, 1))
    return Case(name, op, shapes or ((1, 5, 8), (3, 5, 8), (2, 7, 8)), attrs, tuple(fixed), free=free, **more)


_UNARY = [
    _seq(op, op, tolerance=1e-5 if op in ("Sigmoid", "Tanh", "Erf", "Softplus", "Mish") else 2e-6, **more)
    for op, more in {
        "Relu": {},
        "Sigmoid": {},
        "Tanh": {},
        "Exp": {},
        "Abs": {},
        "Neg": {},
        "Floor": {},
        "Ceil": {},
        "Sin": {},
        "Cos": {},
        "Sign": {},
        "Erf": {},
        "Softsign": {},
        "Elu": {},
        "Selu": {},
        "Celu": {"attrs": {"alpha": 1.5}},
        "LeakyRelu": {"attrs": {"alpha": 0.2}},
        "HardSigmoid": {},
        "HardSwish": {},
        "Identity": {},
        "Sqrt": {"positive": True},
        "Log": {"positive": True},
        "Reciprocal": {"positive": True},
        "Softplus": {},
        "ThresholdedRelu": {},
        "Mish": {"opset": 18},
        "Gelu": {"opset": 20},
        "IsNaN": {},
        "IsInf": {},
    }.items()
]
_UNARY += [
    _seq("Gelu/tanh", "Gelu", attrs={"approximate": "tanh"}, opset=20, tolerance=1e-5),
    _seq("HardSigmoid/sixth", "HardSigmoid", attrs={"alpha": 1 / 6, "beta": 0.5}),
    _seq("Elu/alpha", "Elu", attrs={"alpha": 0.7}),
    _seq("Abs/int64", "Abs", kind="i", low=-5),
    _seq("Neg/int64", "Neg", kind="i", low=-5),
    _seq("Round/ties", "Round", halves=True),
    _seq("Round", "Round"),
    _seq("Clip/6", "Clip", np.float32(0), np.float32(6)),
    _seq("Clip/any", "Clip", np.float32(-0.5), np.float32(0.7)),
    _seq("Clip/low", "Clip", np.float32(0)),
    _seq("Clip/attributes", "Clip", attrs={"min": -1.0, "max": 1.0}, opset=10),
    _seq("Clip/int64", "Clip", np.int64(1), np.int64(3), kind="i"),
    _img("PRelu", "PRelu", weights(4, 1, 1), image=True),
    _img("PRelu/one", "PRelu", weights(1)),
    _img("PRelu/rows", "PRelu", weights(6, 1), shapes=((1, 4, 6, 5), (2, 4, 6, 5)), free=(0,)),
    _seq("Not", "Not", kind="b"),
    _seq("Cast/int64", "Cast", attrs={"to": TensorProto.INT64}),
    _seq("Cast/float", "Cast", attrs={"to": TensorProto.FLOAT}, kind="i"),
    _seq("Cast/bool", "Cast", attrs={"to": TensorProto.BOOL}),
    _seq("Dropout", "Dropout"),
    _seq("Cast/from bool", "Cast", attrs={"to": TensorProto.FLOAT}, kind="b"),
]

_BINARY = [_seq(f"{op}/rows", op, weights(8), tolerance=3e-6) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")]
_BINARY += [
    _seq(f"{op}/both", op, second=((1, 5, 8), (3, 5, 8), (2, 7, 8)), free=())
    for op in ("Add", "Mul", "Max", "Min", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Sum", "Mean")
]
_BINARY += [
    _seq(f"{op}/bool", op, second=((1, 5, 8), (3, 5, 8), (2, 7, 8)), kind="b", free=())
    for op in ("And", "Or", "Xor", "Equal")
]
_BINARY += [
    _img("Add/channels", "Add", weights(4, 1, 1), image=True),
    _img("Mul/row", "Mul", weights(1, 1, 1), image=True),
    _img("Add/columns", "Add", weights(5), image=True, shapes=((1, 4, 6, 5), (2, 4, 3, 5)), free=(0, 2)),
    _seq("Add/int64", "Add", ints(3), kind="i"),
    _seq("Mul/int32", "Mul", np.array([3], np.int32), kind="j"),
    _seq("Div/int32", "Div", np.array([2], np.int32), kind="j", low=-9, high=9),
    _seq("Mod/int64", "Mod", ints(3), kind="i", low=-9, high=9),
    _seq("Mod/float", "Mod", np.float32([1.5]), attrs={"fmod": 1}),
    _seq("Pow/2", "Pow", np.float32(2)),
    _seq("Pow/half", "Pow", np.float32(0.5), positive=True),
    _seq("Pow/any", "Pow", np.float32(1.7), positive=True),
    _seq("Pow/int64", "Pow", ints(3), positive=True),
]

_CONV = [
    _img("Conv/pointwise", "Conv", weights(6, 4, 1, 1), weights(6)),
    _img("Conv/same", "Conv", weights(6, 4, 3, 3), weights(6), attrs={"pads": [1, 1, 1, 1]}),
    _img("Conv/stride", "Conv", weights(6, 4, 3, 3), attrs={"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    _img("Conv/uneven", "Conv", weights(6, 4, 2, 3), attrs={"pads": [0, 2, 1, 0], "strides": [1, 2]}),
    _img("Conv/dilated", "Conv", weights(6, 4, 3, 3), attrs={"pads": [2, 2, 2, 2], "dilations": [2, 2]}),
    _img("Conv/auto upper", "Conv", weights(6, 4, 3, 3), attrs={"auto_pad": "SAME_UPPER"}),
    _img(
        "Conv/auto lower",
        "Conv",
        weights(6, 4, 2, 2),
        attrs={"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        free=(0,),
        shapes=((1, 4, 6, 5), (2, 4, 6, 5)),
    ),
    _img("Conv/depthwise", "Conv", weights(4, 1, 3, 3), weights(4), attrs={"group": 4, "pads": [1, 1, 1, 1]}),
    _img("Conv/depthwise multiplied", "Conv", weights(8, 1, 3, 3), attrs={"group": 4, "strides": [2, 2]}),
    _img(
        "Conv/depthwise dilated",
        "Conv",
        weights(4, 1, 3, 3),
        attrs={"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]},
    ),
    _img("Conv/grouped", "Conv", weights(6, 2, 3, 3), weights(6), attrs={"group": 2, "pads": [1, 1, 1, 1]}),
    Case(
        "Conv/one dimension",
        "Conv",
        ((1, 4, 9), (2, 4, 9), (1, 4, 12)),
        {"pads": [2, 0], "strides": [2]},
        (weights(6, 4, 3), weights(6)),
        free=(0, 2),
    ),
    Case(
        "Conv/one dimension dilated",
        "Conv",
        ((1, 4, 9), (2, 4, 9), (1, 4, 12)),
        {"pads": [2, 2], "dilations": [2]},
        (weights(6, 4, 3), weights(6)),
        free=(0, 2),
    ),
    _img("ConvTranspose", "ConvTranspose", weights(4, 3, 3, 3), weights(3), attrs={"strides": [2, 2]}),
    _img("ConvTranspose/pads", "ConvTranspose", weights(4, 3, 4, 4), attrs={"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    _img(
        "ConvTranspose/output",
        "ConvTranspose",
        weights(4, 3, 3, 3),
        weights(3),
        attrs={"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    _img(
        "ConvTranspose/grouped", "ConvTranspose", weights(4, 3, 2, 2), weights(6), attrs={"group": 2, "strides": [2, 2]}
    ),
    _img("ConvTranspose/dilated", "ConvTranspose", weights(4, 3, 2, 2), attrs={"dilations": [2, 2]}),
    Case(
        "ConvTranspose/one dimension",
        "ConvTranspose",
        ((1, 4, 9), (2, 4, 9)),
        {"strides": [2]},
        (weights(4, 3, 3),),
        free=(0,),
    ),
]

_POOL = [
    _img("MaxPool", "MaxPool", attrs={"kernel_shape": [2, 2], "strides": [2, 2]}),
    _img("MaxPool/pads", "MaxPool", attrs={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    _img("MaxPool/same", "MaxPool", attrs={"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}),
    _img("MaxPool/ceil", "MaxPool", attrs={"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    _img(
        "MaxPool/ceil pads",
        "MaxPool",
        free=(0,),
        shapes=((1, 4, 6, 5), (2, 4, 6, 5)),
        attrs={"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ),
    _img("AveragePool", "AveragePool", attrs={"kernel_shape": [2, 2], "strides": [2, 2]}),
    _img("AveragePool/same", "AveragePool", attrs={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    _img("AveragePool/pads", "AveragePool", attrs={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    _img(
        "AveragePool/counted",
        "AveragePool",
        attrs={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    _img("AveragePool/ceil", "AveragePool", attrs={"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    _img(
        "AveragePool/ceil counted",
        "AveragePool",
        free=(0,),
        shapes=((1, 4, 6, 5), (2, 4, 6, 5)),
        opset=19,
        attrs={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1, "count_include_pad": 1},
    ),
    Case(
        "MaxPool/one dimension", "MaxPool", ((1, 4, 9), (2, 4, 12)), {"kernel_shape": [3], "strides": [2]}, free=(0, 2)
    ),
    _img("GlobalAveragePool", "GlobalAveragePool", image=True),
    _img("GlobalMaxPool", "GlobalMaxPool", image=True),
    _img("GlobalLpPool", "GlobalLpPool", image=True),
]

_MATRIX = [
    _seq("MatMul/weights", "MatMul", weights(8, 3)),
    _seq("MatMul/vector", "MatMul", weights(8)),
    _seq("MatMul/batch of weights", "MatMul", weights(2, 8, 3), shapes=((2, 5, 8), (2, 7, 8)), free=(1,)),
    Case("MatMul/weights at the left", "MatMul", ((8, 5), (8, 6)), second=((5, 4), (6, 4))),
    _seq("MatMul/both", "MatMul", second=((1, 8, 4), (3, 8, 4), (2, 8, 4)), free=()),
    Case("MatMul/heads", "MatMul", ((1, 2, 5, 8), (2, 2, 3, 8)), second=((1, 2, 8, 5), (2, 2, 8, 3))),
    Case("MatMul/broadcast", "MatMul", ((2, 5, 8),), second=((8, 4),)),
    Case("Gemm", "Gemm", ((1, 8), (4, 8)), {"transB": 1}, (weights(3, 8), weights(3)), free=(0,)),
    Case(
        "Gemm/factors", "Gemm", ((1, 8), (4, 8)), {"alpha": 0.5, "beta": 2.0}, (weights(8, 3), weights(1, 3)), free=(0,)
    ),
    Case("Gemm/transposed", "Gemm", ((8, 1), (8, 4)), {"transA": 1}, (weights(8, 3),), free=(1,)),
    Case("Gemm/matrix", "Gemm", ((4, 8),), {}, (weights(8, 3), weights(4, 3))),
    Case("Einsum", "Einsum", ((2, 3, 4, 5),), {"equation": "bhqd,bhkd->bhqk"}, second=((2, 3, 6, 5),)),
    Case("Einsum/heads", "Einsum", ((2, 5, 3, 4),), {"equation": "bqhd,bkhd->bhqk"}, second=((2, 6, 3, 4),)),
    Case("Einsum/dense", "Einsum", ((2, 5, 8),), {"equation": "btc,cd->btd"}, (weights(8, 3),)),
]

_NORM = [
    _img(
        "BatchNormalization", "BatchNormalization", weights(4), weights(4), weights(4), np.abs(weights(4)), image=True
    ),
    _img("InstanceNormalization", "InstanceNormalization", weights(4), weights(4), image=True, tolerance=1e-5),
    _seq("LayerNormalization", "LayerNormalization", weights(8), weights(8), tolerance=1e-5),
    _seq(
        "LayerNormalization/two",
        "LayerNormalization",
        weights(5, 8),
        shapes=((1, 5, 8), (3, 5, 8)),
        free=(0,),
        attrs={"axis": 1},
        tolerance=1e-5,
    ),
    _img(
        "GroupNormalization",
        "GroupNormalization",
        weights(4),
        weights(4),
        attrs={"num_groups": 2},
        opset=21,
        free=(0,),
        shapes=((1, 4, 6, 5), (2, 4, 6, 5)),
        image=True,
        tolerance=1e-5,
    ),
    _seq("LpNormalization", "LpNormalization"),
    _seq("LpNormalization/1", "LpNormalization", attrs={"p": 1, "axis": 1}),
    _img("MeanVarianceNormalization", "MeanVarianceNormalization", tolerance=1e-5),
    _img("LRN", "LRN", attrs={"size": 3}),
    _seq("RMSNormalization", "RMSNormalization", weights(8), opset=23, tolerance=1e-5),
    _seq("SimplifiedLayerNormalization", "SimplifiedLayerNormalization", weights(8), tolerance=1e-5),
    _seq("Swish", "Swish", opset=24, tolerance=1e-5),
]

_REDUCE = [
    _img(
        op,
        op,
        attrs={"axes": [1, 3], "keepdims": 0},
        image=True,
        opset=13 if op != "ReduceSum" else 11,
        positive="Log" in op,
        tolerance=1e-5,
    )
    for op in (
        "ReduceMean",
        "ReduceSum",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSumExp",
    )
]
_REDUCE += [
    _seq("ReduceLogSum", "ReduceLogSum", attrs={"axes": [1]}, positive=True),
    _seq("ReduceMean/18", "ReduceMean", ints(-1), opset=18),
    _seq("ReduceSum/all", "ReduceSum"),
    _seq("ReduceMax/int64", "ReduceMax", attrs={"axes": [1]}, kind="i"),
    _img("ArgMax", "ArgMax", attrs={"axis": 1}, image=True),
    _seq("ArgMin", "ArgMin", attrs={"axis": -1, "keepdims": 0}),
    _seq("ArgMax/last", "ArgMax", attrs={"axis": 2, "select_last_index": 1}),
    _seq("TopK", "TopK", ints(3), outputs=2),
    _seq("TopK/smallest", "TopK", ints(2), attrs={"largest": 0, "axis": 1}, outputs=2),
    _seq("CumSum", "CumSum", np.int64(1)),
    _seq("CumSum/back", "CumSum", np.int64(2), attrs={"reverse": 1, "exclusive": 1}),
    _seq("Softmax", "Softmax", tolerance=1e-5),
    _img("Softmax/channels", "Softmax", attrs={"axis": 1}, image=True, tolerance=1e-5),
    _seq("Softmax/11", "Softmax", attrs={"axis": 1}, opset=11, tolerance=1e-5),
    _seq("LogSoftmax", "LogSoftmax", tolerance=1e-5),
    _img("LogSoftmax/channels", "LogSoftmax", attrs={"axis": 1}, tolerance=1e-5),
    _seq("Hardmax", "Hardmax"),
]

_SHAPE = [
    _img("Shape", "Shape", image=True),
    _img("Shape/part", "Shape", attrs={"start": 1, "end": 3}, image=True),
    _img("Size", "Size"),
    _img("Reshape/flat", "Reshape", ints(0, -1), image=True),
    _img("Reshape/tokens", "Reshape", ints(0, 4, -1), image=True),
    _img("Reshape/split", "Reshape", ints(-1, 2, 2, 6, 5), shapes=((1, 4, 6, 5), (2, 4, 6, 5)), free=(0,), image=True),
    _img("Flatten", "Flatten", image=True),
    _seq("Flatten/0", "Flatten", attrs={"axis": 0}),
    _img("Transpose", "Transpose", attrs={"perm": [0, 2, 3, 1]}, image=True),
    _seq("Transpose/reverse", "Transpose"),
    Case("Squeeze", "Squeeze", ((1, 4, 1, 5), (2, 4, 1, 5)), {}, (ints(2),), free=(0, 3), image=True),
    _seq("Squeeze/11", "Squeeze", attrs={"axes": [1]}, shapes=((2, 1, 8), (3, 1, 8)), free=(0,), opset=11),
    _seq("Unsqueeze", "Unsqueeze", ints(0, 3)),
    _img("Unsqueeze/image", "Unsqueeze", ints(2), image=True),
    _img("Concat", "Concat", second=((1, 4, 6, 5), (2, 4, 6, 5), (1, 4, 9, 7)), free=(), attrs={"axis": 1}, image=True),
    _img("Split", "Split", attrs={"axis": 1}, outputs=2, image=True),
    _img("Split/uneven", "Split", ints(1, 3), attrs={"axis": 1}, outputs=2, image=True),
    _img("Split/18", "Split", attrs={"axis": 1, "num_outputs": 3}, outputs=3, opset=18),
    _seq("Expand", "Expand", ints(2, 1, 1), shapes=((1, 5, 8), (1, 7, 8)), free=(1,)),
    _seq("Expand/rank", "Expand", ints(3, 1, 1, 8)),
    _seq("Tile", "Tile", ints(1, 2, 3)),
    _img("Tile/image", "Tile", ints(1, 2, 1, 3), image=True),
    _img("DepthToSpace", "DepthToSpace", attrs={"blocksize": 2}, image=True),
    _img(
        "DepthToSpace/CRD", "DepthToSpace", attrs={"blocksize": 2, "mode": "CRD"}, shapes=((1, 8, 3, 5), (2, 8, 4, 4))
    ),
    _img("SpaceToDepth", "SpaceToDepth", attrs={"blocksize": 2}, shapes=((1, 4, 6, 8), (2, 4, 2, 4))),
    _seq("Trilu", "Trilu"),
    _seq("Trilu/lower", "Trilu", np.int64(-1), attrs={"upper": 0}),
]

_INDEX = [
    _img("Slice", "Slice", ints(1, -3), ints(4, 2**63 - 1), ints(1, 3), image=True),
    _img("Slice/steps", "Slice", ints(0, -1), ints(2**31, -(2**31)), ints(2, 3), ints(2, -1), image=True),
    _img("Slice/9", "Slice", attrs={"starts": [1], "ends": [-1], "axes": [2]}, opset=9),
    _img("Pad", "Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), image=True),
    _img("Pad/value", "Pad", ints(0, 1, 0, 0, 0, 0, 0, 2), np.float32(1.5)),
    _img("Pad/reflect", "Pad", ints(0, 0, 1, 2, 0, 0, 1, 2), attrs={"mode": "reflect"}),
    _img("Pad/edge", "Pad", ints(0, 0, 1, 2, 0, 0, 1, 0), attrs={"mode": "edge"}, image=True),
    _img("Pad/negative", "Pad", ints(0, 0, -1, 2, 0, 0, 0, -1)),
    _img("Pad/10", "Pad", opset=10, attrs={"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 0.5}),
    _img("Pad/wrap", "Pad", ints(0, 0, 1, 2, 0, 0, 1, 0), attrs={"mode": "wrap"}, opset=19),
    _seq("Gather", "Gather", ints(2, 0, -1), attrs={"axis": 2}),
    _img("Gather/channels", "Gather", ints(3, 1), attrs={"axis": 1}, image=True),
    _img("Gather/one", "Gather", np.int64(-1), attrs={"axis": 1}, image=True),
    _seq("Gather/matrix", "Gather", np.array([[0, 1], [2, 3]]), attrs={"axis": 1}),
    _seq("GatherND", "GatherND", np.array([[0, 1], [0, 4]])),
    _seq(
        "GatherElements",
        "GatherElements",
        np.array([[[0, 7, -1]] * 5]),
        shapes=((1, 5, 8),),
        free=(),
        attrs={"axis": 2},
    ),
    Case(
        "GatherElements/middle", "GatherElements", ((2, 5, 3),), {"axis": 1}, (np.array([[[0, 4, 1]], [[2, -1, 0]]]),)
    ),
    Case("ScatterND", "ScatterND", ((4, 5),), {}, (np.array([[1], [3]]), weights(2, 5))),
    _seq("OneHot", "OneHot", np.int64(5), np.array([0, 1], np.float32), kind="i"),
    _seq("OneHot/axis", "OneHot", np.int64(5), np.array([2, 3], np.float32), attrs={"axis": 1}, kind="i", low=-5),
    _seq("ReverseSequence", "ReverseSequence", ints(2, 3, 1, 3, 2), shapes=((3, 5, 8),), free=()),
    Case("EyeLike", "EyeLike", ((3, 5),), {"k": 1}),
    _seq("NonZero", "NonZero", kind="b"),
    _seq("Where", "Where", weights(8), weights(1), kind="b"),
]


def _resize(name: str, scale: tuple[float, ...] | None, **more: Any) -> Case:
    attrs = more.pop("attrs")
    sizes = more.pop("sizes", None)
    fixed = (None, np.array(scale, np.float32)) if scale else (None, None, ints(*sizes))
    return _img(f"Resize/{name}", "Resize", *fixed, attrs=attrs, image=True, **more)


_STATIC = {"shapes": ((1, 4, 6, 5), (2, 4, 6, 5)), "free": (0,)}
_RESIZE = [
    _resize("nearest", (1, 1, 2, 2), attrs={"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    _resize("half pixel", (1, 1, 2, 3), attrs={}),
    _resize("down", (1, 1, 0.5, 0.6), attrs={"nearest_mode": "ceil"}, **_STATIC),
    _resize("linear", (1, 1, 2, 2), attrs={"mode": "linear"}),
    _resize(
        "linear sizes",
        None,
        sizes=(1, 4, 7, 11),
        attrs={"mode": "linear"},
        shapes=((1, 4, 6, 5), (1, 4, 9, 7)),
        free=(2, 3),
    ),
    _resize("align corners", (1, 1, 2, 2), attrs={"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    _resize("asymmetric", (1, 1, 3, 2), attrs={"mode": "linear", "coordinate_transformation_mode": "asymmetric"}),
    _img("Upsample", "Upsample", np.array([1, 1, 2, 2], np.float32), opset=9),
]


def _recurrent(op: str, gates: int, directions: int, **attrs: Any) -> Case:
    name = f"{op}/{attrs.get('direction', 'forward')}{'/linear' if 'linear_before_reset' in attrs else ''}"
    tables = (weights(directions, gates * 4, 3), weights(directions, gates * 4, 4), weights(directions, 8 * gates))
    outputs = 3 if op == "LSTM" else 2
    shapes = ((5, 2, 3), (1, 1, 3), (9, 3, 3))
    return Case(name, op, shapes, {"hidden_size": 4, **attrs}, tables, outputs, free=(0, 1), tolerance=1e-5)


_RECURRENT = [
    _recurrent("LSTM", 4, 1),
    _recurrent("LSTM", 4, 2, direction="bidirectional"),
    _recurrent("LSTM", 4, 1, direction="reverse"),
    _recurrent("GRU", 3, 1),
    _recurrent("GRU", 3, 2, direction="bidirectional", linear_before_reset=1),
    _recurrent("RNN", 1, 1),
]

CASES: list[Case] = [
    *_UNARY,
    *_BINARY,
    *_CONV,
    *_POOL,
    *_MATRIX,
    *_NORM,
    *_REDUCE,
    *_SHAPE,
    *_INDEX,
    *_RESIZE,
    *_RECURRENT,
]
