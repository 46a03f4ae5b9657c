"""Split shortcut quantisation: branches of a Concat that differ in range are quantised apart, and so are their weights.

Conv(Concat(a, b), W) = Conv(a, W[:, :ca]) + Conv(b, W[:, ca:]), exactly but for the order of additions. Source:
Li et al., "Q-Diffusion: Quantizing Diffusion Models", ICCV 2023, section 4.2 (shortcut-splitting quantisation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir


def split_shortcuts(model: ir.Model) -> int:
    """How many Convs of the model were split, in place. Grouped ones and those with unknown branch sizes stay."""
    count = 0
    for node in list(model.graph):
        sizes = _branch_channels(node)
        if sizes is not None:
            _split(model, node, sizes)
            count += 1
    if count:
        import onnx_ir.passes.common as common

        common.RemoveUnusedNodesPass()(model)
    return count


def _branch_channels(node: ir.Node) -> list[int] | None:
    """Channels of each branch that the Conv reads through a Concat; None when it is no such Conv."""
    if node.op_type != "Conv" or node.domain not in ("", "ai.onnx") or _integer(node, "group", 1) != 1:
        return None
    data, weight = node.inputs[0], node.inputs[1]
    if data is None or weight is None or weight.const_value is None:
        return None
    concat = data.producer()
    if (
        concat is None
        or concat.op_type != "Concat"
        or _integer(concat, "axis", 0) not in (1, 1 - len(weight.shape or ()))
    ):
        return None
    sizes = [_channels(value) for value in concat.inputs]
    if any(size is None for size in sizes) or sum(size or 0 for size in sizes) != weight.const_value.shape[1]:
        return None
    return [size or 0 for size in sizes]


def _channels(value: ir.Value | None) -> int | None:
    if value is None or value.shape is None or len(value.shape) < 2:
        return None
    size = value.shape[1]
    return size if isinstance(size, int) else None


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else int(attribute.as_int())


def _split(model: ir.Model, node: ir.Node, sizes: list[int]) -> None:
    import onnx_ir as ir

    data, weight = node.inputs[0], node.inputs[1]
    assert data is not None and weight is not None and weight.const_value is not None and node.graph is not None
    concat = data.producer()
    assert concat is not None
    values, first = weight.const_value.numpy(), 0
    base = node.outputs[0].name or "conv"
    total: Any = None
    for number, (branch, size) in enumerate(zip(concat.inputs, sizes, strict=True)):
        name = f"{weight.name}.branch{number}"
        piece = values[:, first : first + size].copy()
        part = ir.Value(name=name, const_value=ir.tensor(piece, name=name))
        part.shape, part.dtype = ir.Shape(piece.shape), ir.DataType.from_numpy(piece.dtype)
        model.graph.register_initializer(part)
        bias = node.inputs[2] if len(node.inputs) > 2 and number == 0 else None
        inputs = [branch, part] if bias is None else [branch, part, bias]
        conv = ir.node("Conv", inputs, attributes=dict(node.attributes), name=f"{base}/branch{number}")
        conv.outputs[0].name = f"{base}.branch{number}"
        node.graph.insert_before(node, conv)
        total = conv.outputs[0] if total is None else _added(node, total, conv.outputs[0], f"{base}.sum{number}")
        first += size
    old = node.outputs[0]
    old_name = old.name
    old.name = f"{old_name}.whole"
    total.name, total.shape, total.type = old_name, old.shape, old.type
    ir.convenience.replace_all_uses_with(old, total, replace_graph_outputs=True)


def _added(before: ir.Node, first: Any, second: Any, name: str) -> Any:
    import onnx_ir as ir

    node = ir.node("Add", [first, second], name=f"{name}/Add")
    node.outputs[0].name = name
    assert before.graph is not None
    before.graph.insert_before(before, node)
    return node.outputs[0]
