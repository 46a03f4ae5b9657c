"""How often the example is right in every family, of 1,000 labelled images. `python -m benchmarks.families_accuracy`.

The weights are compressed after training, as they are: nothing is trained again, so that families of one or two bits
say what such a step costs, not what a network trained for them can do. `--only TEXT,...` takes the schemes that begin
so, `--target` lowers for another release.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import exporters
from mobile import example
from mobile.errors import EdgewiseError

SCHEMES = (
    "int8", "w8a16", "int8-dynamic", "*=int8", "int7", "int6", "int5", "int4:g=32", "@conv=int8,*=int4:g=32",
    "int3:g=32", "int2:g=32", "nbit:b=1", "binary", "ternary", "ternary:fit=twn", "ternary:trits", "dual-binary:g=16",
    "power-of-two", "power-of-two:e=8", "codebook:b=8", "codebook", "codebook:per=row",
    "block-pruned:block=8:zero=0.25", "block-pruned:block=8:zero=0.75", "sparse:zero=0.5", "2:4", "low-rank:ratio=0.5",
    "fp16", "bf16", "fp8e4m3",
    "fp8e5m2", "mxfp8e4m3", "mxfp6e3m2", "mxfp4", "mxint8", "e5m4", "shared:merge=mean", "shared:merge=mean:of=int8",
)  # fmt: skip
STATIC = ("int8", "w8a16")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="schemes, comma separated")
    parser.add_argument("--target", default=None)
    asked = parser.parse_args()
    wanted = tuple(part for part in asked.only.split(",") if part)
    print("| scheme | file | bits | accuracy (95 %) | drop, paired (95 %) | to its reference | share of bound |")
    print("|---|--:|--:|---|---|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for scheme in SCHEMES:
            if wanted and not scheme.startswith(wanted):
                continue
            try:
                print(line(scheme, Path(folder) / "model.onnx", asked.target), flush=True)
            except EdgewiseError as error:
                print(f"| {scheme} | refused: {error.message} |", flush=True)


def line(scheme: str, output: Path, target: str | None) -> str:
    """One row of the table."""
    calibration = example.calibration_path() if scheme in STATIC else None
    made = exporters.export(
        example.model_path(), output, scheme=scheme, target=target, calibration=calibration,
        inputs=example.evaluation_path(), scale=example.INPUT_SCALE, labels="label",
    )  # fmt: skip
    found = made.accuracy
    assert found is not None
    own, gap = found.artifact, found.difference
    weights = made.manifest.sizes["weight_bytes"]
    reference = "-" if made.reference is None else f"{made.reference.tensors[0].relative_error or 0:.2g}"
    worst = made.proof.worst if made.proof else None
    share = "-" if worst is None or worst.ratio is None else f"{worst.ratio:.2g}"
    return (
        f"| {scheme} | {made.manifest.size_bytes:,} | {8 * weights / 223_146:.2f}"
        f" | {own.accuracy:.1%} ({own.low:.1%} to {own.high:.1%})"
        f" | {-gap.difference:+.1%} ({-gap.high:+.1%} to {-gap.low:+.1%}) | {reference} | {share} |"
    )


if __name__ == "__main__":
    main()
