"""Where the inventory is found, what it gives, and how names select devices."""

from pathlib import Path

import pytest

from mobile.errors import ConfigError
from mobile.inventory import Device, Inventory, find_inventory, load_inventory

FULL = """\
defaults:
  user: pi
  key_file: keys/id
  workdir: /data/edgewise
  env: {A: "1", B: "2"}
devices:
  pi5: {kind: raspberry_pi, host: 10.0.0.5, port: 2222, tags: [pis], env: {B: "3"}}
  pi4:
    host: pi4.local
    tags: [pis, old]
    key_file: /abs/key
    limits: {memory_bytes: 512 MiB, max_temperature_c: 70}
    cpus: [2, 3]
  phone: {kind: android, serial: ABC123}
  net-phone: {transport: adb, host: "192.168.1.9"}
  slow: {transport: local, slow_down: 4}
  orin: {kind: jetson, ssh_alias: orin, host_key_policy: accept-new}
groups:
  lab: [orin, pi5]
  pis: [orin]
servers:
  edge: {url: "https://edge.example:8620/v2", token_env: EDGE_TOKEN, engine: triton}
links:
  - {device: pi5, server: edge, uplink_bps: 20 Mbit/s, downlink_bps: 50000000, rtt_s: 2e-2}
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "devices.yaml"
    path.write_text(FULL)
    return load_inventory(path)


def test_defaults_reach_the_devices_that_take_them(inventory: Inventory, tmp_path: Path) -> None:
    pi5 = inventory.device("pi5")
    assert (pi5.user, pi5.port, pi5.workdir, pi5.transport) == ("pi", 2222, "/data/edgewise", "ssh")
    assert pi5.key_file == str(tmp_path / "keys/id")
    assert pi5.env == {"A": "1", "B": "3"}
    assert inventory.device("pi4").key_file == "/abs/key"
    phone = inventory.device("phone")
    assert (phone.transport, phone.workdir, phone.user) == ("adb", "/data/local/tmp/edgewise", None)
    assert inventory.device("net-phone").kind == "android"


def test_local_takes_no_defaults_and_is_always_there(inventory: Inventory) -> None:
    local = inventory.device("local")
    assert local == Inventory.builtin().device("local")
    assert (local.transport, local.workdir, local.env) == ("local", "~/.edgewise", {})
    assert inventory.server("local").url == "http://127.0.0.1:8620"


def test_values_are_in_si_units(inventory: Inventory) -> None:
    limits = inventory.device("pi4").limits
    assert (limits.memory_bytes, limits.max_temperature_c) == (512 * 2**20, 70)
    link = inventory.link("pi5", "edge")
    assert (link.uplink_bps, link.downlink_bps, link.rtt_s, link.loss, link.assumed) == (20e6, 50e6, 0.02, None, True)


def test_a_slow_down_says_so_in_the_provenance(inventory: Inventory) -> None:
    assert inventory.device("slow").provenance == "slowed"


def test_select_by_name_group_and_tag(inventory: Inventory) -> None:
    def names(*given: str) -> list[str]:
        return [device.name for device in inventory.select(given)]

    assert names("pi5", "local") == ["pi5", "local"]
    assert names("@lab") == ["orin", "pi5"]
    assert names("@pis") == ["orin", "pi5", "pi4"]  # the group's members, then the devices with the tag
    assert names("@old,pi5", "pi4") == ["pi4", "pi5"]
    assert names("@all") == ["local", "pi5", "pi4", "phone", "net-phone", "slow", "orin"]
    assert inventory.words() == ["all", "lab", "old", "pis"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda i: i.device("pi6"), ["there is no device 'pi6'", "devices.yaml", "pi5", "pi4"]),
        (lambda i: i.device("pis"), ["did you mean @pis?"]),
        (lambda i: i.device("zzz"), ["devices: local, net-phone, orin"]),
        (lambda i: i.select(["@piz"]), ["there is no group or tag 'piz'", "did you mean pis?"]),
        (lambda i: i.server("egde"), ["there is no server 'egde'", "did you mean edge?"]),
        (lambda i: i.link("pi4", "edge"), ["no link between pi4 and edge"]),
        (lambda i: i.link("nope", "edge"), ["there is no device 'nope'"]),
    ],
)
def test_unknown_names_list_near_ones(inventory: Inventory, call, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        call(inventory)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "devices:\n", "devices: {local: }\n"])
def test_an_empty_file_has_local_only(tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    inventory = load_inventory(path)
    assert list(inventory.devices) == ["local"]
    assert list(inventory.servers) == ["local"]


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEWISE_INVENTORY", raising=False)
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_, **__: tmp_path / "config")
    assert find_inventory() is None
    assert load_inventory().path is None

    def write(name: str, device: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"devices: {{{device}: {{host: h}}}}\n")
        return path

    write("config/devices.yaml", "from-user")
    assert "from-user" in load_inventory().devices
    write("devices.yaml", "from-folder")
    assert "from-folder" in load_inventory().devices
    monkeypatch.setenv("EDGEWISE_INVENTORY", str(write("env.yaml", "from-env")))
    assert "from-env" in load_inventory().devices
    assert "from-option" in load_inventory(write("option.yaml", "from-option")).devices
    monkeypatch.setenv("EDGEWISE_INVENTORY", "absent.yaml")
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        load_inventory()


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text("devices:\n  a: &pi {host: a.local, port: 22, kind: raspberry_pi}\n  b: {<<: *pi, host: b.local}\n")
    device = load_inventory(path).device("b")
    assert (device.host, device.port, device.kind) == ("b.local", 22, "raspberry_pi")


def test_yaml_12_words_are_text(tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text("devices:\n  no: {host: off, tags: [on, 'yes']}\n")
    device = load_inventory(path).device("no")
    assert (device.host, device.tags) == ("off", ("on", "yes"))


def test_models_are_frozen_and_usable_from_python() -> None:
    device = Device(name="board", host="10.0.0.1", tags=["a"], cpus=[0])
    assert (device.tags, device.cpus) == (("a",), (0,))
    with pytest.raises(ValueError, match="frozen"):
        device.port = 22


def test_a_replayed_board_says_so_in_its_provenance_and_its_tree_is_found_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text("devices:\n  pi5:\n    transport: local\n    replay: trees/pi5\n")
    device = load_inventory(path).device("pi5")
    assert (device.provenance, device.replay) == ("replayed", str(tmp_path / "trees/pi5"))


def test_a_meter_is_read_with_its_kind_and_address(tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(
        "devices:\n  pi5:\n    host: h\n    meter: {kind: shelly, url: 'http://192.0.2.7', password_env: PLUG}\n"
        "  jetson:\n    host: j\n    meter: {kind: command, argv: [meter, --watts], scope: board input}\n"
    )
    inventory = load_inventory(path)
    plug = inventory.device("pi5").meter
    assert plug is not None
    assert (plug.kind, plug.url, plug.channel, plug.password_env) == ("shelly", "http://192.0.2.7", 0, "PLUG")
    command = inventory.device("jetson").meter
    assert command is not None
    assert (command.argv, command.stream, command.scope) == (("meter", "--watts"), False, "board input")
