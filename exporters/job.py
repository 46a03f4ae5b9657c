"""What an export was asked for, and what its steps add up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import compressing, parity, quantize
from exporters.accuracy import LabelledAccuracy
from exporters.data import read_samples
from exporters.loading import Loading
from exporters.proof import Proof
from exporters.reference import Kept
from exporters.targets import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporters.calibration.timesteps import Timesteps
    from exporters.sources import Source

PARITY_ITEMS = 64  # of given inputs


@dataclass(frozen=True)
class Job:
    """What was asked for, checked."""

    source: str
    output: Path
    target: Target | None
    scheme: str | None
    calibration: Path | None
    inputs: Path | None
    scale: Mapping[str, float]
    dims: Mapping[str, int]
    seed: int
    example: Sequence[str]
    verify: bool
    publish_on_mismatch: bool
    say: Callable[[str], None]
    labels: str | None = None
    compression: compressing.Request | None = None
    split_shortcuts: bool = False
    format: str = "onnx"
    timesteps: Timesteps | None = None
    keep_reference: bool = False  # the reference's answers go beside the artifact, for devices

    @property
    def static(self) -> bool:
        """Whether the scheme quantises activations with calibrated ranges."""
        return self.scheme is not None and self.compression is None


@dataclass
class Built:
    """What the steps add up to."""

    notes: list[str] = field(default_factory=list)
    passes: list[str] = field(default_factory=list)
    parity: parity.Parity | None = None
    quantization: quantize.QuantizationError | None = None
    recipe: dict[str, Any] | None = None
    proof: Proof | None = None
    reference: quantize.QuantizationError | None = None
    accuracy: LabelledAccuracy | None = None
    loading: Loading | None = None
    kept: Kept | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)
    widths: dict[str, float] = field(default_factory=dict)  # bits of the codes in packed initialisers


def feeds(job: Job, source: Source) -> tuple[list[dict[str, NDArray[Any]]], str]:
    """What is compared on: the given inputs, else those of the source."""
    if job.inputs is None:
        return source.feeds, source.feeds_are
    samples = read_samples(job.inputs, source.index.inputs, job.scale, job.dims)
    return list(samples.batches(PARITY_ITEMS)), "given"
