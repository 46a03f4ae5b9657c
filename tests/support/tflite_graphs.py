"""Small whole graphs that people export: a decoder step with a cache, a branch, a detector's tail."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

from tests.support.tflite_cases import weights

# One causal attention layer over a cache: batch, new tokens and past length are all free. Sizes are computed in the
# graph as PyTorch's exporter does it: Shape, Gather, Unsqueeze, Concat, Reshape, Range, Expand.
_DECODER = """
<ir_version: 8, opset_import: ["" : 17]>
decoder (int64[N, T] ids, float[N, 2, P, 4] past_k, float[N, 2, P, 4] past_v)
    => (float[N, T, 20] logits, float[N, 2, PT, 4] k, float[N, 2, PT, 4] v) {
    x = Gather(table, ids)
    normal = LayerNormalization<axis = -1>(x, gain, offset)
    shape = Shape(ids)
    zero = Constant<value_int = 0>()
    one = Constant<value_int = 1>()
    first = Constant<value_ints = [0]>()
    n = Gather(shape, zero)
    t = Gather(shape, one)
    n1 = Unsqueeze(n, first)
    t1 = Unsqueeze(t, first)
    heads = Constant<value_ints = [2, 4]>()
    split = Concat<axis = 0>(n1, t1, heads)
    q0 = MatMul(normal, wq)
    k0 = MatMul(normal, wk)
    v0 = MatMul(normal, wv)
    q1 = Reshape(q0, split)
    k1 = Reshape(k0, split)
    v1 = Reshape(v0, split)
    q = Transpose<perm = [0, 2, 1, 3]>(q1)
    k2 = Transpose<perm = [0, 2, 1, 3]>(k1)
    v2 = Transpose<perm = [0, 2, 1, 3]>(v1)
    k = Concat<axis = 2>(past_k, k2)
    v = Concat<axis = 2>(past_v, v2)
    kt = Transpose<perm = [0, 1, 3, 2]>(k)
    scores = MatMul(q, kt)
    half = Constant<value_float = 0.5>()
    scaled = Mul(scores, half)
    all = Shape<start = 2, end = 3>(k)
    two = Constant<value_int = 2>()
    past = Shape<start = 2, end = 3>(past_k)
    total = Squeeze(all)
    columns = Range(zero, total, one)
    begin = Squeeze(past)
    rows = Range(begin, total, one)
    last = Constant<value_ints = [1]>()
    rows2 = Unsqueeze(rows, last)
    square = Concat<axis = 0>(t1, all)
    spread = Expand(columns, square)
    later = Greater(spread, rows2)
    low = Constant<value_float = -3.4e38>()
    masked = Where(later, low, scaled)
    chances = Softmax<axis = -1>(masked)
    mixed = MatMul(chances, v)
    back = Transpose<perm = [0, 2, 1, 3]>(mixed)
    rest = Constant<value_ints = [-1]>()
    joined = Concat<axis = 0>(n1, t1, rest)
    flat = Reshape(back, joined)
    out = MatMul(flat, wo)
    sum = Add(x, out)
    logits = MatMul(sum, head)
}
"""

_BRANCH = """
<ir_version: 8, opset_import: ["" : 17]>
branch (float[N, 3] x, int64 rate) => (float[N, 3] y) {
    limit = Constant<value_int = 10>()
    low = Less(rate, limit)
    doubled = Add(x, x)
    y = If(low)<then_branch = small () => (float[N, 3] a) { a = Exp(doubled) },
                else_branch = large () => (float[N, 3] b) { c = Neg(x) b = Mul(c, doubled) }>
}
"""

# As YOLO ends: scales side by side, boxes split from classes, a softmax over bins taken as a convolution.
_TAIL = """
<ir_version: 8, opset_import: ["" : 17]>
tail (float[N, 3, H, W] x) => (float[N, 6, A] y) {
    a0 = Conv<pads = [1, 1, 1, 1]>(x, stem)
    a = Relu(a0)
    b0 = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(a, down)
    b = Relu(b0)
    flat = Constant<value_ints = [0, 12, -1]>()
    ra = Reshape(a, flat)
    rb = Reshape(b, flat)
    all = Concat<axis = 2>(ra, rb)
    eight = Constant<value_ints = [8, 4]>()
    boxes, classes = Split<axis = 1>(all, eight)
    shape = Shape(boxes)
    zero = Constant<value_int = 0>()
    two = Constant<value_int = 2>()
    first = Constant<value_ints = [0]>()
    n = Gather(shape, zero)
    count = Gather(shape, two)
    n1 = Unsqueeze(n, first)
    count1 = Unsqueeze(count, first)
    bins = Constant<value_ints = [2, 4]>()
    target = Concat<axis = 0>(n1, bins, count1)
    r = Reshape(boxes, target)
    tr = Transpose<perm = [0, 2, 1, 3]>(r)
    s = Softmax<axis = 1>(tr)
    picked = Conv(s, bin)
    pair = Constant<value_ints = [0, 2, -1]>()
    places = Reshape(picked, pair)
    chance = Sigmoid(classes)
    y = Concat<axis = 1>(places, chance)
}
"""


def _with_tables(text: str, tables: dict[str, np.ndarray]) -> onnx.ModelProto:
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tables.items())
    return model


def decoder() -> onnx.ModelProto:
    """One attention layer with a cache; batch, tokens and cache length are free."""
    names = {"wq": (8, 8), "wk": (8, 8), "wv": (8, 8), "wo": (8, 8), "head": (8, 20), "table": (20, 8)}
    tables = {name: weights(*shape, seed=n) for n, (name, shape) in enumerate(names.items())}
    return _with_tables(_DECODER, {**tables, "gain": weights(8, seed=8), "offset": weights(8, seed=9)})


def branch() -> onnx.ModelProto:
    """An If that depends on an input and reads values of the graph around it."""
    return parser.parse_model(_BRANCH)


def tail() -> onnx.ModelProto:
    """A detector's tail over free height and width."""
    names = {"stem": (12, 3, 3, 3), "down": (12, 12, 3, 3), "bin": (1, 4, 1, 1)}
    return _with_tables(
        _TAIL, {name: weights(*shape, seed=n, scale=0.3) for n, (name, shape) in enumerate(names.items())}
    )
