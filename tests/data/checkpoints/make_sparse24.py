"""2:4 sparse checkpoints written by compressed-tensors 0.12.2, the last line of releases with the bitmask formats.

    pip install torch==2.13.0 compressed-tensors==0.12.2 safetensors==0.8.0
    python make_sparse24.py FOLDER

``sparse24_bf16`` holds plain values, ``sparse24_fp8`` codes with a scale per channel on top, as the package stacks
them. ``expected.safetensors`` is what its own decompression gives.
"""

import json
import sys
from pathlib import Path

import torch
from compressed_tensors import __version__
from compressed_tensors.compressors.sparse_compressors.sparse_24_bitmask import (
    Sparse24BitMaskTensor,
    get_24_bytemasks,
    sparse24_bitmask_decompress,
)
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
from safetensors.torch import save_file


def make(out, fp8):
    torch.manual_seed(24)
    arrays, expected = {}, {}
    for key, columns, rows in (("up", 96, 40), ("down", 40, 21)):
        weight = (torch.randn(rows, columns) * 0.1).bfloat16()
        weight = weight * get_24_bytemasks(weight)
        if fp8:
            args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="channel")
            scale = (weight.abs().amax(1, keepdim=True) / 448).bfloat16()
            weight = quantize(x=weight, scale=scale, zero_point=None, args=args, dtype=args.pytorch_dtype())
            arrays[f"{key}.weight_scale"] = scale
        packed = Sparse24BitMaskTensor.from_dense(weight)
        arrays.update(packed.dict(f"{key}.weight"))
        values = sparse24_bitmask_decompress(packed.compressed, packed.bitmask, torch.Size((rows, columns)))
        expected[f"{key}.weight"] = dequantize(x_q=values, scale=scale, zero_point=None, args=args) if fp8 else values
    arrays["down.bias"] = torch.randn(21).bfloat16()
    out.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in arrays.items()}, out / "model.safetensors")
    save_file({key: value.contiguous() for key, value in expected.items()}, out / "expected.safetensors")
    config = {
        "quant_method": "compressed-tensors",
        "version": __version__,
        "format": "float-quantized" if fp8 else "dense",
        "sparsity_config": {"format": "sparse-24-bitmask", "sparsity_structure": "2:4", "targets": ["Linear"]},
    }
    if fp8:
        weights = json.loads(args.model_dump_json())
        config["config_groups"] = {"group_0": {"targets": ["Linear"], "weights": weights}}
    (out / "config.json").write_text(json.dumps({"quantization_config": config}, indent=2) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]) / "sparse24_bf16", False)
    make(Path(sys.argv[1]) / "sparse24_fp8", True)
