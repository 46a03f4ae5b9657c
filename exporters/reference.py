"""What the dequantised reference answers, kept beside an artifact, and how far a device's answer may be off.

The tolerance of an output is in the output's own unit, and comes from arithmetic alone, not from what an artifact gave:

    share of the dtype (parity.TOLERANCES) * max|reference|  +  FACTOR * the largest change in DRAWS moved runs

In a moved run the reference computes with every activation that the artifact's carrier rounds moved by the whole error
that this rounding may have, up or down at random. The error is that of exporters.proof: half a step of max|x|/127 in
each block of MatMulNBits at accuracy level 4, a whole step of the range over 255 where a whole tensor is rounded.
Rounding errors spread evenly over such a step have 0.58 of the size of these moves (1/sqrt(3)).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.parity import TOLERANCES, Run
from exporters.runtime import Session
from mobile.errors import ExportError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from exporters.lowering import LoweredUse
    from mobile.formats import TensorInfo

FACTOR, DRAWS = 4.0, 8
ITEMS = 8  # that are kept at most
WHOLE = -1  # a carrier that rounds a whole tensor, as in exporters.carriers.base.Carried.block
KEY, TOLERANCE = "reference", "tolerance"  # names of the file's further arrays: reference.OUTPUT, tolerance.OUTPUT
_SLACK = 1 + 2.0**-10  # scales and quotients are float32
_CUT = "Give single items with --inputs FILE.npz: one array for each input, items along the first axis."
Feeds = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Kept:
    """The file's bytes, and what the manifest says of it."""

    data: bytes
    evidence: dict[str, Any]


def file_name(artifact: Path) -> str:
    """The name of the file beside an artifact."""
    return f"{artifact.name}.reference.npz"


def keep(
    reference: Path,
    artifact: Run,
    feeds: Sequence[Feeds],
    inputs: Sequence[TensorInfo],
    outputs: Sequence[str],
    rounded: Mapping[str, int],
    kind: str,
) -> Kept:
    """The reference's answers to single items of ``feeds``, with the tolerance of each output.

    ``reference`` is the float graph with the dequantised weights, ``rounded`` the block (WHOLE: the tensor) in which
    activations are rounded before they meet a weight, by the weight's name. ExportError when the inputs cannot be cut
    into items, or when the artifact itself is beyond the tolerance on this host.
    """
    import numpy as np

    step, batches = _cut(feeds, inputs)
    moved = Moved(reference, rounded)
    wanted = [moved.run(batch) for batch in batches]
    changes = [
        change for number, batch in enumerate(batches) for change in moved.changes(batch, wanted[number], number)
    ]
    arrays = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    told: dict[str, Any] = {}
    for place, name in enumerate(outputs):
        answers = [found[place] for found in wanted]
        largest = max(float(abs(one.astype(np.float64)).max(initial=0.0)) for one in answers)
        plain = TOLERANCES.get(str(answers[0].dtype), 0.0) * largest
        rounding = FACTOR * max((change[place] for change in changes), default=0.0)
        arrays[f"{KEY}.{name}"] = np.concatenate([_items(one, step, name) for one in answers])
        arrays[f"{TOLERANCE}.{name}"] = np.asarray(plain + rounding, np.float64)
        told[name] = {"tolerance": plain + rounding, "float32": plain, "rounding": rounding, "largest": largest}
    if len(arrays) != len(batches[0]) + 2 * len(outputs):
        raise ExportError(f"an input has the name of an array of its own, such as {KEY}.{outputs[0]}", "Rename it.")
    _check_host(artifact, batches, wanted, outputs, told)
    return _kept(arrays, told, step * len(batches), step, kind)


def _kept(arrays: Mapping[str, NDArray[Any]], told: dict[str, Any], items: int, step: int, kind: str) -> Kept:
    import hashlib

    import numpy as np

    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    data = stream.getvalue()
    statement = (
        f"outputs of the float graph with the dequantised weights; they may differ by the arithmetic of the dtype and"
        f" {FACTOR:g} times the largest change when every rounded activation is moved by its rounding error"
        f" ({DRAWS} runs an item)"
    )
    evidence = {
        "kind": "reference", "statement": statement, "sha256": hashlib.sha256(data).hexdigest(), "inputs": kind,
        "items": items, "batch": step, "outputs": told,
    }  # fmt: skip
    return Kept(data, evidence)


def _check_host(
    artifact: Run,
    batches: Sequence[dict[str, NDArray[Any]]],
    wanted: Sequence[Sequence[NDArray[Any]]],
    outputs: Sequence[str],
    told: Mapping[str, dict[str, Any]],
) -> None:
    """Adds ``host``: how far the artifact is off here. ExportError when that is beyond the tolerance."""
    import numpy as np

    found = [artifact(batch) for batch in batches]
    for place, name in enumerate(outputs):
        pairs = [(have[place].astype(np.float64), want[place]) for have, want in zip(found, wanted, strict=True)]
        worst = max(float(abs(have - want).max(initial=0.0)) for have, want in pairs)
        told[name]["host"] = worst
        if not worst <= told[name]["tolerance"]:  # NaN is beyond it, too
            raise ExportError(
                f"output {name!r} is off by {worst:.3g} from its dequantised reference on this host,"
                f" allowed is {told[name]['tolerance']:.3g}",
                "Nothing was published. Please report it, with the scheme and the target.",
            )


def _cut(feeds: Sequence[Feeds], inputs: Sequence[TensorInfo]) -> tuple[int, list[dict[str, NDArray[Any]]]]:
    """(rows of one inference, inferences): single items where the first axis is free, else the model's own batch."""
    fixed = {value.shape[0] for value in inputs if value.shape and isinstance(value.shape[0], int)}
    if not inputs or any(not value.shape for value in inputs) or len(fixed) > 1:
        raise ExportError("the inputs have no common first axis, so no items can be kept", _CUT)
    step = fixed.pop() if fixed else 1
    found: list[dict[str, NDArray[Any]]] = []
    shapes: set[tuple[tuple[int, ...], ...]] = set()
    for feed in feeds:
        arrays = {value.name: feed[value.name] for value in inputs}
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) != 1 or min(lengths) % step:
            raise ExportError(f"the inputs have {sorted(lengths)} rows, so they cannot be cut into items", _CUT)
        shapes.add(tuple(array.shape[1:] for array in arrays.values()))
        if len(shapes) > 1:  # a file of items has one shape; those of the first feed are kept
            break
        for start in range(0, lengths.pop(), step):
            if len(found) * step < max(ITEMS, step):
                found.append({name: array[start : start + step] for name, array in arrays.items()})
    if not found:
        raise ExportError("there are no inputs to keep answers for", _CUT)
    return step, found


def _items(value: NDArray[Any], step: int, name: str) -> NDArray[Any]:
    """One inference's value with items along the first axis, as they are told apart on a device."""
    if value.ndim and value.shape[0] == step:
        return value
    if step == 1:
        return value[None]
    raise ExportError(
        f"output {name!r} is {list(value.shape)}, which has no axis of the batch's {step} items",
        "Export it with a free first dimension.",
    )


class Moved:
    """The reference, with something added to each activation that a carrier rounds."""

    def __init__(self, reference: Path, rounded: Mapping[str, int]) -> None:
        import onnx

        model = onnx.load(str(reference), load_external_data=False)
        self._count = len(model.graph.output)
        self._places = list(_insert(model, rounded))
        beside = reference.with_name(f"moved-{reference.name}")
        onnx.save(model, str(beside))
        try:
            self._session = Session(beside, "the reference with moved activations")
        finally:
            beside.unlink()

    def run(self, feed: Feeds) -> list[NDArray[Any]]:
        """The reference's outputs, nothing moved."""
        return self._run(feed, {})[: self._count]

    def changes(self, feed: Feeds, wanted: Sequence[NDArray[Any]], seed: int) -> Iterator[list[float]]:
        """The largest change of each output in each moved run; nothing where no carrier rounds."""
        import numpy as np

        if not self._places:
            return
        random = np.random.default_rng(seed)
        found = dict(zip(self._session.outputs, self._run(feed, {}), strict=True))
        errors = {noise: rounding({**feed, **found}[value], block) for noise, value, block in self._places}
        for _ in range(DRAWS):
            moves = {
                noise: (error * random.choice((-1.0, 1.0), error.shape)).astype(np.float32)
                for noise, error in errors.items()
            }
            moved = self._run(feed, moves)
            yield [
                float(abs(one.astype(np.float64) - want).max(initial=0.0))
                for one, want in zip(moved[: self._count], wanted, strict=True)
            ]

    def _run(self, feed: Feeds, moves: Feeds) -> list[NDArray[Any]]:
        import numpy as np

        still = {noise: np.zeros(1, np.float32) for noise, _, _ in self._places}
        return self._session.run({**feed, **still, **moves})


def _insert(model: onnx.ModelProto, rounded: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
    """(input that is added, activation, block) for each product with such a weight, once they are in the graph."""
    import onnx
    from onnx import TensorProto, helper

    graph = model.graph
    turned = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    known = {value.name for value in (*graph.output, *graph.input)}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        weights = {name: turned.get(name, name) for name in node.input}
        met = next((name for name, weight in weights.items() if weight in rounded), None)
        data = next((name for name in node.input if name and name != met), None)
        if met is not None and data is not None and node.op_type in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
            noise, value = f"move.{len(nodes)}", f"moved.{len(nodes)}"
            nodes.append(helper.make_node("Add", [data, noise], [value]))
            node.input[list(node.input).index(data)] = value
            graph.input.append(helper.make_tensor_value_info(noise, TensorProto.FLOAT, None))
            if data not in known:
                graph.output.append(onnx.ValueInfoProto(name=data))
                known.add(data)
            yield noise, data, rounded[weights[met]]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def rounding(value: NDArray[Any], block: int) -> NDArray[Any]:
    """How far each activation may be from its value once it is rounded: in blocks of the last axis, or as a whole."""
    import numpy as np

    wide = value.astype(np.float64)
    if block == WHOLE:
        return np.full_like(wide, (max(wide.max(initial=0.0), 0.0) - min(wide.min(initial=0.0), 0.0)) / 255 * _SLACK)
    columns = wide.shape[-1]
    padded = np.pad(abs(wide).reshape(-1, columns), ((0, 0), (0, -columns % block)))
    padded = padded.reshape(len(padded), -1, block)
    half = padded.max(2, keepdims=True) / 127 / 2 * _SLACK
    return np.broadcast_to(half, padded.shape).reshape(len(padded), -1)[:, :columns].reshape(wide.shape)


def rounded(uses: Sequence[LoweredUse]) -> dict[str, int]:
    """The block in which activations are rounded before they meet each weight; weights that none meets are left out.

    Where uses of a weight differ, the coarsest.
    """
    found: dict[str, int] = {}
    for use in uses:
        block = use.carried.block
        if block:
            before = found.get(use.weight, block)
            found[use.weight] = WHOLE if WHOLE in (block, before) else max(block, before)
    return found
