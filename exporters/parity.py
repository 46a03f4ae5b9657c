"""Does the artifact answer as its source does? Compared output by output, within a tolerance by dtype.

The error of an output is ``max|artifact - source| / max|source|`` over one inference: the largest deviation as a share
of the largest magnitude, so that values near zero do not count as infinitely wrong. NaN and infinity must stand at the
same places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Run = Callable[[dict[str, "NDArray[Any]"]], list["NDArray[Any]"]]

# A share of the largest magnitude. Roughly 1000 times the dtype's epsilon for float32 and 5 to 10 times for the short
# ones: another order of additions stays far below (measured 1e-6 for float32 exports), a wrong operator far above.
# Whole numbers, booleans and strings must be equal.
TOLERANCES: dict[str, float] = {"float64": 1e-9, "float32": 1e-4, "float16": 5e-3, "bfloat16": 4e-2}


@dataclass(frozen=True)
class TensorParity:
    """The worst inference of one output. ``error`` is None where values cannot be compared, and ``why`` says so."""

    name: str
    dtype: str
    error: float | None
    tolerance: float
    ok: bool
    why: str = ""

    def said(self) -> str:
        """The finding in words."""
        if self.why:
            return f"output {self.name!r}: {self.why}"
        return f"output {self.name!r} ({self.dtype}) is off by {self.error:.3g}, allowed is {self.tolerance:g}"


@dataclass(frozen=True)
class Parity:
    """How an artifact compared with its source over ``inferences`` inputs from ``inputs`` ("given", "generated",
    "example").
    """

    inputs: str
    inferences: int
    tensors: tuple[TensorParity, ...]

    @property
    def ok(self) -> bool:
        """Whether every output is within its tolerance."""
        return all(tensor.ok for tensor in self.tensors)

    @property
    def worst(self) -> TensorParity:
        """The output that is furthest beyond, or nearest to, its tolerance."""
        return max(self.tensors, key=_badness)

    def to_json(self) -> dict[str, Any]:
        """The evidence for a manifest."""
        return {
            "kind": "parity",
            "ok": self.ok,
            "inputs": self.inputs,
            "inferences": self.inferences,
            "measure": "max|artifact - source| / max|source|",
            "worst": self.worst.name,
            "tensors": [asdict(tensor) for tensor in self.tensors],
        }


def _badness(tensor: TensorParity) -> tuple[bool, float]:
    error = float("inf") if tensor.error is None else tensor.error
    return not tensor.ok, error / tensor.tolerance if tensor.tolerance else error


TURN_BYTES = 64 << 20  # of answers that are kept while the other side is asked


def paired(
    reference: Run, candidate: Run, feeds: Iterable[dict[str, NDArray[Any]]]
) -> Iterator[tuple[list[NDArray[Any]], list[NDArray[Any]]]]:
    """Both sides' answers to each feed.

    The reference answers a turn of feeds first, then the candidate: of large models one is in memory at a time, and
    loading one takes seconds.
    """
    turn: list[tuple[dict[str, NDArray[Any]], list[NDArray[Any]]]] = []
    size = 0
    for feed in feeds:
        expected = reference(feed)
        turn.append((feed, expected))
        size += sum(getattr(one, "nbytes", 0) for one in (*expected, *feed.values()))  # a sequence has none
        if size >= TURN_BYTES:
            yield from ((want, candidate(asked)) for asked, want in turn)
            turn, size = [], 0
    yield from ((want, candidate(asked)) for asked, want in turn)


def compare(
    reference: Run,
    candidate: Run,
    feeds: Sequence[dict[str, NDArray[Any]]],
    names: Sequence[str],
    inputs: str,
    scales: Mapping[str, float] | None = None,
) -> Parity:
    """The parity of ``candidate`` with ``reference`` on these feeds. ``names`` are those of the outputs, in order.

    ``scales``: by output, the magnitude that it is compared at when all of its values are smaller.
    """
    worst: dict[str, TensorParity] = {}
    for expected, found in paired(reference, candidate, feeds):
        if len(expected) != len(found):
            why = f"the source has {len(expected)} outputs, the artifact {len(found)}"
            return Parity(inputs, len(feeds), (TensorParity("(all)", "", None, 0.0, False, why),))
        for name, want, have in zip(names, expected, found, strict=True):
            result = compare_tensor(name, want, have, (scales or {}).get(name, 0.0))
            if name not in worst or _badness(result) > _badness(worst[name]):
                worst[name] = result
    return Parity(inputs, len(feeds), tuple(worst.values()))


def compare_tensor(name: str, want: Any, have: Any, least_scale: float = 0.0) -> TensorParity:
    """One output of one inference against the source's; magnitudes below ``least_scale`` count as that."""
    import numpy as np

    want, have = np.asarray(want), np.asarray(have)
    dtype = str(want.dtype)
    tolerance = TOLERANCES.get(dtype, 0.0)
    if want.shape != have.shape or dtype != str(have.dtype):
        why = f"{have.dtype} {list(have.shape)}, the source gives {dtype} {list(want.shape)}"
        return TensorParity(name, dtype, None, tolerance, False, why)
    if dtype not in TOLERANCES:
        return _exact(name, dtype, want, have)
    first, second = want.astype(np.float64), have.astype(np.float64)
    finite = np.isfinite(first)
    if not np.array_equal(finite, np.isfinite(second)) or not np.array_equal(
        first[~finite], second[~finite], equal_nan=True
    ):
        return TensorParity(name, dtype, None, tolerance, False, "NaN or infinity at other places than the source")
    error = _relative(first[finite], second[finite], least_scale)
    return TensorParity(name, dtype, error, tolerance, error <= tolerance)


def _relative(want: NDArray[np.float64], have: NDArray[np.float64], least_scale: float) -> float:
    if not want.size:
        return 0.0
    largest = max(float(abs(want).max()), least_scale)
    return float(abs(have - want).max()) / (largest or 1.0)


def _exact(name: str, dtype: str, want: NDArray[Any], have: NDArray[Any]) -> TensorParity:
    different = int((want != have).sum())
    if not different:
        return TensorParity(name, dtype, 0.0, 0.0, True)
    share = different / want.size
    why = f"{different} of {want.size} values differ ({dtype} must be equal)"
    return TensorParity(name, dtype, share, 0.0, False, why)
