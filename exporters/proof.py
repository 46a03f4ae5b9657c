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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.carriers.base import base_tensor
from exporters.lowering import Lowered, LoweredUse
from exporters.observing import Feeds, Seen, observed, wanted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from exporters.compress.tensors import CompressedTensor

_UNIT = 2.0**-24
_EXTRA_TERMS = 8  # scales, bias, sums of several kernels
_BAND = 1 << 21  # weights that are float64 at a time


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
    lowered: Lowered,
    tensors: Mapping[str, CompressedTensor],
    artifact: Path,
    feeds: Sequence[Feeds],
    inputs: str,
    folder: Path | None = None,
) -> Proof:
    """The proof over all feeds; one more session of the artifact, with the uses' inputs and results as outputs.

    ``folder`` takes what was seen of a large model, so that its session is gone before weights are dequantised.
    """
    main = _main_values(lowered)
    names = {name for use in lowered.uses for name in wanted(use) if name in main}
    biases = _biases(lowered)
    worst: dict[int, UseProof] = {}
    for number, seen in observed(lowered.uses, artifact, sorted(names), feeds, folder):
        use = lowered.uses[number]
        if number in worst and worst[number].ratio is None:
            continue
        result = _check(use, tensors[use.weight], seen, biases.get(use.output))
        if number not in worst or (result.ratio or 0.0) > (worst[number].ratio or 0.0):
            worst[number] = result
    return Proof(tuple(worst[number] for number in sorted(worst)), inputs, len(feeds))


def _main_values(lowered: Lowered) -> set[str]:
    graph = lowered.model.graph
    names = {value.name or "" for value in (*graph.inputs, *graph.initializers.values())}
    return names | {value.name or "" for node in graph for value in node.outputs}


def _biases(lowered: Lowered) -> dict[str, NDArray[Any]]:
    """The constant that is added last to each use's result (a Gemm's C), by the result's name."""
    outputs = {use.output for use in lowered.uses}
    found = {}
    for node in lowered.model.graph:
        name = node.outputs[0].name or ""
        if name in outputs and node.op_type == "Add" and node.inputs[1] is not None:
            constant = node.inputs[1].const_value
            if constant is not None:
                found[name] = constant.numpy()
    return found


def _check(use: LoweredUse, tensor: CompressedTensor, seen: Seen, bias: NDArray[Any] | None) -> UseProof:
    carried = use.carried
    missing = seen.decoded is None if carried.decoded else seen.x is None or seen.y is None
    head = (use.weight, tensor.family, use.node, carried.carrier)
    if missing or carried.carrier in ("merged", "adapter apart"):
        why = "inside a subgraph: compared by the outputs alone" if missing else "compared by the outputs"
        return UseProof(*head, "not apart", None, True, why)
    if seen.decoded is not None:
        return _equal(head, tensor, seen.decoded)
    if use.kind == "gather":
        return UseProof(*head, "outputs", None, True, "compared by the outputs")
    ratio = _product_ratio(use, tensor, seen, bias)
    why = "" if ratio <= 1 else f"{ratio:.3g} times what the arithmetic allows"
    return UseProof(*head, f"bound of {carried.arithmetic}", ratio, ratio <= 1, why)


def _equal(head: tuple[str, str, str, str], tensor: CompressedTensor, have: NDArray[Any]) -> UseProof:
    import numpy as np

    want = tensor.dequantise()
    if want.shape != have.shape:
        return UseProof(*head, "decoded weight", float("inf"), False, f"it is {list(have.shape)}")
    bands = list(_bands(len(want), want[:1].size))
    if base_tensor(tensor).family == "low-rank":
        base = base_tensor(tensor)
        right = abs(base.right).astype(np.float64)
        limits = [(abs(base.left[part]) @ right).max() for part in _bands(base.rows, base.columns)]
        off = max(float(abs(want[part].astype(np.float64) - have[part]).max()) for part in bands)
        ratio = off / float(_gamma(base.rank) * max(limits) * 2)
        return UseProof(*head, "bound of float32", ratio, ratio <= 1, "" if ratio <= 1 else "the product is off")
    different = sum(int((want[part] != have[part]).sum()) for part in bands)
    why = f"{different} of {want.size} decoded values differ" if different else ""
    return UseProof(
        *head, "decoded weight equal bit for bit", 0.0 if not different else float("inf"), not different, why
    )


def _bands(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows that hold few enough numbers to be computed with in float64."""
    step = max(1, _BAND // max(columns, 1))
    return (slice(start, start + step) for start in range(0, rows, step))


def _product_ratio(use: LoweredUse, tensor: CompressedTensor, seen: Seen, bias: NDArray[Any] | None) -> float:
    """max |y - x W.T - bias| / bound over up to ROWS rows."""
    import numpy as np

    assert seen.x is not None and seen.y is not None
    base = base_tensor(tensor)
    x, y = seen.x.astype(np.float64), seen.y.astype(np.float64)
    rounding = _activation_error(x, use.carried.block, seen)
    weights = base.dequantise_rows()
    gamma = _gamma(base.columns + _EXTRA_TERMS)
    ratio = 0.0
    for part in _bands(base.rows, base.columns):
        rows = weights[part].astype(np.float64)
        offset = _offset(bias, part, base.rows)
        bound = gamma * (abs(x) @ _magnitude(base, rows, part).T + abs(offset)) + rounding @ abs(rows).T
        error = abs(y[:, part] - (x @ rows.T + offset))
        ratio = max(ratio, float((error / np.maximum(bound, np.finfo(np.float32).tiny)).max(initial=0.0)))
    return ratio


def _offset(bias: NDArray[Any] | None, part: slice, rows: int) -> NDArray[np.float64]:
    import numpy as np

    if bias is None:
        return np.zeros(1)
    whole = bias.astype(np.float64)
    return whole[..., part] if whole.ndim and whole.shape[-1] == rows else whole


def _magnitude(base: Any, rows: NDArray[np.float64], part: slice) -> NDArray[np.float64]:
    """|W| of a band of rows, or what its parts add up to where it is computed from several."""
    import numpy as np

    if base.family == "low-rank":
        product: NDArray[np.float64] = abs(base.left[part]).astype(np.float64) @ abs(base.right)
        return 2 * product
    if base.family == "power-of-two":
        return 3 * abs(rows)  # digits of opposite sign
    if base.family in ("int8", "nbit"):
        return abs(rows) + 2 * _step(base, part)
    return abs(rows)


def _step(base: Any, part: slice) -> NDArray[np.float64]:
    """What the low and the high half of a code may add in magnitude: up to 16 steps of the high one each."""
    import numpy as np

    scale: NDArray[np.float64] = np.broadcast_to(base.spread(abs(base.scales)), (base.rows, base.columns))
    return 16 * scale[part]


def _activation_error(x: NDArray[np.float64], block: int, seen: Seen) -> NDArray[np.float64]:
    """[M, K]: how far a rounded activation may be from its value."""
    import numpy as np

    if block == 0:
        return np.zeros_like(x)
    slack = 1 + 2.0**-10  # scales and quotients are float32
    if block < 0:
        step = (max(seen.high, 0.0) - min(seen.low, 0.0)) / 255
        return np.full_like(x, step * slack)
    rows, columns = x.shape
    padded = np.pad(abs(x), ((0, 0), (0, -columns % block))).reshape(rows, -1, block)
    half = padded.max(2, keepdims=True) / 127 / 2 * slack
    return np.broadcast_to(half, padded.shape).reshape(rows, -1)[:, :columns]


def _gamma(terms: int) -> float:
    return terms * _UNIT / (1 - terms * _UNIT)
