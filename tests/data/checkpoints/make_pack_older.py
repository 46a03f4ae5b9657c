"""A pack-quantized checkpoint of the older layout, 32 // bits codes to a word, written by compressed-tensors 0.12.2.

    pip install torch==2.13.0 compressed-tensors==0.12.2 safetensors==0.8.0
    python make_pack_older.py FOLDER

``expected.safetensors`` is made of the package's own unpack_from_int32 and dequantize: its decompression of packed
zero points raises in this release.
"""

import json
import sys
from pathlib import Path

import torch
from compressed_tensors import __version__
from compressed_tensors.compressors.quantized_compressors.pack_quantized import (
    PackedQuantizationCompressor,
    unpack_from_int32,
)
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file

BITS, GROUP = 3, 32


def make(out):
    torch.manual_seed(33)
    args = QuantizationArgs(num_bits=BITS, type="int", symmetric=False, strategy="group", group_size=GROUP)
    compressor = PackedQuantizationCompressor()
    arrays, expected = {}, {}
    for key, columns, rows in (("up", 96, 40), ("down", 128, 21)):
        weight = (torch.randn(rows, columns) * 0.1).bfloat16()
        groups = weight.reshape(rows, -1, GROUP)
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        packed = compressor.compress_weight(
            weight=weight, scale=scale.bfloat16(), zero_point=zero.to(torch.int8), quantization_args=args
        )
        parts = {"weight_scale": scale.bfloat16(), "weight_zero_point": zero.to(torch.int8), **packed}
        codes = unpack_from_int32(parts["weight_packed"], BITS, weight.shape)
        zeros = unpack_from_int32(parts["weight_zero_point"], BITS, scale.shape, packed_dim=0)
        expected[f"{key}.weight"] = dequantize(x_q=codes, scale=scale.bfloat16(), zero_point=zeros).contiguous()
        arrays.update({f"{key}.{part}": value.contiguous() for part, value in parts.items()})
    arrays["down.bias"] = torch.randn(21).bfloat16()
    out.mkdir(parents=True, exist_ok=True)
    save_file(arrays, out / "model.safetensors")
    save_file(expected, out / "expected.safetensors")
    weights = json.loads(args.model_dump_json())
    config = {
        "quant_method": "compressed-tensors",
        "version": __version__,
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    (out / "config.json").write_text(json.dumps({"quantization_config": config}, indent=2) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]) / "pack3_older")
