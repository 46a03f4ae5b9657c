"""BitNet checkpoints packed by the transformers package (5.24.0), expanded by its unpack_weights.

    pip install torch==2.13.0 safetensors==0.8.0 transformers==5.24.0
    TORCHDYNAMO_DISABLE=1 python make_bitnet.py FOLDER

``bitlinear`` divides by weight_scale, ``autobitlinear`` multiplies: both classes' forward passes give the expected
values, without the activations' rounding.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.integrations.bitnet import pack_weights, unpack_weights


def make(out, kind):
    torch.manual_seed(11)
    arrays, expected = {}, {}
    for key, columns, rows, bias in (("up", 50, 64, False), ("down", 64, 24, True)):
        layer = torch.nn.Linear(columns, rows, bias=bias)
        scale = 1 / layer.weight.data.abs().mean().clamp(min=1e-5)  # WeightQuant's, in the same module
        codes = (layer.weight.data * scale).round().clamp(-1, 1)
        arrays[f"{key}.weight"] = pack_weights(codes.clone())
        stored = (scale if kind == "bitlinear" else 1 / scale).reshape(1).bfloat16()
        arrays[f"{key}.weight_scale"] = stored
        if bias:
            arrays[f"{key}.bias"] = layer.bias.data.bfloat16()
        unpacked = unpack_weights(arrays[f"{key}.weight"], torch.float32)
        wide = stored.float()
        expected[f"{key}.weight"] = unpacked / wide if kind == "bitlinear" else unpacked * wide
    out.mkdir(parents=True, exist_ok=True)
    save_file(arrays, out / "model.safetensors")
    save_file(expected, out / "expected.safetensors")
    config = {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]}
    if kind == "autobitlinear":
        config.update(linear_class="autobitlinear", quantization_mode="offline")
    (out / "config.json").write_text(json.dumps({"quantization_config": config}, indent=2) + "\n")


if __name__ == "__main__":
    for kind in ("bitlinear", "autobitlinear"):
        make(Path(sys.argv[1]) / f"bitnet_{kind}", kind)
