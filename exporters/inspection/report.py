"""The findings about a model, as JSON and as tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from exporters.inspection.compatibility import Compatibility
from exporters.inspection.memory import MemoryPrediction
from mobile.formats import ModelIndex, TensorInfo

Table = tuple[str, list[str], list[list[str]]]
_OPERATORS_SHOWN = 15


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one inference. ``total`` is None when some could not be counted; ``counted`` holds the
    others.
    """

    total: int | None
    counted: int
    by_operator: dict[str, int]
    not_counted: tuple[dict[str, Any], ...]

    @property
    def not_counted_nodes(self) -> int:
        """How many nodes could not be counted."""
        return sum(entry["count"] for entry in self.not_counted)

    @property
    def why(self) -> str | None:
        """Why there is no total, None when there is one."""
        if self.total is not None:
            return None
        reasons = sorted({f"{entry['operator']}: {entry['why']}" for entry in self.not_counted})
        return f"{self.not_counted_nodes} nodes not counted; {'; '.join(reasons[:3])}"


@dataclass(frozen=True)
class Shared:
    """Stored tensors that more than one operator reads, and the bytes which that saves."""

    tensors: int
    saved_bytes: int


@dataclass(frozen=True)
class Inspection:
    """What is in a model. ``weight_bytes_by_bits`` maps a value's width to bytes; ``parameters`` counts values.

    ``macs``, ``memory`` and ``memory_access_bytes`` (what an inference reads and writes, None: unknown) are for
    ``batch`` items and the ``dims`` given; ``memory`` is predicted, not measured.
    """

    index: ModelIndex
    parameters: int
    weight_bytes: int
    weight_bytes_by_bits: dict[float, int]
    macs_detail: Macs
    memory: MemoryPrediction
    compatibility: Compatibility
    shared: Shared
    batch: int
    dims: dict[str, int]
    notes: tuple[str, ...]
    memory_access_bytes: int | None = None

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one inference, None when some could not be counted."""
        return self.macs_detail.total

    def to_json(self) -> dict[str, Any]:
        """The inspection as a JSON object."""
        found = self.index.to_json()
        tensors = found.pop("tensors")
        return {
            **found,
            "name": self.index.path.name,
            "tensor_count": len(tensors),
            "parameters": self.parameters,
            "weight_bytes": self.weight_bytes,
            "weight_bytes_by_bits": {str(bits): size for bits, size in self.weight_bytes_by_bits.items()},
            "macs": self.macs,
            "macs_missing": self.macs_detail.why,
            "macs_counted": self.macs_detail.counted,
            "macs_by_operator": self.macs_detail.by_operator,
            "macs_not_counted": list(self.macs_detail.not_counted),
            "memory_predicted": self.memory.to_json(),
            "memory_access_bytes": self.memory_access_bytes,
            "runs_on": self.compatibility.to_json(),
            "shared": asdict(self.shared),
            "batch": self.batch,
            "dims": self.dims,
            "notes": list(self.notes),
            "tensors": tensors,
        }

    def tables(self) -> list[Table]:
        """(title, column headings, rows) of each table a user reads."""
        return [self._summary(), self._ends(), self._weights(), self._operators(), self._targets()]

    def _summary(self) -> Table:
        found = self.index
        macs = (
            f"{self.macs:,}"
            if self.macs is not None
            else f"at least {self.macs_detail.counted:,}: {self.macs_detail.why}"
        )
        peak = self.memory.total
        versions = ", ".join(f"{domain or 'opset'} {version}" for domain, version in sorted(found.opsets.items()))
        rows = [
            ["format", f"{found.format}, {versions}, version {found.ir_version}" if versions else found.format],
            ["size", f"{found.size_bytes:,} bytes in {len(found.files)} file(s)"],
            ["SHA-256", found.sha256],
            ["parameters", f"{self.parameters:,}"],
            ["multiply-accumulates", f"{macs} (batch {self.batch})"],
            ["memory access", "unknown" if self.memory_access_bytes is None else f"{self.memory_access_bytes:,} bytes"],
            ["peak memory, predicted", f"{peak:,} bytes" if peak is not None else f"unknown: {self.memory.why}"],
            ["oldest runtime", f"{self.compatibility.runtime or 'unknown'} ({self.compatibility.why})"],
        ]
        if self.shared.tensors:
            saved = f"{self.shared.tensors} tensors, {self.shared.saved_bytes:,} bytes saved"
            rows.append(["shared weights", saved])
        rows += [["external file", name] for name in found.external_files]
        rows += [["note", note] for note in (*self.compatibility.notes, *self.notes)]
        return found.path.name, ["", ""], rows

    def _targets(self) -> Table:
        words = {True: "yes", False: "no", None: "perhaps"}
        rows = [[verdict.target, words[verdict.runs], verdict.why] for verdict in self.compatibility.targets]
        return "Runs on", ["runtime", "", "why"], rows

    def _ends(self) -> Table:
        rows = [["input", *_row(value)] for value in self.index.inputs]
        rows += [["output", *_row(value)] for value in self.index.outputs]
        return "Inputs and outputs", ["", "name", "dtype", "shape"], rows

    def _weights(self) -> Table:
        rows = [
            [
                str(bits) if bits else "strings",
                f"{size:,}",
                f"{size / self.weight_bytes:.1%}" if self.weight_bytes else "",
            ]
            for bits, size in sorted(self.weight_bytes_by_bits.items(), reverse=True)
        ]
        return "Weights by bit width", ["bits", "bytes", "share"], rows

    def _operators(self) -> Table:
        rows = []
        for name, count in list(self.index.operators.items())[:_OPERATORS_SHOWN]:
            macs = self.macs_detail.by_operator.get(name)
            rows.append([name, str(count), f"{macs:,}" if macs else ""])
        left = len(self.index.operators) - _OPERATORS_SHOWN
        title = f"Operators ({left} rarer ones not shown)" if left > 0 else "Operators"
        return title, ["operator", "nodes", "multiply-accumulates"], rows


def _row(value: TensorInfo) -> list[str]:
    if value.shape is None:
        return [value.name, value.dtype, "unknown"]
    return [value.name, value.dtype, "[" + ", ".join("?" if size is None else str(size) for size in value.shape) + "]"]
