"""Which initializers of a graph are weights, of which operators, and along which axis their outputs lie."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporters import streaming

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

KINDS = ("matmul", "gemm", "conv", "conv-transpose", "gather")
_FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16")
SMALLEST = 64  # weights; fewer are not worth a scale


@dataclass(frozen=True, eq=False)
class Use:
    """A node that reads the weight as input ``index``; through the Transpose node ``transpose`` where there is one."""

    node: ir.Node
    index: int
    transpose: ir.Node | None = None


@dataclass(frozen=True, eq=False)
class Weight:
    """An initializer that MatMul, Gemm, Conv, ConvTranspose or Gather read, and nothing else does.

    ``kind`` is that of the first use ("matmul" before "gather" where an embedding is tied), ``axis`` the output axis of
    the initializer as it is stored: 1 of a MatMul's [K, N], 0 of [N, K] behind a Transpose, of a Conv, of a Gather.
    """

    name: str
    kind: str
    axis: int
    uses: tuple[Use, ...]
    value: ir.Value

    @property
    def shape(self) -> tuple[int, ...]:
        """The initializer's shape."""
        tensor = self.value.const_value
        return tuple(tensor.shape.numpy()) if tensor is not None else ()

    def array(self) -> NDArray[Any]:
        """The float values, as float32; read from the file only now, and not kept, where they lie in external data."""
        import numpy as np

        tensor = self.value.const_value
        if tensor is None:
            raise ValueError(f"{self.name} has no value")
        return streaming.values(tensor).astype(np.float32, copy=False)


def find_weights(model: ir.Model) -> list[Weight]:
    """The weights of all graphs of the model, in the order of their initializers; those of If and Loop bodies too."""
    return [found for _, found in _judged(model) if isinstance(found, Weight)]


def left_out(model: ir.Model) -> dict[str, str]:
    """Float initializers of two or more dimensions that are not in ``find_weights``, each with the reason."""
    return {name: found for name, found in _judged(model) if isinstance(found, str)}


def _judged(model: ir.Model) -> list[tuple[str, Weight | str]]:
    graphs = list(model.graphs())
    names = Counter(name for graph in graphs for name in graph.initializers)
    found: list[tuple[str, Weight | str]] = []
    for graph in graphs:
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.dtype.name not in _FLOATS or len(tensor.shape) < 2:
                continue
            twice = names[name] > 1
            found.append((name, "several subgraphs have one of this name" if twice else _judge(name, value)))
    return found


def _judge(name: str, value: ir.Value) -> Weight | str:
    """The weight, or why it is none."""
    tensor = value.const_value
    if tensor is None or tensor.size < SMALLEST:
        return f"fewer than {SMALLEST} values"
    if value.is_graph_input() or value.is_graph_output():
        return "it is an input or output of a graph"
    uses: list[Use] = []
    axes: list[int] = []
    kinds: list[str] = []
    for node, index in value.uses():
        found = _use(node, index, len(tensor.shape))
        if found is None:
            return f"{node.op_type} reads it"
        for kind, axis, use in found:
            kinds.append(kind)
            axes.append(axis)
            uses.append(use)
    if not uses:
        return "nothing reads it"
    if len(set(axes)) > 1:
        return "its readers take their outputs along different axes"
    kind = min(kinds, key=KINDS.index)
    return Weight(name, kind, axes[0], tuple(uses), value)


def _use(node: ir.Node, index: int, rank: int) -> list[tuple[str, int, Use]] | None:
    """(kind, axis of the initializer, use) of each reader, through a Transpose of a matrix; None for other readers."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Transpose" and rank == 2 and _integers(node, "perm", [1, 0]) == [1, 0]:
        return _through(node)
    direct = _role(node, index, rank)
    return None if direct is None else [(*direct, Use(node, index))]


def _through(transpose: ir.Node) -> list[tuple[str, int, Use]] | None:
    turned = transpose.outputs[0]
    if turned.is_graph_output():
        return None
    found = []
    for node, index in turned.uses():
        role = _role(node, index, 2)
        if role is None or role[0] not in ("matmul", "gemm"):
            return None
        found.append((role[0], 1 - role[1], Use(node, index, transpose)))
    return found


def _role(node: ir.Node, index: int, rank: int) -> tuple[str, int] | None:
    """(kind, output axis) of a weight at this input, None where it is no weight there."""
    kind = node.op_type
    if kind == "MatMul" and rank == 2:
        return ("matmul", 1) if index == 1 else ("matmul", 0)
    if kind == "Gemm" and index == 1 and rank == 2:
        return "gemm", 0 if _integer(node, "transB", 0) else 1
    if kind == "Conv" and index == 1 and rank >= 3:
        return "conv", 0
    if kind == "ConvTranspose" and index == 1 and rank >= 3:
        return "conv-transpose", 1
    if kind == "Gather" and index == 0 and rank == 2 and _integer(node, "axis", 0) in (0, -2):
        return "gather", 0
    return None


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else int(attribute.as_int())


def _integers(node: ir.Node, name: str, default: list[int]) -> list[int]:
    attribute = node.attributes.get(name)
    return default if attribute is None else [int(item) for item in attribute.as_ints()]
