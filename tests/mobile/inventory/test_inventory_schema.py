"""The JSON Schema: fresh, valid, and of one mind with the models."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

import mobile.inventory.schema as schema_module
from mobile.errors import ConfigError
from mobile.inventory import load_inventory
from mobile.inventory.schema import SCHEMA_PATH, main, schema_document, schema_text

EXAMPLE = Path(__file__).parents[3] / "devices.yaml"


def test_the_kept_schema_is_that_of_the_models() -> None:
    assert SCHEMA_PATH.read_text(encoding="utf-8") == schema_text(), "python -m mobile.inventory.schema --write"


def test_check_sees_a_stale_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_module, "SCHEMA_PATH", tmp_path / "devices.schema.json")
    assert main(["--check"]) == 1
    assert main(["--write"]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "devices.schema.json").write_text("{}")
    assert main(["--check"]) == 1
    assert main([]) == 2


def _uncommented(text: str) -> str:
    """The example with its commented devices, links and so on switched on."""
    lines = []
    for line in text.splitlines():
        is_entry = line.startswith("#  ")
        lines.append(line[1:] if is_entry else line)
    return "\n".join(lines)


def _check(text: str) -> None:
    validator = jsonschema.Draft202012Validator(schema_document())
    validator.validate(json.loads(json.dumps(yaml.safe_load(text))))


def test_the_example_is_valid_as_it_is_and_switched_on(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert text.startswith("# yaml-language-server: $schema=mobile/inventory/devices.schema.json\n")
    assert list(load_inventory(EXAMPLE).devices) == ["local"]
    _check(text)
    path = tmp_path / "devices.yaml"
    path.write_text(_uncommented(text))
    _check(path.read_text())
    inventory = load_inventory(path)
    assert list(inventory.devices) == ["local", "pi5", "orin", "pixel7"]
    assert [device.name for device in inventory.select(["@boards", "@pis"])] == ["pi5", "orin"]
    assert inventory.link("pi5", "edge").uplink_bps == 20e6


BAD = [
    "devices: {pi5: {host: h, port: abc}}",
    "devices: {pi5: {host: h, port: 0}}",
    "devices: {pi5: {host: h, prot: 1}}",
    "devices: {pi5: {host: h, kind: rasberry}}",
    "devices: {pi5: {host: h, limits: {memory_bytes: lots}}}",
    "links: [{device: local}]",
    "device: {}",
    "servers: {e: {url: ftp://h}}",
]


@pytest.mark.parametrize("text", BAD)
def test_schema_and_models_refuse_the_same(tmp_path: Path, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        _check(text)
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_inventory(path)


def test_importing_the_package_loads_neither_pydantic_nor_yaml() -> None:
    code = "import sys, mobile.inventory; print(sorted({'pydantic', 'yaml', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
