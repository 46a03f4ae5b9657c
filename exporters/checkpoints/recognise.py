"""Which format a checkpoint has: from its configuration and content, never from its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.checkpoints import awq, bitnet, compressed_tensors, gptq, lora, torchao
from exporters.checkpoints.entries import Checkpoint, Lazy
from exporters.checkpoints.stored import Stored, open_stored, read_json
from mobile.errors import ModelError

if TYPE_CHECKING:
    from exporters.compress.tensors import CompressedModel

_READERS = {
    gptq.METHOD: gptq.read,
    awq.METHOD: awq.read,
    bitnet.METHOD: bitnet.read,
    compressed_tensors.METHOD: compressed_tensors.read,
}
FORMATS = (*_READERS, torchao.METHOD, lora.METHOD, "pt2e")
# Where a configuration lies, newest habit first, and the method that an older file means without saying so.
_CONFIGS = (("config.json", None), ("quantize_config.json", "gptq"), ("quant_config.json", "awq"))


def open_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint in a folder, a .safetensors file (its configuration beside it) or a .pt2 program.

    Only headers are read. ModelError says what it is, and what would be readable.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"{path}: there is no such file or folder", "Check the path.")
    if path.suffix == ".pt2":
        from exporters.checkpoints import pt2e

        return pt2e.read(path)
    folder = path if path.is_dir() else path.parent
    if (folder / lora.CONFIG).is_file() and (path.is_dir() or path.name == "adapter_model.safetensors"):
        return lora.read(folder)
    stored = open_stored(path)
    if torchao.is_torchao(stored):
        return torchao.read(stored)
    config = _config(stored, folder)
    method = config.get("quant_method")
    reader = _READERS.get(str(method))
    if reader is None:
        raise ModelError(
            f"{path}: weights of the method {method!r:.40} cannot be read", f"Readable are {', '.join(FORMATS)}."
        )
    return reader(stored, config)


def read_checkpoint(path: str | Path, names: Mapping[str, str] | None = None) -> CompressedModel:
    """The packed weights of a checkpoint, as they are, by the names of its parameters; each is read when asked for.

    ``names`` renames parameters. ``bind`` fits them to a float graph. ModelError when the checkpoint is unreadable.
    """
    from dataclasses import replace

    from exporters.compress.tensors import CompressedModel

    checkpoint = open_checkpoint(path)
    renamed = names or {}
    unknown = sorted(set(renamed) - set(checkpoint.entries))
    if unknown:
        known = ", ".join(list(checkpoint.entries)[:3])
        raise ModelError(f"{path}: has no weight {unknown[0]!r}; it has {known}, ...")
    loads = {}
    for name, entry in checkpoint.entries.items():
        new = renamed.get(name, name)
        loads[new] = entry.load if new == name else (lambda load=entry.load, new=new: replace(load(), name=new))
    return CompressedModel(Lazy(loads), checkpoint.origin)


def _config(stored: Stored, folder: Path) -> dict[str, Any]:
    """The quantisation's configuration. ModelError when there is none."""
    for name, method in _CONFIGS:
        if not (folder / name).is_file():
            continue
        document = read_json(folder / name)
        found = document if method is not None else document.get("quantization_config")
        found = document.get("compression_config") if found is None else found
        if isinstance(found, dict):
            return {"quant_method": method, **found} if method else found
    raise ModelError(
        f"{stored.path}: nothing says how its weights are packed: no quantization_config in {folder / 'config.json'}",
        "Keep the checkpoint's config.json beside it; a compressed spec needs none.",
    )
