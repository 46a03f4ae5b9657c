"""The step of an export that compresses weights: what is asked for, the compressed weights, the carriers, the proof."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.carriers.base import Wishes
from exporters.lowering import METADATA, Lowered, by_reason, lower
from mobile.errors import ExportError, UsageError
from mobile.formats import index

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.checkpoints import Bound
    from exporters.compress.tensors import CompressedModel, CompressedTensor
    from exporters.targets import Target

STATIC = ("int8", "w8a16")  # whole schemes that quantise activations by calibration
DYNAMIC = "int8-dynamic"
_DYNAMIC_RULES = "@matmul=int8,@gemm=int8,@gather=int8,@conv=int8"
ADAPTERS = ("merge", "apart")
_JOIN_OPSET = 18  # BitwiseOr
_LEAST_OPSET = 13


@dataclass(frozen=True)
class Request:
    """Compression that was asked for: a scheme, a file of compressed weights, or both (the file first)."""

    scheme: str | None
    weights: Path | None
    names: Mapping[str, str] = field(default_factory=dict)
    wishes: Wishes = field(default_factory=Wishes)


def request(scheme: str | None, weights: Path | None, names: Mapping[str, str], wishes: Wishes) -> Request | None:
    """The request, None where no weights are compressed by it. UsageError when the scheme is not one."""
    if weights is None and (scheme is None or scheme in STATIC):
        return None
    if weights is not None and scheme in STATIC:
        raise UsageError(
            f"--scheme {scheme} quantises activations too and takes no compressed weights",
            'For 8-bit weights beside them write --scheme "*=int8".',
        )
    if wishes.adapter not in ADAPTERS:
        raise UsageError(f"adapter {wishes.adapter!r} is not one of {', '.join(ADAPTERS)}")
    if scheme is not None:
        _parsed(scheme)
    return Request(scheme, weights, names, wishes)


def _parsed(scheme: str) -> Any:
    from exporters.compress.schemes import parse_scheme

    return parse_scheme(_DYNAMIC_RULES if scheme == DYNAMIC else scheme)


def least_opset(asked: Request, target: Target | None) -> int:
    """The operator set that the carriers need: 18 where planes of 3, 5, 6 or 7 bits are joined, else 13."""
    if target is not None and target.opset < _JOIN_OPSET:
        return _LEAST_OPSET
    if asked.scheme is not None:
        rules = [rule for rule in _parsed(asked.scheme).rules if rule.family == "nbit"]
        if any(rule.options.get("b") in (3, 5, 6, 7) for rule in rules):
            return _JOIN_OPSET
    if asked.weights is not None and 3 in _widths(asked.weights):
        return _JOIN_OPSET
    return _LEAST_OPSET


def _widths(weights: Path) -> set[int]:
    """The widths of the codes in a file; 3 stands for 3, 5, 6 and 7."""
    from exporters.checkpoints import open_checkpoint
    from exporters.compress.spec import is_spec, read_spec

    if weights.is_file() and is_spec(weights):
        found = read_spec(weights).tensors.values()
        widths = {getattr(tensor, "width", 0) for tensor in found if tensor.family == "nbit"}
    else:
        widths = {entry.width for entry in open_checkpoint(weights).entries.values()}
    return {3 if width in (3, 5, 6, 7) else width for width in widths}


def _read_weights(model: ir.Model, asked: Request) -> Bound:
    """The compressed weights of the file: a compressed spec, or a checkpoint. ModelError says what is wrong with it."""
    from exporters.checkpoints import Bound, bind, open_checkpoint
    from exporters.compress.spec import is_spec, read_spec

    assert asked.weights is not None
    if asked.weights.is_file() and is_spec(asked.weights):
        return Bound(read_spec(asked.weights), {}, 0)
    return bind(open_checkpoint(asked.weights), model, asked.names)


def compressed_weights(model: ir.Model, asked: Request) -> Bound:
    """The compressed weights for a graph, and notes about what stays float. ModelError on NaN and infinity.

    Those of a checkpoint are read at each use and not kept.
    """
    from exporters.checkpoints import Bound
    from exporters.checkpoints.entries import Lazy
    from exporters.compress.tensors import CompressedModel
    from exporters.compress.weights import find_weights, left_out

    if asked.weights is None:
        notes = by_reason({(name, why): f"stays float: {why}" for name, why in left_out(model).items()})
        given = Bound(CompressedModel({}), {}, 0, notes)
    else:
        given = _read_weights(model, asked)
    if asked.scheme is None:
        return given
    own = {weight.name: weight for weight in find_weights(model) if weight.name not in given.model.tensors}
    if not given.model.tensors:
        return replace(given, model=CompressedModel(_fitted(own, asked.scheme), {"scheme": asked.scheme}))
    loads = {name: partial(given.model.tensors.__getitem__, name) for name in given.model.tensors}
    made = _fitted(own, asked.scheme)
    loads.update({name: partial(made.__getitem__, name) for name in made})
    return replace(given, model=CompressedModel(Lazy(loads), {**given.model.origin, "scheme": asked.scheme}))


def _fitted(found: Mapping[str, Any], text: str) -> dict[str, CompressedTensor]:
    """Weight by weight, so that the float values of one are in memory at a time; shared ones need all."""
    from exporters.compress.schemes import compress

    scheme = _parsed(text)
    meant = {name: weight for name, weight in found.items() if scheme.rule_for(name, weight.kind) is not None}
    if not meant or any(rule.family == "shared" for rule in scheme.rules):
        values = {name: (weight.array(), weight.kind, weight.axis) for name, weight in found.items()}
        return dict(compress(values, scheme).tensors)
    tensors: dict[str, CompressedTensor] = {}
    skipped = []
    for name, weight in meant.items():
        try:
            tensors.update(compress({name: (weight.array(), weight.kind, weight.axis)}, scheme).tensors)
        except UsageError as error:
            skipped.append(error)
    if not tensors and skipped:
        raise skipped[0]
    return tensors


@dataclass
class Compressed:
    """The outcome of the step."""

    model: CompressedModel
    lowered: Lowered
    notes: list[str]
    reals: Mapping[str, Any] = field(default_factory=dict)  # of a checkpoint, by initialiser

    def entries(self) -> list[dict[str, Any]]:
        """What the manifest says of each weight."""
        found = []
        for name, tensor in self.model.tensors.items():
            carried = [use.carried for use in self.lowered.uses if use.weight == name]
            found.append({
                "name": name, "family": tensor.family, "shape": list(tensor.shape), "bits": round(tensor.bits, 4),
                "packed_bytes": tensor.packed_bytes, "carriers": list(dict.fromkeys(one.carrier for one in carried)),
                "arithmetic": list(dict.fromkeys(one.arithmetic for one in carried)),
            })  # fmt: skip
        return found


def compress_graph(model: ir.Model, asked: Request, target: Target | None) -> Compressed:
    """Compresses and lowers the graph in place."""
    from exporters.checkpoints import put_reals

    bound = compressed_weights(model, asked)
    compressed = bound.model
    if not compressed.tensors:
        raise ExportError("there is no weight that could be compressed", "Export it without --scheme.")
    put_reals(model, bound.reals)
    lowered = lower(model, compressed, target, asked.wishes)
    model.metadata_props[METADATA] = json.dumps(
        {name: [bits, values] for name, (bits, values) in lowered.packed.items()}, separators=(",", ":")
    )
    ranked = [] if asked.wishes.measured is None else [asked.wishes.measured.said()]
    return Compressed(compressed, lowered, [*bound.notes, *ranked, *lowered.notes], bound.reals)


def reference_graph(model: ir.Model, done: Compressed) -> None:
    """Gives the float graph the dequantised weights, in place: what the artifact is compared with."""
    import onnx_ir as ir

    from exporters.checkpoints import put_reals

    put_reals(model, done.reals)
    compressed = done.model
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            tensor = compressed.tensors.get(name)
            if tensor is None or value.const_value is None:
                continue
            value.const_value = ir.LazyTensor(
                _float_values(tensor, value.const_value),
                dtype=ir.DataType.FLOAT,
                shape=ir.Shape(tensor.shape),
                name=name,
            )


def _float_values(tensor: Any, before: Any) -> Any:
    import onnx_ir as ir

    def make() -> Any:
        values = tensor.merged(before.numpy()) if tensor.family == "lora" else tensor.dequantise()
        return ir.tensor(values, name=tensor.name)

    return make


def check_packed(path: Path, compressed: Compressed) -> dict[str, Any]:
    """The evidence that the file holds the weights at their width. ExportError where one is wider, or still float."""
    found = {tensor.name: tensor for tensor in index(path).tensors}
    for name, (bits, values) in compressed.lowered.packed.items():
        stored = found.get(name)
        if stored is None:
            raise ExportError(f"{path.name}: the packed weight {name!r} is not in the file", "Please report it.")
        rows = stored.shape[0] if stored.shape else 1
        if stored.length > -(-values * int(bits) // 8) + rows:  # each row may end within a byte
            raise ExportError(f"{path.name}: {name!r} takes {stored.length} bytes for {values} values of {bits} bits")
    floats = [
        name for name, tensor in compressed.model.tensors.items() if name in found and tensor.family not in ("lora",)
    ]
    if floats:
        raise ExportError(f"{path.name}: the float weight {floats[0]!r} is still in the file", "Please report it.")
    weights = sum(tensor.packed_bytes for tensor in compressed.model.tensors.values())
    return {
        "kind": "packing", "ok": True, "packed_initialisers": len(compressed.lowered.packed),
        "compressed_bytes": weights, "initialiser_bytes": sum(tensor.length for tensor in found.values()),
    }  # fmt: skip
