"""The step of an export that compresses weights: what is asked for, the compressed weights, the carriers, the proof."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import streaming
from exporters.carriers.base import Wishes
from exporters.carriers.packing import packed_bytes
from exporters.lowering import METADATA, Lowered, by_reason, lower
from mobile.errors import ExportError, UsageError
from mobile.formats import index

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.checkpoints import Bound
    from exporters.compress.tensors import CompressedModel, CompressedTensor
    from exporters.compress.weights import Weight
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
    """The operator set that the carriers need: 18 where parts of codes are joined (3, 5, 6, 7 bits, trits), else 13."""
    if target is not None and target.opset < _JOIN_OPSET:
        return _LEAST_OPSET
    if asked.scheme is not None:
        options = [rule.options for rule in _parsed(asked.scheme).rules if rule.family in ("nbit", "ternary")]
        if any(found.get("b") in (3, 5, 6, 7) or found.get("trits") for found in options):
            return _JOIN_OPSET
    if asked.weights is not None and 3 in _widths(asked.weights):
        return _JOIN_OPSET
    return _LEAST_OPSET


def _widths(weights: Path) -> set[int]:
    """The widths of the codes in a file; 3 stands for 3, 5, 6, 7 and trits."""
    from exporters.checkpoints import open_checkpoint
    from exporters.compress.spec import is_spec, read_entries

    if weights.is_file() and is_spec(weights):
        found = read_entries(weights).values()
        widths = {entry.get("width", 0) for entry in found if entry.get("family") == "nbit"}
        widths |= {3 for entry in found if entry.get("packing") == "trits"}
    else:
        widths = {entry.width for entry in open_checkpoint(weights).entries.values()}
    return {3 if width in (3, 5, 6, 7) else width for width in widths}


def _read_weights(model: ir.Model, asked: Request, lazy: bool) -> Bound:
    """The compressed weights of the file: a compressed spec, or a checkpoint. ModelError says what is wrong with it.

    ``lazy``: those of a spec are read at each use, too.
    """
    from exporters.checkpoints import Bound, bind, open_checkpoint
    from exporters.checkpoints.entries import Lazy
    from exporters.compress.spec import is_spec, read_entries, read_spec
    from exporters.compress.tensors import CompressedModel

    assert asked.weights is not None
    path = asked.weights
    if not (path.is_file() and is_spec(path)):
        return bind(open_checkpoint(path), model, asked.names)
    if not lazy:
        return Bound(read_spec(path), {}, 0)
    loads = {name: partial(_one_of, path, name) for name in read_entries(path)}
    return Bound(CompressedModel(Lazy(loads), read_spec(path, only=()).origin), {}, 0)


def _one_of(path: Path, name: str) -> CompressedTensor:
    from exporters.compress.spec import read_spec

    return read_spec(path, only=(name,)).tensors[name]


def compressed_weights(model: ir.Model, asked: Request, folder: Path | None = None) -> Bound:
    """The compressed weights for a graph, and notes about what stays float. ModelError on NaN and infinity.

    Those of a checkpoint are read at each use and not kept; so are the others where there is a ``folder`` to put
    them away in.
    """
    from exporters.checkpoints import Bound
    from exporters.checkpoints.entries import Lazy
    from exporters.compress.tensors import CompressedModel
    from exporters.compress.weights import find_weights, left_out

    if asked.weights is None:
        notes = by_reason({(name, why): f"stays float: {why}" for name, why in left_out(model).items()})
        given = Bound(CompressedModel({}), {}, 0, notes)
    else:
        given = _read_weights(model, asked, folder is not None)
    if asked.scheme is None:
        return given
    own = {weight.name: weight for weight in find_weights(model) if weight.name not in given.model.tensors}
    if not given.model.tensors:
        return replace(given, model=CompressedModel(_fitted(own, asked.scheme, folder), {"scheme": asked.scheme}))
    loads = {name: partial(given.model.tensors.__getitem__, name) for name in given.model.tensors}
    made = _fitted(own, asked.scheme, folder)
    loads.update({name: partial(made.__getitem__, name) for name in made})
    return replace(given, model=CompressedModel(Lazy(loads), {**given.model.origin, "scheme": asked.scheme}))


def _fitted(found: Mapping[str, Weight], text: str, folder: Path | None) -> Mapping[str, CompressedTensor]:
    """Weight by weight, so that the float values of one are in memory at a time; shared ones need all.

    With a ``folder`` the compressed ones lie there and are read at each use, too.
    """
    from exporters.checkpoints.entries import Lazy
    from exporters.compress.schemes import compress

    scheme = _parsed(text)
    meant = {name: weight for name, weight in found.items() if scheme.rule_for(name, weight.kind) is not None}
    if not meant or any(rule.family == "shared" for rule in scheme.rules):
        values = {name: (weight.array(), weight.kind, weight.axis) for name, weight in found.items()}
        return compress(values, scheme).tensors
    tensors: dict[str, CompressedTensor] = {}
    stored: dict[str, Callable[[], CompressedTensor]] = {}
    skipped = []
    for name, weight in meant.items():
        try:
            made = compress({name: (weight.array(), weight.kind, weight.axis)}, scheme)
        except UsageError as error:
            skipped.append(error)
            continue
        if folder is None:
            tensors.update(made.tensors)
        else:
            stored[name] = _put_away(name, made, folder / f"{len(stored)}.safetensors")
    if skipped and not tensors and not stored:
        raise skipped[0]
    return tensors if folder is None else Lazy(stored)


def _put_away(name: str, made: CompressedModel, path: Path) -> Callable[[], CompressedTensor]:
    """Writes one weight as a compressed spec and gives the function that reads it."""
    from exporters.compress.spec import write_spec

    write_spec(made, path)
    return partial(_one_of, path, name)


@dataclass
class Compressed:
    """The outcome of the step."""

    model: CompressedModel
    lowered: Lowered
    notes: list[str]
    reals: Mapping[str, Any] = field(default_factory=dict)  # of a checkpoint, by initialiser

    @cached_property
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


def compress_graph(model: ir.Model, asked: Request, target: Target | None, folder: Path | None = None) -> Compressed:
    """Compresses and lowers the graph in place. A ``folder`` takes the weights, of which one is in memory at a time."""
    from exporters.checkpoints import put_reals

    bound = compressed_weights(model, asked, folder)
    compressed = bound.model
    if not compressed.tensors:
        raise ExportError("there is no weight that could be compressed", "Export it without --scheme.")
    put_reals(model, bound.reals)
    lowered = lower(model, compressed, target, asked.wishes, folder)
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
    tensors = done.model.tensors
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if name not in tensors or value.const_value is None:
                continue
            value.const_value = ir.LazyTensor(
                partial(_float_values, tensors, name, value.const_value),
                dtype=ir.DataType.FLOAT,
                shape=ir.Shape(value.const_value.shape.numpy()),
                name=name,
            )


def _float_values(tensors: Mapping[str, Any], name: str, before: Any) -> Any:
    import onnx_ir as ir

    tensor = tensors[name]
    values = tensor.merged(streaming.values(before)) if tensor.family == "lora" else tensor.dequantise()
    return ir.tensor(values, name=name)


def check_packed(path: Path, compressed: Compressed) -> dict[str, Any]:
    """The evidence that the file holds the weights at their width. ExportError where one is wider, or still float."""
    found = {tensor.name: tensor for tensor in index(path).tensors}
    for name, (bits, values) in compressed.lowered.packed.items():
        stored = found.get(name)
        if stored is None:
            raise ExportError(f"{path.name}: the packed weight {name!r} is not in the file", "Please report it.")
        rows = stored.shape[0] if stored.shape else 1
        if stored.length > packed_bytes(values, bits) + rows:  # each row may end within a byte
            raise ExportError(f"{path.name}: {name!r} takes {stored.length} bytes for {values} values of {bits} bits")
    floats = [entry["name"] for entry in compressed.entries if entry["name"] in found and entry["family"] != "lora"]
    if floats:
        raise ExportError(f"{path.name}: the float weight {floats[0]!r} is still in the file", "Please report it.")
    weights = sum(entry["packed_bytes"] for entry in compressed.entries)
    return {
        "kind": "packing", "ok": True, "packed_initialisers": len(compressed.lowered.packed),
        "compressed_bytes": weights, "initialiser_bytes": sum(tensor.length for tensor in found.values()),
    }  # fmt: skip
