"""`lower`: every compressed weight of a float graph is replaced by the carrier that fits its use and the target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import streaming
from exporters.carriers import integer, nbits
from exporters.carriers.base import Carried, Carrier, Use, Wishes, base_tensor
from exporters.carriers.blocks import BlockProducts, DenseBlocks
from exporters.carriers.factors import FoldedProduct, TwoProducts, apart
from exporters.carriers.folded import Folded
from exporters.carriers.integer import Integer
from exporters.carriers.nbits import NBits
from exporters.carriers.rows import Rows
from exporters.carriers.tape import Tape
from mobile.errors import ExportError, ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.compress.tensors import CompressedModel, CompressedTensor
    from exporters.compress.weights import Weight
    from exporters.targets import Target

CARRIERS: tuple[Carrier, ...] = (
    BlockProducts(), TwoProducts(), Integer(), NBits(), Rows(), Folded(), DenseBlocks(), FoldedProduct(),
)  # fmt: skip
_SHOWN = 3  # weights that a note names
METADATA = "edgewise.weights"  # of the model: {initialiser: [bits, values]} of packed ones, as JSON


@dataclass(frozen=True)
class LoweredUse:
    """One use of a weight. ``node`` is the float graph's node name, ``output`` the value that holds its result."""

    weight: str
    node: str
    kind: str
    carried: Carried
    input: str
    output: str


@dataclass
class Lowered:
    """The graph with its carriers, and what was done: uses, packed initialisers, notes."""

    model: ir.Model
    uses: list[LoweredUse] = field(default_factory=list)
    packed: dict[str, tuple[float, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def carriers_of(self, weight: str) -> list[str]:
        """The carriers of a weight's uses, each once."""
        return list(dict.fromkeys(use.carried.carrier for use in self.uses if use.weight == weight))


def lower(
    model: ir.Model,
    compressed: CompressedModel,
    target: Target | None = None,
    wishes: Wishes | None = None,
    folder: Path | None = None,
) -> Lowered:
    """The model, changed in place, with every weight of ``compressed`` in its carrier.

    ``folder`` takes what is packed until the model is written; without it, it is in memory.

    ModelError when a weight is not in the graph, or has another shape; ExportError when no carrier fits the target.
    """
    from exporters.compress.weights import find_weights

    wishes = wishes or Wishes()
    found = {weight.name: weight for weight in find_weights(model)}
    tape = Tape(model, folder)
    lowered = Lowered(model)
    for name, tensor in compressed.tensors.items():
        value = _initializer(model, name, compressed)
        _check_shape(name, tensor, value)
        if tensor.family == "lora":
            _adapter(tensor, found.get(name), value, tape, lowered, wishes)
            continue
        for use in _uses(value, found.get(name)):
            _replace(tensor, use, tape, target, wishes, lowered)
    tape.finish()
    _drop_weights(model, compressed)
    lowered.packed = tape.packed
    lowered.notes = by_reason({(use.weight, note): note for use in lowered.uses for note in use.carried.notes})
    return lowered


def by_reason(found: Mapping[tuple[str, str], str]) -> list[str]:
    """One line for each reason, with the weights that it is for."""
    names: dict[str, list[str]] = {}
    for (name, _), reason in found.items():
        names.setdefault(reason, []).append(name)
    lines = []
    for reason, weights in names.items():
        more = f" and {len(weights) - _SHOWN} more" if len(weights) > _SHOWN else ""
        lines.append(f"{', '.join(weights[:_SHOWN])}{more}: {reason}")
    return lines


def _initializer(model: ir.Model, name: str, compressed: CompressedModel) -> ir.Value:
    for graph in model.graphs():
        if name in graph.initializers:
            return graph.initializers[name]
    names = [key for graph in model.graphs() for key in graph.initializers]
    near = get_close_matches(name, names, 3, 0.3)
    missing = sum(key not in names for key in compressed.tensors)
    raise ModelError(
        f"the compressed weight {name!r} is not in the graph ({missing} of {len(compressed.tensors)} are not)",
        f"The nearest names there are {', '.join(near)}." if near else "Is this the model that it was made for?",
    )


def _check_shape(name: str, tensor: CompressedTensor, value: ir.Value) -> None:
    shape = tuple(value.const_value.shape.numpy()) if value.const_value is not None else ()
    if shape != tuple(tensor.shape):
        raise ModelError(
            f"the compressed weight {name!r} is {list(tensor.shape)}, the graph's is {list(shape)}",
            "Is this the model that it was made for?",
        )


def _uses(value: ir.Value, weight: Weight | None) -> list[Use]:
    """The uses of a weight; of an initialiser that no known operator reads, each reader as it is."""
    if weight is None:
        return [Use(node, place, "other", None) for node, place in value.uses()]
    found = []
    for use in weight.uses:
        kind = "matmul" if use.node.op_type in ("MatMul", "Gemm") else use.node.op_type.lower()
        if use.node.op_type == "Gemm" and not _plain(use.node):
            kind = "other"
        if kind not in ("matmul", "gather", "conv"):
            kind = "other"
        found.append(Use(use.node, use.index, kind, weight.axis, _rows_m(use.node), use.transpose))
    return found


def _plain(node: ir.Node) -> bool:
    """Whether a Gemm is a multiplication and an addition, nothing scaled or turned."""
    numbers = {name: attribute.value for name, attribute in node.attributes.items()}
    return not numbers.get("transA", 0) and numbers.get("alpha", 1.0) == 1.0 and numbers.get("beta", 1.0) == 1.0


def _rows_m(node: ir.Node) -> int | None:
    """How many rows a multiplication has, None where the graph leaves it open."""
    data = node.inputs[0]
    if data is None or data.shape is None:
        return None
    rows = 1
    for size in list(data.shape)[:-1]:
        if not isinstance(size, int):
            return None
        rows *= size
    return rows


def _replace(
    tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes, lowered: Lowered
) -> None:
    reasons = []
    node, output = use.node, use.node.outputs[0].name or ""
    data = node.inputs[0] if use.place else node.inputs[-1]
    for carrier in order(tensor, use, target, wishes):
        why = carrier.refusal(tensor, use, target, wishes)
        if (
            why is None
            and isinstance(carrier, (NBits, Integer, TwoProducts, BlockProducts))
            and tensor.axis != use.axis
        ):
            why = f"its rows run along axis {tensor.axis}, the operator's outputs along {use.axis}"
        if why is not None:
            reasons.append(f"{carrier.name}: {why}")
            continue
        carried = carrier.emit(tensor, use, tape, target, wishes)
        lowered.uses.append(
            LoweredUse(tensor.name, node.name or output, use.kind, carried, (data.name if data else "") or "", output)
        )
        return
    raise ExportError(
        f"weight {tensor.name!r} ({tensor.family}) has no carrier for {node.op_type}"
        + (f" on {target.name}" if target else ""),
        "; ".join(reasons[-2:]),
    )


def order(tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> Iterator[Carrier]:
    """The carriers in the order in which they are tried: as measured on the device, else by the number of rows.

    Where no kernel of the target holds the codes alone, one multiplication by int8 is faster than two by 4 bits.
    """
    ranked = _measured(tensor, use, wishes)
    if ranked:
        yield from sorted(CARRIERS, key=lambda carrier: _place(carrier, ranked))
        return
    many = integer.preferred(use, wishes)
    if many and nbits.kernel_count(tensor, target) > 1:
        # Two low-bit kernels at 16 rows take as long as one of float32 (measured), at 128 half as long again.
        yield from sorted(CARRIERS, key=lambda carrier: isinstance(carrier, NBits))
        return
    first = many or nbits.kernel_count(tensor, target) != 1
    last = [] if first else [carrier for carrier in CARRIERS if isinstance(carrier, Integer)]
    yield from (carrier for carrier in CARRIERS if carrier not in last)


def _measured(tensor: CompressedTensor, use: Use, wishes: Wishes) -> list[str]:
    if wishes.measured is None or use.kind != "matmul" or wishes.dynamic:
        return []
    base = base_tensor(tensor)
    rows = use.rows_m or wishes.rows_m or 1
    return [name for name, _ in wishes.measured.rank(base.family, base.rows, base.columns, rows)]


def _place(carrier: Carrier, ranked: Sequence[str]) -> int:
    """Where the measured ranking has the carrier; those it does not know come after, in their own order."""
    return next((place for place, name in enumerate(ranked) if name.startswith(carrier.name)), len(ranked))


def _adapter(tensor: Any, weight: Weight | None, value: ir.Value, tape: Tape, lowered: Lowered, wishes: Wishes) -> None:
    """A LoRA adapter: added to the float weight, or a branch of its own."""
    import onnx_ir as ir

    uses = _uses(value, weight)
    if wishes.adapter == "apart":
        for use in uses:
            if use.kind != "matmul" or use.place != 1 or tensor.axis != use.axis:
                raise ExportError(
                    f"the adapter of {tensor.name!r} cannot be apart: {use.node.op_type} is no plain matrix product",
                    "Merge it: --adapter merge.",
                )
            output = use.node.outputs[0].name or ""
            data = use.node.inputs[0]
            carried = apart(tensor, use, tape)
            lowered.uses.append(
                LoweredUse(
                    tensor.name, use.node.name or output, use.kind, carried, (data.name if data else "") or "", output
                )
            )
        return
    assert value.const_value is not None
    value.const_value = ir.tensor(tensor.merged(streaming.values(value.const_value)), name=value.name)
    output = uses[0].node.outputs[0].name or "" if uses else ""
    lowered.uses.append(LoweredUse(tensor.name, output, "merged", Carried("merged", "float32"), "", output))


def _drop_weights(model: ir.Model, compressed: CompressedModel) -> None:
    """The float weights that nothing reads any more, with the nodes that read them before."""
    import onnx_ir.passes.common as common

    common.RemoveUnusedNodesPass()(model)
    for graph in model.graphs():
        for name in list(graph.initializers):
            value = graph.initializers[name]
            if name in compressed.tensors and not value.uses() and not value.is_graph_output():
                del graph.initializers[name]
