"""Every kind of bad devices.yaml: the message names file, line, key, value and what was expected."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobile.errors import ConfigError
from mobile.inventory import load_inventory
from mobile.inventory.yamlfile import MAX_FILE_BYTES

CASES = {
    "wrong type": (
        "devices:\n  pi5:\n    host: h\n    port: abc\n",
        "devices.yaml:4: devices.pi5.port is 'abc', expected a whole number from 1 to 65535",
    ),
    "a number out of range": (
        "devices:\n  pi5: {host: h, port: 70000}\n",
        "devices.yaml:2: devices.pi5.port is 70000, expected a whole number from 1 to 65535",
    ),
    "a truth value for a number": (
        "devices:\n  pi5: {host: h, port: true}\n",
        "devices.yaml:2: devices.pi5.port is true, expected a whole number from 1 to 65535",
    ),
    "a number for text": (
        "devices:\n  p: {kind: android, serial: 12345}\n",
        "devices.yaml:2: devices.p.serial is 12345, expected a host, user or serial number without special characters; "
        "put it in quotes",
    ),
    "not one of the allowed": (
        "devices:\n  pi5:\n    kind: rasberry\n    host: h\n",
        "devices.yaml:3: devices.pi5.kind is 'rasberry', expected one of linux, x86, raspberry_pi, jetson, android",
    ),
    "unknown key": (
        "devices:\n  pi5:\n    host: h\n    prot: 22\n",
        "devices.yaml:4: devices.pi5.prot is not a known key; did you mean port?",
    ),
    "a replayed board that says it is real": (
        "devices:\n  pi5:\n    transport: local\n    provenance: real\n    replay: tree\n",
        "devices.yaml:4: devices.pi5.provenance: the sensors of a device with replay are replayed, not real",
    ),
    "a replayed board over ssh": (
        "devices:\n  pi5:\n    host: h\n    replay: tree\n",
        "devices.yaml:4: devices.pi5.replay: only a device with transport local takes it",
    ),
    "a meter without its address": (
        "devices:\n  pi5:\n    host: h\n    meter:\n      kind: tasmota\n",
        "devices.yaml:4: devices.pi5.meter.url: missing: a meter of kind tasmota needs `url`",
    ),
    "a meter with a secret in its address": (
        "devices:\n  pi5:\n    host: h\n    meter:\n      kind: shelly\n      url: http://me:secret@192.0.2.7\n",
        "devices.yaml:6: devices.pi5.meter.url is not the address of a meter, such as http://192.0.2.7",
    ),
    "a meter with a password": (
        "devices:\n  pi5:\n    host: h\n    meter:\n      kind: shelly\n      url: http://h\n      password: x\n",
        "devices.yaml:7: devices.pi5.meter.password: secrets do not belong in this file",
    ),
    "a command meter with an address": (
        "devices:\n  pi5:\n    host: h\n    meter:\n      kind: command\n      argv: [m]\n      url: http://h\n",
        "devices.yaml:7: devices.pi5.meter.url: a meter of kind command does not take it",
    ),
    "unknown section": ("device:\n  pi5: {}\n", "devices.yaml:1: device is not a known key; did you mean devices"),
    "duplicate key": (
        "devices:\n  pi5: {host: a}\n  pi4: {host: b}\n  pi5: {host: c}\n",
        "devices.yaml:4: devices.pi5 is given twice, first in line 2",
    ),
    "tab": ("devices:\n\tpi5: {host: a}\n", "devices.yaml:2: the line is indented with a tab"),
    "tab deeper": ("devices:\n  pi5:\n    host: a\n\tport: 2\n", "devices.yaml:4: the line is indented with a tab"),
    "unclosed": ("devices: {pi5: {host: a}\n", "devices.yaml:2: expected ',' or '}', but got"),
    "list at the top": ("- a\n", "devices.yaml:1: the file holds no mapping, expected the keys defaults, devices"),
    "text at the top": ("hello\n", "devices.yaml:1: the file holds no mapping"),
    "device is text": ("devices:\n  pi5: host\n", "devices.yaml:2: devices.pi5 is 'host', expected a mapping"),
    "devices is a list": ("devices:\n  - pi5\n", "devices.yaml:1: devices is a list, expected a mapping"),
    "bad device name": ("devices:\n  a b: {host: h}\n", "devices.yaml:2: devices.a b: 'a b' is not a name of letters"),
    "no address": ("devices:\n  pi5: {}\n", "devices.yaml:2: devices.pi5.host: missing: a device with transport ssh"),
    "option as host": ("devices:\n  pi5: {host: -oProxyCommand=x}\n", "devices.yaml:2: devices.pi5.host is '-oProxy"),
    "field of another transport": (
        "devices:\n  p:\n    kind: android\n    serial: A\n    user: root\n",
        "devices.yaml:5: devices.p.user: only a device with transport ssh takes it",
    ),
    "local over ssh": (
        "devices:\n  local: {transport: ssh, host: h}\n",
        "devices.yaml:2: devices.local.transport: `local` is this machine",
    ),
    "slow and real": (
        "devices:\n  s: {transport: local, slow_down: 2, provenance: real}\n",
        "devices.yaml:2: devices.s.provenance: a device with slow_down has provenance slowed",
    ),
    "bad default": (
        "defaults:\n  port: many\ndevices:\n  a: {host: h}\n",
        "devices.yaml:2: defaults.port is 'many', expected a whole number from 1 to 65535",
    ),
    "unknown default": ("defaults:\n  host: h\n", "devices.yaml:2: defaults.host is not a known key"),
    "unknown group member": (
        "devices:\n  pi5: {host: h}\ngroups:\n  lab: [pi5, pi6]\n",
        "devices.yaml:4: groups.lab[1]: 'pi6' is not under devices; did you mean pi5?",
    ),
    "unknown server of a link": (
        "links:\n  - {device: local, server: egde, uplink_bps: 1e6, downlink_bps: 1e6, rtt_s: 0}\n",
        "devices.yaml:2: links[0].server: 'egde' is not under servers; servers: local",
    ),
    "a link twice": (
        "links:\n"
        "  - &l {device: local, server: local, uplink_bps: 1e6, downlink_bps: 1e6, rtt_s: 0}\n"
        "  - {device: local, server: local, uplink_bps: 1e6, downlink_bps: 1e6, rtt_s: 0}\n",
        "devices.yaml:3: links[1]: a second link between local and local",
    ),
    "missing field": (
        "servers:\n  edge: {engine: ray}\n",
        "devices.yaml:2: servers.edge.url is missing, expected a URL such as",
    ),
    "bad rate": (
        "links:\n  - {device: local, server: local, uplink_bps: fast, downlink_bps: 1e6, rtt_s: 0}\n",
        "devices.yaml:2: links[0].uplink_bps is 'fast', expected bits per second, or a rate such as \"20 Mbit/s\"",
    ),
    "loss of everything": (
        "links:\n  - {device: local, server: local, uplink_bps: 1e6, downlink_bps: 1e6, rtt_s: 0, loss: 1}\n",
        "devices.yaml:2: links[0].loss is 1, expected a number of at least 0 and below 1",
    ),
    "python tag": ("devices: !!python/object/apply:os.system ['id']\n", "devices.yaml:1: the tag "),
    "two documents": ("devices: {}\n---\ndevices: {}\n", "devices.yaml:2: but found another document"),
    "undefined alias": ("devices: *nothing\n", "devices.yaml:1: found undefined alias 'nothing'"),
    "control character": ("devices: {}\n\x00\n", "devices.yaml:2: the character "),
    "list as a key": ("devices: {[a, b]: c}\n", "devices.yaml:1: a key is a list or a mapping"),
    "bad port in a url": (
        "servers:\n  e: {url: 'http://h:99999'}\n",
        "devices.yaml:2: servers.e.url is not a URL with a",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, expected = CASES[name]
    monkeypatch.chdir(tmp_path)
    Path("devices.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_inventory()
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


SECRETS = {
    "devices:\n  pi5:\n    host: h\n    password: hunter2\n": "password_env: NAME",
    "devices:\n  pi5: {host: h, key_passphrase: hunter2}\n": "passphrase_env: NAME",
    "defaults: {private_key: hunter2}\n": "key_file: PATH",
    "servers:\n  e: {url: 'http://h', token: hunter2}\n": "token_env: NAME",
    "servers:\n  e: {url: 'http://h', api_key: hunter2}\n": "passphrase_env: NAME",
    "token: hunter2\n": "token_env: NAME",
    "devices:\n  pi5: {host: h, env: {HF_TOKEN: hunter2}}\n": "Set the variable on the device",
}


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_refused_and_never_echoed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="secrets do not belong in this file") as caught:
        load_inventory(path)
    assert SECRETS[text] in str(caught.value.hint)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "text",
    [
        "devices:\n  p: {host: h, passphrase_env: hunter2!}\n",
        "servers:\n  e: {url: 'http://me:hunter2@h/'}\n",
        "servers:\n  e: {url: 'http://h', token_env: 'hunter2 '}\n",
    ],
)
def test_a_secret_in_the_wrong_field_is_not_echoed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_inventory(path)
    assert f"{path}:2: " in str(caught.value)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_names_that_sound_secret_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text("devices:\n  token: {host: h}\ngroups:\n  secret: [token]\n")
    assert load_inventory(path).select(["@secret"])[0].name == "token"


def test_several_problems_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text("devices:\n  a: {host: h, port: x}\n  b: {host: h, prot: 1}\n  c: {host: h, port: 0}\n")
    with pytest.raises(ConfigError, match=r"devices.yaml:2: devices.a.port") as caught:
        load_inventory(path)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"and 2 more problems; the next: {path}:3: devices.b.prot")


def test_a_bomb_of_anchors_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path = tmp_path / "devices.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="more than 100000 values once its anchors are expanded"):
        load_inventory(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]\n", "nested more than 20 levels deep"),
        ("a: &a {b: *a}\n", "nested more than 20 levels deep"),
        ("a: " + "[" * 5000, "nested more than 20 levels deep"),
        ("a: " + "{b: " * 5000, "nested more than 20 levels deep"),
        ("devices: {p: {host: h, port: " + "9" * 6000 + "}}", "is not a number"),
    ],
)
def test_depth_and_digits_are_bounded(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_inventory(path)


def test_a_file_that_cannot_be_one(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"devices:\n  caf\xe9: {host: h}\n")
    for path, words in (
        (big, "larger than 262144 bytes"),
        (latin, "latin.yaml:2: byte 0xe9 is not UTF-8"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "absent.yaml", "cannot be read: No such file"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_inventory(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    path.touch(mode=0o000)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_inventory(path)


_WORDS = [
    "devices",
    "local",
    "pi5",
    "host",
    "port",
    "env",
    "tags",
    "- ",
    ": ",
    "\n",
    "  ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
]
_WORDS += ["<<: ", "!!str ", "'", '"', "22", "true", "\t", "#", "|", ">", "? ", ",", "links", "servers", "groups"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(_WORDS), max_size=30).map("".join)))
def test_any_text_loads_or_is_a_config_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        inventory = load_inventory(path)
    except ConfigError as error:
        assert str(path) in str(error)
    else:
        assert "local" in inventory.devices
