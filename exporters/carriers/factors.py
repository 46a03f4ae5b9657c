"""Low rank: two thin products instead of one. LoRA: merged into its weight, or beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.carriers.base import Carried, Use, Wishes, base_tensor, replace_output
from exporters.carriers.nbits import with_bias
from exporters.carriers.tape import Tape

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.compress.tensors import CompressedTensor, LowRank
    from exporters.targets import Target


class TwoProducts:
    """Matrix products of a low-rank weight."""

    name = "two products"

    def refusal(self, tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> str | None:
        """Why it does not fit."""
        base = base_tensor(tensor)
        if base.family != "low-rank":
            return f"{base.family} has no factors"
        if use.kind != "matmul" or use.place != 1:
            return "it is no matrix that multiplies rows of activations"
        return None

    def emit(self, tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes) -> Carried:
        """x @ right.T @ left.T."""
        base: LowRank = base_tensor(tensor)
        right, left = thin(base, tape)
        tape.beside(use.node)
        half = tape.op("MatMul", [use.node.inputs[0], right], base.name)
        total = tape.op("MatMul", [half, left], base.name)
        replace_output(use, with_bias(use, total, base.name, tape))
        tape.beside(None)
        more = base.rank * (base.rows + base.columns) >= base.rows * base.columns
        notes = (f"rank {base.rank} needs more work than the full matrix",) if more else ()
        return Carried(self.name, "float32", notes=notes)


class FoldedProduct:
    """A low-rank weight of another operator: the product is made at load."""

    name = "folded product"

    def refusal(self, tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> str | None:
        """Why it does not fit."""
        base = base_tensor(tensor)
        return None if base.family == "low-rank" else f"{base.family} has no factors"

    def emit(self, tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes) -> Carried:
        """left @ right, folded."""
        from exporters.carriers.folded import shaped

        base: LowRank = base_tensor(tensor)
        key = ("float", base.name, tensor.shape, tensor.axis)
        value = tape.kept(key)
        if value is None:
            left, right = (tape.constant(part, f"{base.name}.{label}") for part, label in _parts(base))
            value = tape.keep(key, shaped(tape.op("MatMul", [left, right], base.name), tensor, tape))
        owner, place = (use.through, 0) if use.through is not None else (use.node, use.place)
        owner.replace_input_with(place, value)
        return Carried(self.name, "float32", 0, ("smaller in the file only: it is dense in memory",), value.name or "")


def _parts(base: LowRank) -> list[tuple[Any, str]]:
    return [(base.left, "left"), (base.right, "right")]


def thin(base: Any, tape: Tape) -> tuple[ir.Value, ir.Value]:
    """[K, r] and [r, N] as initialisers, as the two products read them."""
    import numpy as np

    right = tape.constant(np.ascontiguousarray(base.right.T), f"{base.name}.right")
    return right, tape.constant(np.ascontiguousarray(base.left.T), f"{base.name}.left")


def apart(adapter: Any, use: Use, tape: Tape) -> Carried:
    """The adapter beside its weight: y + factor * (x @ right.T @ left.T). The node itself stays."""
    import numpy as np
    import onnx_ir as ir

    right = tape.constant(np.ascontiguousarray(adapter.right.T), f"{adapter.name}.lora_a")
    scaled = (adapter.left.astype(np.float64) * adapter.factor).astype(np.float32)
    left = tape.constant(np.ascontiguousarray(scaled.T), f"{adapter.name}.lora_b")
    node = use.node
    assert node.graph is not None
    old = node.outputs[0]
    uses = list(old.uses())
    half = ir.node("MatMul", [node.inputs[0], right], name=f"{adapter.name}.{old.name}/lora_a")
    product = ir.node("MatMul", [half.outputs[0], left], name=f"{adapter.name}.{old.name}/lora_b")
    total = ir.node("Add", [old, product.outputs[0]], name=f"{adapter.name}.{old.name}/lora_add")
    _name_outputs(f"{adapter.name}.{old.name}", half, product, total)
    node.graph.insert_after(node, [half, product, total])
    _hand_over(old, total.outputs[0], uses, node.graph)
    return Carried("adapter apart", "float32")


def _name_outputs(name: str, *nodes: ir.Node) -> None:
    for node in nodes:
        node.outputs[0].name = f"{name}.{(node.name or '').rpartition('/')[2]}.output"


def _hand_over(old: ir.Value, new: ir.Value, uses: list[Any], graph: Any) -> None:
    """The old value's readers, as they were before, read the new one; a graph output keeps its name."""
    for node, place in uses:
        node.replace_input_with(place, new)
    for place, value in enumerate(graph.outputs):
        if value is old:
            name = old.name
            old.name = f"{name}.base"
            new.name, new.shape, new.type = name, old.shape, old.type
            graph.outputs[place] = new
