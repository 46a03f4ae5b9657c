"""A checkpoint fitted to a float graph: parameter names to initializers, sizes compared, real arrays put in place."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.checkpoints.entries import Checkpoint, Entry, Lazy, RealEntry
from exporters.checkpoints.stored import read_json
from mobile.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.compress.tensors import CompressedModel, CompressedTensor
    from exporters.compress.weights import Weight

LEFT_OUT = "-"  # in the place of an initializer's name
_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Bound:
    """The packed weights under the names, shapes and axes of the graph's initializers, and what else belongs there.

    ``reals`` are the real arrays by initializer, with whether they are turned; ``own`` how many weights of the graph
    the checkpoint does not have.
    """

    model: CompressedModel
    reals: Mapping[str, tuple[RealEntry, bool]]
    own: int
    notes: list[str] = field(default_factory=list)


def read_names(path: Path) -> dict[str, str]:
    """A file that maps checkpoint names to initializers: a JSON object of names; "-" leaves an array out."""
    names = read_json(path)
    wrong = next((key for key, value in names.items() if not isinstance(value, str) or not value), None)
    if wrong is not None:
        raise ModelError(f"{path}: {wrong!r} must be mapped to a name, or to {LEFT_OUT!r}")
    return names


def bind(checkpoint: Checkpoint, model: ir.Model, names: Mapping[str, str] | None = None) -> Bound:
    """The checkpoint's weights and real arrays as the graph wants them; the graph is not changed (see ``put_reals``).

    Names are taken as they are, or with one prefix added or removed throughout, or by the module in the node's scope
    (torch writes "/up/MatMul"). ``names`` maps what is called otherwise; "-" leaves an array out. ModelError, in one
    line with the first names, when something has no initializer or other sizes.
    """
    from exporters.compress.tensors import CompressedModel
    from exporters.compress.weights import find_weights

    weights = {weight.name: weight for weight in find_weights(model)}
    initializers = {
        name: value for graph in model.graphs() for name, value in graph.initializers.items() if value.const_value
    }
    rename = _Renaming(checkpoint, names or {}, weights, initializers)
    loads = _loads(checkpoint, rename, weights, model)
    reals = _reals(checkpoint, rename, weights, initializers, loads)
    own = len(set(weights) - set(loads) - set(reals))
    notes = [f"{len(loads)} weights as the {checkpoint.form} checkpoint packs them, {len(reals)} arrays as it has them"]
    if own:
        notes.append(f"{own} weights that the checkpoint does not have keep the graph's values")
    notes.append("the error from the source compares with the weights that the source itself has")
    skipped = checkpoint.origin.get("activation_parameters_not_carried")
    if skipped:
        notes.append("the checkpoint also quantises activations; only its weights are carried")
    return Bound(CompressedModel(Lazy(loads), checkpoint.origin), reals, own, notes)


def put_reals(model: ir.Model, reals: Mapping[str, tuple[RealEntry, bool]]) -> None:
    """Gives the graph's initializers the checkpoint's values; each is read when the graph is saved, one at a time."""
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if name in reals:
                _put(value, *reals[name])


class _Renaming:
    """From a checkpoint's name to the initializer's, None where the map says to leave it out."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        names: Mapping[str, str],
        weights: Mapping[str, Weight],
        initializers: Mapping[str, ir.Value],
    ) -> None:
        known = {*checkpoint.entries, *checkpoint.reals}
        unknown = sorted(set(names) - known)
        if unknown:
            raise ModelError(f"{checkpoint.path}: has no array {unknown[0]!r}, which the name map renames")
        self._names = names
        self._aliases = _aliases(weights)
        free = [name for name in checkpoint.entries if name not in names]
        own = set(initializers)
        found = self._prefix(free, own) or self._prefix(free, own | set(self._aliases))
        self._removed, self._added = found or ("", "")

    def _prefix(self, free: list[str], present: set[str]) -> tuple[str, str] | None:
        """(prefix to remove, prefix to add) with which every free name is there; None when there is none."""
        if not free:
            return "", ""
        first = free[0]
        parts = first.split(".")
        removable = [".".join(parts[:count]) + "." for count in range(len(parts) - 1)]
        addable = {name[: -len(first)] for name in present if name.endswith(f".{first}")}
        choices = [("", "")] + [(text, "") for text in removable[1:]] + [("", text) for text in sorted(addable)]
        for removed, added in choices:
            if all(name.startswith(removed) and added + name.removeprefix(removed) in present for name in free):
                return removed, added
        return None

    def __call__(self, name: str) -> str | None:
        if name in self._names:
            given = self._names[name]
            return None if given == LEFT_OUT else given
        plain = self._added + name.removeprefix(self._removed)
        return self._aliases.get(plain, plain)


def _aliases(weights: Mapping[str, Weight]) -> dict[str, str]:
    """Parameter names that the scopes of the nodes tell, for initializers with other names; ambiguous ones left out."""
    found: dict[str, set[str]] = {}
    for name, weight in weights.items():
        for use in weight.uses:
            for scope in _scopes(use.node):
                found.setdefault(f"{scope}.weight", set()).add(name)
    return {alias: names.pop() for alias, names in found.items() if len(names) == 1 and alias not in weights}


def _scopes(node: ir.Node) -> set[str]:
    """The module path of a node, as torch's exporters write it: in the node's name, or in its metadata."""
    scopes = set()
    name = node.name or ""
    if name.startswith("/") and name.count("/") > 1:
        scopes.add(name[1:].rpartition("/")[0].replace("/", "."))
    text = node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
    try:
        listed = ast.literal_eval(text) if len(text) < 10_000 else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        listed = None
    if isinstance(listed, list) and len(listed) > 1:
        scopes.add(str(listed[-2]))  # the last is the operation itself
    return scopes - {""}


def _loads(
    checkpoint: Checkpoint, rename: _Renaming, weights: Mapping[str, Weight], model: ir.Model
) -> dict[str, Callable[[], CompressedTensor]]:
    from exporters.compress.layout import row_shape

    places = {name: rename(name) for name in checkpoint.entries}
    wanted = {name: place for name, place in places.items() if place is not None}
    missing = [name for name, place in wanted.items() if place not in weights]
    if missing:
        raise _missing(checkpoint, missing, wanted, model)
    if len(set(wanted.values())) < len(wanted):
        raise ModelError(f"{checkpoint.path}: two of its weights would be the same initializer", "Give a name map.")
    loads: dict[str, Callable[[], CompressedTensor]] = {}
    for name, place in wanted.items():
        entry, weight = checkpoint.entries[name], weights[place]
        if row_shape(weight.shape, weight.axis) != row_shape(entry.shape, entry.axis):
            raise ModelError(
                f"{checkpoint.path}: {name} is {list(entry.shape)}, the graph's {place!r} {list(weight.shape)}"
                f" with outputs along axis {weight.axis}", "Is it the checkpoint of another size of the model?",
            )  # fmt: skip
        loads[place] = partial(_load, entry, weight)
    return loads


def _load(entry: Entry, weight: Weight) -> CompressedTensor:
    return replace(entry.load(), name=weight.name, shape=weight.shape, axis=weight.axis)


def _missing(checkpoint: Checkpoint, missing: list[str], places: Mapping[str, str], model: ir.Model) -> ModelError:
    from exporters.compress.weights import find_weights, left_out

    reasons = left_out(model)
    why = reasons.get(places[missing[0]])
    shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
    first = [weight.name for weight in find_weights(model)][:_SHOWN]
    detail = f" ({places[missing[0]]!r}: {why})" if why else f"; its weights are {', '.join(first) or 'none'}, ..."
    return ModelError(
        f"{checkpoint.path}: {len(missing)} of {len(checkpoint.entries)} packed weights have no place in the graph:"
        f" {shown}{detail}",
        "Is it of another model? --names THEIRS=OURS maps a name.",
    )


def _reals(
    checkpoint: Checkpoint,
    rename: _Renaming,
    weights: Mapping[str, Weight],
    initializers: Mapping[str, ir.Value],
    taken: Mapping[str, Any],
) -> dict[str, tuple[RealEntry, bool]]:
    """Initializer -> (array, whether it is turned). ModelError for one that has no place, or another size."""
    found: dict[str, tuple[RealEntry, bool]] = {}
    missing = []
    for name, entry in checkpoint.reals.items():
        place = rename(name)
        if place is None:
            continue
        value = initializers.get(place)
        if value is None or place in taken:
            missing.append(name)
            continue
        shape = tuple(value.const_value.shape.numpy()) if value.const_value is not None else ()
        turned = place in weights and weights[place].axis == 1 and len(shape) == 2
        if shape != (entry.shape[::-1] if turned else entry.shape):
            raise ModelError(f"{checkpoint.path}: {name} is {list(entry.shape)}, the graph's {place!r} {list(shape)}")
        found[place] = (entry, turned)
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise ModelError(
            f"{checkpoint.path}: {len(missing)} of its arrays have no initializer of that name: {shown}",
            "Give --names THEIRS=OURS, or THEIRS=- to leave one out and keep the graph's value.",
        )
    return found


def _put(value: ir.Value, entry: RealEntry, turned: bool) -> None:
    """The initializer's new values, read when the graph is saved."""
    import numpy as np
    import onnx_ir as ir

    old = value.const_value
    if old is None:
        return
    dtype = old.dtype

    def load() -> ir.TensorProtocol:
        array = entry.load().T if turned else entry.load()
        converted = np.ascontiguousarray(array).astype(dtype.numpy())
        if not np.isfinite(converted.astype(np.float32)).all():
            raise ModelError(f"{value.name}: the checkpoint's values do not fit the graph's {dtype.name}")
        return ir.tensor(converted, dtype=dtype, name=value.name)

    value.const_value = ir.LazyTensor(load, dtype=dtype, shape=ir.Shape(old.shape.numpy()), name=value.name)
