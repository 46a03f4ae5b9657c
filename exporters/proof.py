"""Is each compressed weight in the artifact the one that was meant? Checked within the bounds of arithmetic.

Every use of a weight is recomputed in float64 from the artifact's own input to it and the family's ``dequantise()``.
The difference may be at most, with u = 2**-24 and gamma(n) = n u / (1 - n u) (Higham, "Accuracy and Stability of
Numerical Algorithms", 2nd edition, section 3.1: an inner product of n terms in any order):

    gamma(n) * (|x| |W|)  +  e |W|

where e is what rounding the activations costs the carrier: half a step of max|x|/127 in each block of MatMulNBits at
accuracy level 4, a whole step of (max(x, 0) - min(x, 0))/255 for DynamicQuantizeLinear (half for the value, half for
its zero point), nothing for float32. A decoded weight must equal the reference bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.carriers.base import base_tensor
from exporters.lowering import Lowered, LoweredUse
from exporters.runtime import Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from exporters.compress.tensors import CompressedTensor

Feeds = Mapping[str, "NDArray[Any]"]
ROWS = 64  # of a use's input that are recomputed
_UNIT = 2.0**-24
_EXTRA_TERMS = 8  # scales, bias, sums of several kernels


@dataclass(frozen=True)
class UseProof:
    """One use. ``ratio`` is the largest difference over its bound (1 at most where it holds), None: not checked."""

    weight: str
    family: str
    node: str
    carrier: str
    how: str
    ratio: float | None
    ok: bool
    why: str = ""


@dataclass(frozen=True)
class Proof:
    """All uses of an artifact."""

    uses: tuple[UseProof, ...]
    inputs: str
    inferences: int

    @property
    def ok(self) -> bool:
        """Whether no use is beyond its bound."""
        return all(use.ok for use in self.uses)

    @property
    def worst(self) -> UseProof | None:
        """The use nearest to, or furthest beyond, its bound."""
        return max(self.uses, key=lambda use: (not use.ok, use.ratio or 0.0), default=None)

    def to_json(self) -> dict[str, Any]:
        """The evidence for a manifest."""
        return {
            "kind": "weights",
            "ok": self.ok,
            "inputs": self.inputs,
            "inferences": self.inferences,
            "measure": "difference from the dequantised reference over the bound of the carrier's arithmetic",
            "uses": [asdict(use) for use in self.uses],
        }


def prove(
    lowered: Lowered, tensors: Mapping[str, CompressedTensor], artifact: Path, feeds: Sequence[Feeds], inputs: str
) -> Proof:
    """The proof over all feeds; one more session of the artifact, with the uses' inputs and results as outputs."""
    main = _main_values(lowered)
    names = {name for use in lowered.uses for name in _wanted(use) if name in main}
    watched = Watched(artifact, sorted(names))
    biases = _biases(lowered)
    worst: dict[int, UseProof] = {}
    for feed in feeds:
        found = watched.run(feed)
        for number, use in enumerate(lowered.uses):
            if number in worst and (worst[number].ratio is None or use.carried.decoded):
                continue
            result = _check(use, tensors[use.weight], found, biases.get(use.output))
            if number not in worst or (result.ratio or 0.0) > (worst[number].ratio or 0.0):
                worst[number] = result
    return Proof(tuple(worst[number] for number in sorted(worst)), inputs, len(feeds))


def _wanted(use: LoweredUse) -> list[str]:
    return [use.carried.decoded] if use.carried.decoded else [use.input, use.output]


def _main_values(lowered: Lowered) -> set[str]:
    graph = lowered.model.graph
    names = {value.name or "" for value in (*graph.inputs, *graph.initializers.values())}
    return names | {value.name or "" for node in graph for value in node.outputs}


def _biases(lowered: Lowered) -> dict[str, NDArray[Any]]:
    """The constant that is added last to each use's result (a Gemm's C), by the result's name."""
    found = {}
    for use in lowered.uses:
        for node in lowered.model.graph:
            if node.outputs[0].name == use.output and node.op_type == "Add" and node.inputs[1] is not None:
                constant = node.inputs[1].const_value
                if constant is not None:
                    found[use.output] = constant.numpy()
    return found


class Watched:
    """The artifact with further values as outputs."""

    def __init__(self, artifact: Path, names: Sequence[str]) -> None:
        import onnx

        model = onnx.load(str(artifact), load_external_data=False)
        have = {value.name for value in model.graph.output}
        stored = {tensor.name for tensor in model.graph.initializer} | {value.name for value in model.graph.input}
        for name in names:
            if name not in have and name not in stored:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
        beside = artifact.with_name(f"watched-{artifact.name}")
        onnx.save(model, str(beside))
        try:
            self._session = Session(beside, "the artifact under watch")
        finally:
            beside.unlink()
        self._constants = {}
        for tensor in model.graph.initializer:
            if tensor.name in names and not tensor.external_data:
                self._constants[tensor.name] = onnx.numpy_helper.to_array(tensor)

    def run(self, feed: Feeds) -> dict[str, NDArray[Any]]:
        """Every output and watched value by name."""
        outputs = self._session.run(feed)
        return {**self._constants, **feed, **dict(zip(self._session.outputs, outputs, strict=True))}


def _check(
    use: LoweredUse, tensor: CompressedTensor, found: Mapping[str, NDArray[Any]], bias: NDArray[Any] | None
) -> UseProof:
    missing = [name for name in _wanted(use) if name not in found]
    carried = use.carried
    head = (use.weight, tensor.family, use.node, carried.carrier)
    if missing or carried.carrier in ("merged", "adapter apart"):
        why = "inside a subgraph: compared by the outputs alone" if missing else "compared by the outputs"
        return UseProof(*head, "not apart", None, True, why)
    if carried.decoded:
        return _equal(head, tensor, found[carried.decoded])
    if use.kind == "gather":
        return UseProof(*head, "outputs", None, True, "compared by the outputs")
    ratio = _product_ratio(use, tensor, found[use.input], found[use.output], bias)
    why = "" if ratio <= 1 else f"{ratio:.3g} times what the arithmetic allows"
    return UseProof(*head, f"bound of {carried.arithmetic}", ratio, ratio <= 1, why)


def _equal(head: tuple[str, str, str, str], tensor: CompressedTensor, have: NDArray[Any]) -> UseProof:
    import numpy as np

    want = tensor.dequantise()
    if base_tensor(tensor).family == "low-rank":
        base = base_tensor(tensor)
        limit = _gamma(base.rank) * (abs(base.left).astype(np.float64) @ abs(base.right)).max() * 2
        ratio = float(abs(want.astype(np.float64) - have).max() / limit)
        return UseProof(*head, "bound of float32", ratio, ratio <= 1, "" if ratio <= 1 else "the product is off")
    different = int((want != have).sum()) if want.shape == have.shape else want.size
    why = f"{different} of {want.size} decoded values differ" if different else ""
    return UseProof(
        *head, "decoded weight equal bit for bit", 0.0 if not different else float("inf"), not different, why
    )


def _product_ratio(
    use: LoweredUse, tensor: CompressedTensor, data: NDArray[Any], result: NDArray[Any], bias: NDArray[Any] | None
) -> float:
    """max |y - x W.T - bias| / bound over up to ROWS rows."""
    import numpy as np

    rounding = _activation_error(data.reshape(-1, data.shape[-1]), use.carried.block)
    x = data.reshape(-1, data.shape[-1])[:ROWS].astype(np.float64)
    y = result.reshape(-1, result.shape[-1])[:ROWS].astype(np.float64)
    rows = base_tensor(tensor).dequantise_rows().astype(np.float64)
    offset = np.zeros(1) if bias is None else bias.astype(np.float64)
    size = _magnitude(tensor, rows)
    want = x @ rows.T + offset
    bound = _gamma(rows.shape[1] + _EXTRA_TERMS) * (abs(x) @ size.T + abs(offset)) + rounding[:ROWS] @ abs(rows).T
    return float((abs(y - want) / np.maximum(bound, np.finfo(np.float32).tiny)).max(initial=0.0))


def _magnitude(tensor: CompressedTensor, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """|W|, or what its parts add up to where it is computed from several."""
    import numpy as np

    base: Any = base_tensor(tensor)
    if base.family == "low-rank":
        product: NDArray[np.float64] = abs(base.left).astype(np.float64) @ abs(base.right)
        return 2 * product
    if base.family == "power-of-two":
        return 3 * abs(rows)  # digits of opposite sign
    if base.family in ("int8", "nbit"):
        return abs(rows) + 2 * _step(base)
    return abs(rows)


def _step(base: Any) -> NDArray[np.float64]:
    """What the low and the high half of a code may add in magnitude: up to 16 steps of the high one each."""
    import numpy as np

    scale: NDArray[np.float64] = np.broadcast_to(base.spread(abs(base.scales)), (base.rows, base.columns))
    return 16 * scale


def _activation_error(x: NDArray[Any], block: int) -> NDArray[np.float64]:
    """[M, K]: how far a rounded activation may be from its value."""
    import numpy as np

    wide = x.astype(np.float64)
    if block == 0:
        return np.zeros_like(wide)
    slack = 1 + 2.0**-10  # scales and quotients are float32
    if block < 0:
        step = (max(wide.max(initial=0.0), 0.0) - min(wide.min(initial=0.0), 0.0)) / 255
        return np.full_like(wide, step * slack)
    rows, columns = wide.shape
    padded = np.pad(abs(wide), ((0, 0), (0, -columns % block))).reshape(rows, -1, block)
    half = padded.max(2, keepdims=True) / 127 / 2 * slack
    return np.broadcast_to(half, padded.shape).reshape(rows, -1)[:, :columns]


def _gamma(terms: int) -> float:
    return terms * _UNIT / (1 - terms * _UNIT)
