"""The model files of a benchmark: what they are, and the reference that goes into every run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mobile.benchmark.options import RUNNER_OF_FORMAT, BenchOptions
from mobile.errors import ModelError, UsageError
from mobile.results.run import ModelRef


@dataclass(frozen=True)
class Model:
    """A model on the host: its file, those that belong to it (external data), and its reference."""

    path: Path | None
    files: tuple[Path, ...]
    ref: ModelRef

    def runner(self, options: BenchOptions) -> str:
        """The runner that was asked for, else the one of the model's format."""
        return options.runner or RUNNER_OF_FORMAT[self.ref.format]


NO_MODEL = Model(path=None, files=(), ref=ModelRef(name="none", sha256="", format="none", size_bytes=0))


def open_model(path: Path) -> Model:
    """The model of a file, or of the folder of a split package.

    ModelError when it is missing, damaged, or neither ONNX nor TFLite.
    """
    from mobile.formats import index

    if path.is_dir():
        return _open_package(path)
    found = index(path)
    external = tuple(path.parent / name for name in found.external_files)
    ref = ModelRef(name=path.name, sha256=found.sha256, format=found.format, size_bytes=found.size_bytes)
    return Model(path=path, files=(path, *external), ref=ref)


def _open_package(folder: Path) -> Model:
    """A split package as a model of several files, the manifest first; its hash is the package's id."""
    manifest = folder / "manifest.json"
    try:
        document = json.loads(manifest.read_text(encoding="utf-8"))
        kind, identity = document.get("kind"), str(document["id"])
        names = {part["file"]: int(part["size_bytes"]) for one in document["placements"] for part in one["parts"]}
    except OSError as error:
        raise ModelError(f"{folder}: a folder without a manifest", "`edgewise split package` makes one.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{manifest}: is no manifest of a split package") from error
    if kind != "edgewise-split" or any(".." in name or name.startswith("/") for name in names):
        raise ModelError(f"{manifest}: is no manifest of a split package")
    size = manifest.stat().st_size + sum(names.values())
    ref = ModelRef(name=folder.name, sha256=identity, format="split", size_bytes=size)
    return Model(path=manifest, files=(manifest, *(folder / name for name in sorted(names))), ref=ref)


def check_runner(model: Model, options: BenchOptions) -> None:
    """Nothing, or UsageError when the runner asked for cannot run this model."""
    wanted = options.runner
    if wanted in ("ort", "litert"):
        own = RUNNER_OF_FORMAT.get(model.ref.format)
        if own != wanted:
            raise UsageError(
                f"--runner {wanted} cannot run {model.ref.name} ({model.ref.format})",
                hint=f"leave --runner out, or use --runner {own}" if own else "give a model file",
            )
    if wanted == "command" and not (options.command or options.command_preset):
        raise UsageError("--runner command needs --command or --preset", hint="for example --preset benchmark_model")
