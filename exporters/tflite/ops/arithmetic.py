"""Operators that work element by element on numbers, and activations."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import Value, constant
from exporters.tflite.prims import binary, elementwise, runtime, scalar, unary

_UNARY = {
    "Sqrt": "SQRT", "Exp": "EXP", "Log": "LOG", "Sin": "SIN", "Cos": "COS", "Floor": "FLOOR", "Ceil": "CEIL",
    "Relu": "RELU", "Sigmoid": "LOGISTIC", "Tanh": "TANH", "Round": "ROUND", "Sign": "SIGN",
}  # fmt: skip
_FLOATS = ("float32", "float16", "float64")


def _float(value: Value, op: str) -> Value:
    if value.dtype != "float32":
        raise Unsupported(f"{op} of {value.dtype} has no kernel in TFLite")
    return value


@lowers(*_UNARY)
def simple(context: Context, node: ir.Node) -> Value:
    """Operators that TFLite has under another name; its ROUND takes ties to even as ONNX does."""
    return unary(context.build, _UNARY[node.op_type], _float(context.input(node, 0), node.op_type))


@lowers("Abs", "Neg")
def magnitude(context: Context, node: ir.Node) -> Value:
    """Abs and Neg of any number."""
    value = context.input(node, 0)
    if value.dtype == "int64":
        build = context.build
        zero = scalar(0, "int64")
        negative = binary(build, "SUB", zero, value)
        return negative if node.op_type == "Neg" else binary(build, "MAXIMUM", value, negative)
    return unary(context.build, node.op_type.upper(), value)


_BINARY = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL"}


@lowers(*_BINARY)
def basic(context: Context, node: ir.Node) -> Value:
    """Sums, differences, products."""
    left, right = context.input(node, 0), context.input(node, 1)
    if left.dtype not in ("float32", "int32", "int64"):
        raise Unsupported(f"{node.op_type} of {left.dtype} has no kernel in TFLite")
    return binary(context.build, _BINARY[node.op_type], left, right)


@lowers("Div")
def divide(context: Context, node: ir.Node) -> Value:
    """Quotients; integers are cut towards zero, which TFLite does for int32 alone."""
    build = context.build
    left, right = context.input(node, 0), context.input(node, 1)
    if left.dtype == "float32":
        if right.data is not None and _is_power_of_two(right.data):
            return binary(build, "MUL", left, constant(1 / right.data))
        return binary(build, "DIV", left, right)
    if left.dtype == "int32" or (build.is_narrow(left) and build.is_narrow(right)):
        return binary(build, "DIV", left, right)
    if left.dtype != "int64":
        raise Unsupported(f"Div of {left.dtype} has no kernel in TFLite")
    raise Unsupported("Div of int64 has no kernel in TFLite")


def _is_power_of_two(array: np.ndarray) -> bool:
    """Whether multiplying with the inverse is the same to the last bit."""
    mantissa, exponent = np.frexp(array)
    return bool(np.all((np.abs(mantissa) == 0.5) & (np.abs(exponent) < 120)))


@lowers("Mod")
def modulo(context: Context, node: ir.Node) -> Value:
    """FLOOR_MOD has the divisor's sign, as ONNX's Mod; with fmod=1 it is the dividend's."""
    build = context.build
    left, right = context.input(node, 0), context.input(node, 1)
    if not context.attr(node, "fmod", 0):
        return binary(build, "FLOOR_MOD", left, right)
    _float(left, "Mod with fmod=1")
    rest = binary(build, "FLOOR_MOD", unary(build, "ABS", left), unary(build, "ABS", right))
    return binary(build, "MUL", rest, unary(build, "SIGN", left))


@lowers("Pow")
def power(context: Context, node: ir.Node) -> Value:
    """Squares, roots and products where the exponent says so, else POW."""
    build = context.build
    base, exponent = context.input(node, 0), context.input(node, 1)
    _float(base, "Pow")
    if exponent.data is not None and exponent.data.size == 1:
        number = float(exponent.data.reshape(-1)[0])
        if exponent.rank <= base.rank and number == 2:
            return binary(build, "MUL", base, base)
        if exponent.rank <= base.rank and number == 0.5:
            return unary(build, "SQRT", base)
        exponent = constant(exponent.data.astype(np.float32))
    elif exponent.dtype != "float32":
        exponent = build.value(build.place(exponent, exponent.perm, "float32"), exponent.perm)
    return binary(build, "POW", base, exponent)


@lowers("Reciprocal")
def reciprocal(context: Context, node: ir.Node) -> Value:
    """One divided by the value."""
    return binary(context.build, "DIV", scalar(1, "float32"), _float(context.input(node, 0), "Reciprocal"))


@lowers("Max", "Min", "Sum", "Mean")
def several(context: Context, node: ir.Node) -> Value:
    """The largest, smallest, sum or mean of any number of operands, element by element."""
    op = {"Max": "MAXIMUM", "Min": "MINIMUM"}.get(node.op_type, "ADD")
    result = context.input(node, 0)
    for index in range(1, len(node.inputs)):
        result = binary(context.build, op, result, context.input(node, index))
    if node.op_type == "Mean" and len(node.inputs) > 1:
        result = binary(context.build, "MUL", result, scalar(1 / len(node.inputs), "float32"))
    return result if result.tensor >= 0 else runtime(context.build, result)


@lowers("Clip")
def clip(context: Context, node: ir.Node) -> Value:
    """RELU6 and its kin where the bounds are theirs, else MAXIMUM and MINIMUM."""
    build, value = context.build, context.input(node, 0)
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        attribute = context.attr(node, name)
        given = constant(np.asarray(attribute, value.dtype)) if attribute is not None else None
        bounds.append(context.input(node, index) if context.has(node, index) else given)
    numbers = [None if bound is None or bound.data is None else float(bound.data.reshape(-1)[0]) for bound in bounds]
    if value.dtype == "float32":
        fused = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
        if (numbers[0], numbers[1]) in fused:
            return unary(build, fused[numbers[0] or 0.0, numbers[1] or 0.0], value)
        if numbers[0] == 0 and bounds[1] is None:
            return unary(build, "RELU", value)
    for bound, op in zip(bounds, ("MAXIMUM", "MINIMUM"), strict=True):
        if bound is not None:
            value = binary(build, op, value, bound)
    return value


@lowers("LeakyRelu")
def leaky_relu(context: Context, node: ir.Node) -> Value:
    """LEAKY_RELU."""
    return unary(context.build, "LEAKY_RELU", context.input(node, 0), {"alpha": context.attr(node, "alpha", 0.01)})


@lowers("PRelu")
def parametric_relu(context: Context, node: ir.Node) -> Value:
    """LEAKY_RELU for one slope, PRELU for one per channel (all that XNNPACK takes), else max + slope * min.

    tflite-runtime 2.14 runs PRELU with one slope for several channels, and wrongly.
    """
    build = context.build
    value, slope = context.input(node, 0), context.input(node, 1)
    zero = scalar(0, value.dtype)
    if slope.data is not None and slope.data.size == 1 and slope.rank <= value.rank:
        return unary(build, "LEAKY_RELU", value, {"alpha": float(slope.data.reshape(-1)[0])})
    last = value.perm[-1] if value.perm else 0
    spread = (1,) * (value.rank - slope.rank) + slope.dims
    wanted = tuple(size if axis == last else 1 for axis, size in enumerate(value.dims))
    if slope.is_const and spread == wanted:
        return elementwise(build, "PRELU", [value, slope])
    low = binary(build, "MUL", slope, binary(build, "MINIMUM", value, zero))
    return binary(build, "ADD", binary(build, "MAXIMUM", value, zero), low)


@lowers("Elu")
def elu(context: Context, node: ir.Node) -> Value:
    """ELU, which has alpha 1; others are scaled on the negative side."""
    build, value = context.build, context.input(node, 0)
    alpha = context.attr(node, "alpha", 1.0)
    if alpha == 1:
        return unary(build, "ELU", value)
    zero = scalar(0, "float32")
    low = unary(build, "ELU", binary(build, "MINIMUM", value, zero))
    return binary(build, "ADD", unary(build, "RELU", value), binary(build, "MUL", low, scalar(alpha, "float32")))


@lowers("Selu", "Celu")
def scaled_elu(context: Context, node: ir.Node) -> Value:
    """gamma * (max(0, x) + alpha * (exp(min(0, x)) - 1)); Celu divides its exponent by alpha (ONNX's definitions)."""
    build, value = context.build, context.input(node, 0)
    selu = node.op_type == "Selu"
    alpha = context.attr(node, "alpha", 1.67326319217681884765625 if selu else 1.0)
    gamma = context.attr(node, "gamma", 1.05070102214813232421875) if selu else 1.0
    low = binary(build, "MINIMUM", value, scalar(0, "float32"))
    if not selu:
        low = binary(build, "MUL", low, scalar(1 / alpha, "float32"))
    low = binary(build, "MUL", unary(build, "ELU", low), scalar(alpha, "float32"))
    both = binary(build, "ADD", unary(build, "RELU", value), low)
    return binary(build, "MUL", both, scalar(gamma, "float32")) if gamma != 1 else both


@lowers("HardSigmoid")
def hard_sigmoid(context: Context, node: ir.Node) -> Value:
    """max(0, min(1, alpha * x + beta)), as relu6(6 * alpha * x + 6 * beta) / 6: the line folds into a convolution."""
    build, value = context.build, context.input(node, 0)
    alpha, beta = context.attr(node, "alpha", 0.2), context.attr(node, "beta", 0.5)
    if not math.isclose(alpha, 1 / 6, rel_tol=1e-6):
        value = binary(build, "MUL", value, scalar(6 * alpha, "float32"))
    line = unary(build, "RELU6", binary(build, "ADD", value, scalar(6 * beta, "float32")))
    return binary(build, "MUL", line, scalar(1 / 6, "float32"))


@lowers("HardSwish")
def hard_swish(context: Context, node: ir.Node) -> Value:
    """HARD_SWISH: x * relu6(x + 3) / 6."""
    return unary(context.build, "HARD_SWISH", context.input(node, 0))


@lowers("Gelu")
def gelu(context: Context, node: ir.Node) -> Value:
    """GELU, with erf or with tanh."""
    tanh = context.attr(node, "approximate", "none") == "tanh"
    return unary(context.build, "GELU", context.input(node, 0), {"approximate": tanh})


@lowers("Softplus")
def softplus(context: Context, node: ir.Node) -> Value:
    """max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    return _softplus(context, _float(context.input(node, 0), "Softplus"))


def _softplus(context: Context, value: Value) -> Value:
    build = context.build
    small = unary(build, "EXP", unary(build, "NEG", unary(build, "ABS", value)))
    logarithm = unary(build, "LOG", binary(build, "ADD", small, scalar(1, "float32")))
    return binary(build, "ADD", unary(build, "RELU", value), logarithm)


@lowers("Mish", "Swish")
def gated(context: Context, node: ir.Node) -> Value:
    """x * tanh(softplus(x)), or x * sigmoid(alpha * x)."""
    build, value = context.build, context.input(node, 0)
    if node.op_type == "Mish":
        return binary(build, "MUL", value, unary(build, "TANH", _softplus(context, value)))
    alpha = context.attr(node, "alpha", 1.0)
    inner = value if alpha == 1 else binary(build, "MUL", value, scalar(alpha, "float32"))
    return binary(build, "MUL", value, unary(build, "LOGISTIC", inner))


@lowers("Softsign")
def softsign(context: Context, node: ir.Node) -> Value:
    """x / (1 + |x|)."""
    build, value = context.build, _float(context.input(node, 0), "Softsign")
    return binary(build, "DIV", value, binary(build, "ADD", unary(build, "ABS", value), scalar(1, "float32")))


@lowers("ThresholdedRelu")
def thresholded_relu(context: Context, node: ir.Node) -> Value:
    """x where it is above alpha, else 0."""
    build, value = context.build, context.input(node, 0)
    above = binary(build, "GREATER", value, scalar(context.attr(node, "alpha", 1.0), "float32"), "bool")
    return elementwise(build, "SELECT_V2", [above, value, scalar(0, "float32")], typed_from=1)


# erf(x) = x * P(x^2) / Q(x^2) for |x| <= 4, and +-1 beyond in float32: the rational approximation of Eigen and XLA.
_ERF_LIMIT = 4.0
_ERF_P = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04,
    -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_Q = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
          -1.42647390514189e-02)  # fmt: skip


@lowers("Erf")
def erf(context: Context, node: ir.Node) -> Value:
    """The error function to the last few bits of float32; TFLite has none of its own."""
    build, value = context.build, _float(context.input(node, 0), "Erf")
    low = binary(build, "MAXIMUM", value, scalar(-_ERF_LIMIT, "float32"))
    inner = binary(build, "MINIMUM", low, scalar(_ERF_LIMIT, "float32"))
    square = binary(build, "MUL", inner, inner)
    top = binary(build, "MUL", inner, _polynomial(context, square, _ERF_P))
    return binary(build, "DIV", top, _polynomial(context, square, _ERF_Q))


def _polynomial(context: Context, value: Value, coefficients: tuple[float, ...]) -> Value:
    """Horner's scheme, highest power first."""
    result = binary(context.build, "MUL", value, scalar(coefficients[0], "float32"))
    for number in coefficients[1:-1]:
        result = binary(context.build, "ADD", result, scalar(number, "float32"))
        result = binary(context.build, "MUL", result, value)
    return binary(context.build, "ADD", result, scalar(coefficients[-1], "float32"))
