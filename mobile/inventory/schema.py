"""The JSON Schema of devices.yaml for editors, made from the models and kept in devices.schema.json beside
this file.

``python -m mobile.inventory.schema --write`` renews the file; ``--check`` exits with 1 when it is stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SCHEMA_PATH = Path(__file__).with_name("devices.schema.json")


def schema_document() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of devices.yaml.

    Sections and devices may be left empty, as the reader allows.
    """
    from mobile.inventory.models import InventoryFile

    document = InventoryFile.model_json_schema()
    sections = document["properties"]
    for name, section in sections.items():
        sections[name] = {"anyOf": [section, {"type": "null"}]}
    devices = sections["devices"]["anyOf"][0]
    for key in ("patternProperties", "additionalProperties"):
        if isinstance(devices.get(key), dict):
            devices[key] = (
                _nullable(devices[key])
                if key == "additionalProperties"
                else {pattern: _nullable(value) for pattern, value in devices[key].items()}
            )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def schema_text() -> str:
    """The text of devices.schema.json as the models have it now."""
    return json.dumps(schema_document(), indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """The exit code of this module as a command."""
    return keep(SCHEMA_PATH, schema_text(), "mobile.inventory.schema", arguments)


def keep(path: Path, text: str, module: str, arguments: list[str]) -> int:
    """Exit code: 0 when the file has ``text`` (``--write`` sees to that), 1 when it is stale, 2 for other arguments."""
    if arguments == ["--write"]:
        path.write_text(text, encoding="utf-8")
        return 0
    if arguments == ["--check"]:
        fresh = path.is_file() and path.read_text(encoding="utf-8") == text
        if not fresh:
            sys.stderr.write(f"{path.name} is stale: python -m {module} --write\n")
        return 0 if fresh else 1
    sys.stderr.write(f"usage: python -m {module} --check | --write\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
