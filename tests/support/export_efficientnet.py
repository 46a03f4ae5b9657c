"""EfficientNet-Lite0 as ONNX: `export_efficientnet.py CODE WEIGHTS OUTPUT`; the batch is free."""

from __future__ import annotations

import sys


def main(code: str, weights: str, output: str) -> None:
    sys.path.insert(0, code)
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    model.eval()
    torch.onnx.export(
        model, (torch.zeros(2, 3, 224, 224),), output, dynamo=True, external_data=False, verbose=False,
        input_names=["image"], output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
