"""What all carriers have in common: the use of a weight, what a target has, and the answer of a carrier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.carriers.tape import Tape
    from exporters.compress.tensors import CompressedTensor
    from exporters.targets import Target

ASSUMED_ROWS = 1  # of a multiplication whose number of rows the graph leaves open: one token, one image


@dataclass(frozen=True)
class Use:
    """One place where a weight is read: input ``place`` of ``node``.

    ``kind`` is "matmul" (MatMul and Gemm as a plain product), "gather", "conv" or "other". ``axis`` is the output axis
    of the weight as it is stored, None where there is none. ``rows_m`` is how many rows the other factor has
    (None: open). ``through`` is the Transpose between the weight and the node.
    """

    node: ir.Node
    place: int
    kind: str
    axis: int | None
    rows_m: int | None = None
    through: ir.Node | None = None


@dataclass(frozen=True)
class Carried:
    """What a carrier did with one use.

    ``arithmetic``: "float32", "int8 activations by blocks of B" or "uint8 activations by tensor". ``block`` is that B,
    0 for float32, -1 for a whole tensor. ``decoded`` is the value that holds the decoded weight, "" for none.
    """

    carrier: str
    arithmetic: str
    block: int = 0
    notes: tuple[str, ...] = ()
    decoded: str = ""


@dataclass(frozen=True)
class Wishes:
    """What was asked for beside the weights: which carriers to prefer, and how adapters are shipped."""

    dynamic: bool = False  # int8-dynamic: integer multiplication whatever the number of rows
    adapter: str = "merge"  # or "apart"
    measured: Any = None  # a Probe: rank(kind, rows, columns, m) -> [(carrier, seconds)]
    rows_m: int | None = None  # rows of multiplications whose number the graph leaves open


class Carrier(Protocol):
    """One way to carry a weight."""

    name: str

    def refusal(self, tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> str | None:
        """Why it does not fit, None when it does."""

    def emit(self, tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes) -> Carried:
        """Builds the subgraph and puts it in the place of the use."""


def replace_output(use: Use, value: Any) -> None:
    """Whoever read the node's output reads ``value`` now, which takes its name, type and shape."""
    import onnx_ir as ir

    old = use.node.outputs[0]
    name = old.name
    old.name = f"{name}.replaced"
    value.name, value.shape, value.type = name, old.shape, old.type
    ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)


def base_tensor(tensor: Any) -> Any:
    """The tensor that holds the data: the source of a shared one."""
    return getattr(tensor, "source", tensor)
