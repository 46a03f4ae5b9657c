"""The JSON Schema of policy files for editors, made from the models and kept in policy.schema.json beside this file.

``python -m offload.policy.schema --write`` renews the file; ``--check`` exits with 1 when it is stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mobile.inventory.schema import keep

SCHEMA_PATH = Path(__file__).with_name("policy.schema.json")


def schema_text() -> str:
    """The text of policy.schema.json (draft 2020-12) as the models have it now."""
    from offload.policy.models import PolicyFile

    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PolicyFile.model_json_schema()}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """The exit code of this module as a command."""
    return keep(SCHEMA_PATH, schema_text(), "offload.policy.schema", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
