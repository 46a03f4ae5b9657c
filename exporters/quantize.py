"""Static int8: QDQ pairs with calibrated ranges, by onnxruntime's own quantiser.

Activations are uint8 and weights int8 per channel ("u8s8"): measured on x86 with VNNI, 1.8 times faster than s8s8;
per-tensor weights lost all accuracy on a real EfficientNet-Lite0 (relative error 0.42 against 0.06). On x86 without
VNNI, u8s8 sums can saturate; that is said in the notes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.parity import Run, paired
from exporters.runtime import one_line, onnx_errors, onnxruntime, quiet, runtime_errors
from mobile.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SATURATION_NOTE = (
    "uint8 activations with int8 weights: x86 processors without VNNI may saturate 16-bit sums;"
    " compare the outputs there"
)
WIDE_NOTE = "uint16 activations: computed in float32 between conversions, slower than the float model"
EXTERNAL_BYTES = 1_800_000_000  # below protobuf's 2 GB, with room for the graph


@dataclass(frozen=True)
class TensorError:
    """How far an output of the quantised model is from the source's, over all inferences.

    ``relative_error`` is ||q - s|| / ||s|| and ``snr_db`` 20 log10 of its inverse (None when the source is all zero or
    the error is); ``argmax_agreement`` the share of rows whose largest value along the last axis is at the same place,
    None when there is no such choice.
    """

    name: str
    relative_error: float | None
    snr_db: float | None
    max_abs_error: float
    argmax_agreement: float | None
    rows: int


@dataclass(frozen=True)
class QuantizationError:
    """The figures of a quantised artifact against its float source. They are measurements, not a pass or a failure."""

    inputs: str
    inferences: int
    tensors: tuple[TensorError, ...]

    def to_json(self) -> dict[str, Any]:
        """The evidence for a manifest."""
        return {
            "kind": "quantization-error",
            "statement": "figures against the float source; a quantised model is not expected to be equal",
            "inputs": self.inputs,
            "inferences": self.inferences,
            "measure": "relative_error = ||q - s|| / ||s||, snr_db = -20 log10(relative_error)",
            "tensors": [asdict(tensor) for tensor in self.tensors],
        }


def quantize_int8(
    model: Path,
    output: Path,
    batches: Callable[[], Iterable[dict[str, NDArray[Any]]]],
    large: bool,
    scheme: str = "int8",
) -> dict[str, Any]:
    """Writes the quantised model to ``output`` and returns how it was made. ExportError when the quantiser fails.

    ``batches`` gives the calibration feeds anew at each call; ``large`` models go through external data. The scheme
    "w8a16" has uint16 activations: nearer to the source, and slower than float32 (27 ms against 7 for MobileNetV2),
    since no kernel computes with them.
    """
    onnxruntime()
    from onnxruntime import quantization as quant

    prepared = output.with_name("prepared.onnx")
    wide = scheme == "w8a16"
    recipe = {
        "scheme": scheme, "format": "QDQ", "activations": "uint16" if wide else "uint8",
        "weights": "int8", "weights_per_channel": True,
        "calibration_method": "MinMax",
    }  # fmt: skip
    with _mapped(model), quiet(""):
        quant.quant_pre_process(
            str(model), str(prepared), skip_symbolic_shape=True, save_as_external_data=large,
            all_tensors_to_one_file=True, external_data_location="prepared.data" if large else None,
        )  # fmt: skip
        try:
            count = _static(prepared, output, batches(), large, {}, wide)
        except ValueError:
            # onnxruntime 1.32 widens weight scales so that a bias fits int32, and stumbles over some shapes (magika's).
            # Its own switch leaves the scales as they are; a bias beyond the range would then be clipped.
            count = _static(prepared, output, batches(), large, {"QDQDisableWeightAdjustForInt32Bias": True}, wide)
            recipe["bias_range_adjusted"] = False
    return {**recipe, "calibration_batches": count}


def _static(
    prepared: Path,
    output: Path,
    batches: Iterable[dict[str, NDArray[Any]]],
    large: bool,
    options: dict[str, Any],
    wide: bool,
) -> int:
    """One run of the quantiser; the number of batches that it calibrated with."""
    from onnxruntime import quantization as quant

    reader = _reader(batches)
    quant.quantize_static(
        str(prepared), str(output), reader, quant_format=quant.QuantFormat.QDQ, per_channel=True,
        activation_type=quant.QuantType.QUInt16 if wide else quant.QuantType.QUInt8, weight_type=quant.QuantType.QInt8,
        calibrate_method=quant.CalibrationMethod.MinMax, use_external_data_format=large, extra_options=options,
    )  # fmt: skip
    count: int = reader.count
    return count


def _reader(batches: Iterable[dict[str, NDArray[Any]]]) -> Any:
    """The batches as onnxruntime's CalibrationDataReader."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out one batch after the other, then None."""

        def __init__(self) -> None:
            self._left = iter(batches)
            self.count = 0

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            """The next batch's feeds."""
            batch = next(self._left, None)
            self.count += batch is not None
            return batch

    return Reader()


@contextmanager
def _mapped(model: Path) -> Iterator[None]:
    """The one place where the quantiser's exceptions become ExportError."""
    raised: tuple[type[Exception], ...] = (AssertionError, LookupError, *runtime_errors(), *onnx_errors())
    try:
        yield
    except raised as error:
        raise ExportError(
            f"int8: onnxruntime's quantiser failed on {model.name}: {type(error).__name__}: {one_line(error)}",
            "Try the export without --scheme; quantise the model where it is made.",
        ) from error


def measure(
    source: Run, quantised: Run, feeds: Sequence[dict[str, NDArray[Any]]], names: Sequence[str], inputs: str
) -> QuantizationError:
    """The error of the quantised model's floating-point outputs. ExportError when one is not finite or has another
    shape.
    """
    sums: dict[str, _Sums] = {name: _Sums(name) for name in names}
    for wanted, found in paired(source, quantised, feeds):
        for name, want, have in zip(names, wanted, found, strict=True):
            sums[name].add(want, have)
    tensors = tuple(total.result() for total in sums.values() if total.counted)
    return QuantizationError(inputs, len(feeds), tensors)


class _Sums:
    """What the figures of one output are made of, added up over inferences."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.error2 = self.source2 = self.worst = 0.0
        self.agreed = self.rows = 0
        self.chooses = self.counted = False

    def add(self, want: NDArray[Any], have: NDArray[Any]) -> None:
        import numpy as np

        if want.shape != have.shape:
            raise ExportError(
                f"int8: output {self.name!r} became {list(have.shape)}, the source gives {list(want.shape)}"
            )
        if want.dtype.kind != "f":
            return
        first, second = want.astype(np.float64), have.astype(np.float64)
        if not np.isfinite(second[np.isfinite(first)]).all():
            raise ExportError(f"int8: output {self.name!r} holds NaN or infinity", "Give real calibration data.")
        first, second = np.nan_to_num(first), np.nan_to_num(second)
        self.counted = True
        self.error2 += float(((second - first) ** 2).sum())
        self.source2 += float((first**2).sum())
        self.worst = max(self.worst, float(abs(second - first).max(initial=0.0)))
        if first.ndim >= 2 and first.shape[-1] > 1 and first.size:
            same = first.argmax(-1) == second.argmax(-1)
            self.chooses, self.agreed, self.rows = True, self.agreed + int(same.sum()), self.rows + same.size

    def result(self) -> TensorError:
        relative = math.sqrt(self.error2 / self.source2) if self.source2 else None
        snr = -20 * math.log10(relative) if relative else None
        agreement = self.agreed / self.rows if self.chooses else None
        return TensorError(self.name, relative, snr, self.worst, agreement, self.rows)
