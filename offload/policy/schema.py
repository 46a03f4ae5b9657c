"""The JSON Schema of policy files for editors, made from the models and kept in policy.schema.json beside this file.

``python -m offload.policy.schema --write`` renews the file; ``--check`` exits with 1 when it is stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SCHEMA_PATH = Path(__file__).with_name("policy.schema.json")


def schema_text() -> str:
    """The text of policy.schema.json (draft 2020-12) as the models have it now."""
    from offload.policy.models import PolicyFile

    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PolicyFile.model_json_schema()}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """Exit code: 0 when the file is that of the models, 1 when it is stale, 2 for other arguments."""
    if arguments == ["--write"]:
        SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
        return 0
    if arguments == ["--check"]:
        fresh = SCHEMA_PATH.is_file() and SCHEMA_PATH.read_text(encoding="utf-8") == schema_text()
        if not fresh:
            sys.stderr.write("policy.schema.json is stale: python -m offload.policy.schema --write\n")
        return 0 if fresh else 1
    sys.stderr.write("usage: python -m offload.policy.schema --check | --write\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
