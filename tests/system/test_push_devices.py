"""push on the lab's boards: an aarch64 and an amd64 board over SSH, and the aarch64 phone that has only toybox."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time

import pytest

from mobile.deadline import Deadline
from mobile.errors import TransportError
from mobile.push import DeviceStore
from mobile.push.content import contents
from mobile.transports import open_transport
from tests.lab import Lab, places
from tests.support.fleet import know_the_phone, lab_inventory
from tests.support.weights import random_weights, save_weights

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(110, func_only=True)]

DEVICES = ("board64", "board86", "phone")
LIMIT_S = 90
LARGEST_CHUNK = 2 * 1024 * 1024
TENSOR = 500_000


@pytest.fixture
def inventory(in_ctl: Lab, tmp_path, own_user_folders):
    know_the_phone(in_ctl, own_user_folders)
    return lab_inventory(in_ctl, tmp_path)


def variants(folder, count=2):
    """The paths of models that differ in one of eight tensors, the numbers of their bytes, and of the tensor's."""
    weights = random_weights((TENSOR,) * 8, seed=time.time_ns())
    paths = []
    for number in range(count):
        (folder / str(number)).mkdir()
        weights[3] = weights[3] + 1
        paths.append(save_weights(folder / str(number) / "model.onnx", weights))
    return paths


def link_timeout(transport, seconds):
    """The transport, that notices a dead link sooner than users would like."""
    transport._link_timeout_s = seconds
    return transport


def digest(lab, device, path):
    return lab.run_in(device, ["sh", "-c", 'sha256sum <"$1"', "sh", path], check=True).stdout.split()[0]


def home(lab, device):
    return "/data/local/tmp/edgewise" if device == "phone" else "/home/edge/.edgewise"


def stored(lab, device):
    """The SHA-256 of each model on the device, by its folder's name; a wrong one would have another."""
    script = 'cd "$1/store" 2>/dev/null || exit 0; for f in */*/*.onnx; do [ ! -f "$f" ] || sha256sum "$f"; done'
    lines = lab.run_in(device, ["sh", "-c", script, "sh", home(lab, device)], check=True).stdout.splitlines()
    return {line.split()[1].split("/")[1]: line.split()[0] for line in lines}


@pytest.mark.parametrize("device", DEVICES)
def test_a_cut_push_goes_on_and_a_variant_sends_what_changed(in_ctl, inventory, tmp_path, device):
    first, second = variants(tmp_path)
    in_ctl.link(device, rate="50mbit")
    transport = link_timeout(open_transport(inventory.device(device)), 2.0)
    half = threading.Event()

    def cut():
        half.wait(LIMIT_S)
        in_ctl.link(device, up=False)
        time.sleep(4)
        in_ctl.link(device, up=True)

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        store = DeviceStore(transport, inventory.device(device).workdir)
        files = contents([first])
        pushed = store.push(
            files,
            deadline=Deadline(LIMIT_S),
            progress=lambda done, size: half.set() if done > size / 2 else None,
        )
        assert pushed.resumes >= 1
        assert pushed.sent_bytes <= pushed.size_bytes + LARGEST_CHUNK + 6_000_000  # and what the cable held
        assert digest(in_ctl, device, pushed.path) == files[0].sha256
        pushed = store.push(contents([second]), deadline=Deadline(LIMIT_S))
        assert pushed.sent_bytes <= 1.05 * 4 * TENSOR
        assert digest(in_ctl, device, pushed.path) == hashlib.sha256(second.read_bytes()).hexdigest()
    finally:
        half.set()
        cutter.join(LIMIT_S)
        transport.close()


@pytest.mark.parametrize("device", ["board86"])
def test_a_device_that_loses_power_shows_nothing_half(in_ctl, inventory, tmp_path, device):
    (model,) = variants(tmp_path, 1)
    in_ctl.link(device, rate="50mbit")
    transport = link_timeout(open_transport(inventory.device(device)), 2.0)
    store = DeviceStore(transport, inventory.device(device).workdir, patience_s=0)

    def off(done, size):
        if done > size / 2:
            in_ctl.power(device, on=False)

    try:
        with pytest.raises(TransportError):
            store.push(contents([model]), deadline=Deadline(LIMIT_S), progress=off)
        in_ctl.power(device, on=True)
        assert all(address == found for address, found in stored(in_ctl, device).items())
        before = len(stored(in_ctl, device))
        pushed = store.push(contents([model]), deadline=Deadline(LIMIT_S))
        assert pushed.kept_bytes > 0
        after = stored(in_ctl, device)
        assert len(after) == before + 1
        assert all(address == found for address, found in after.items())
    finally:
        transport.close()


def test_the_command_line_on_all_three_at_once(lab, tmp_path, own_user_folders):
    know_the_phone(lab, own_user_folders)
    lab_inventory(lab, tmp_path)
    paths = variants(tmp_path)
    addresses = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    def edgewise(*words):
        program = "from mobile.cli.main import entry; entry()"
        argv = [sys.executable, "-c", program, "--inventory", str(tmp_path / "devices.yaml"), *words, "--json"]
        env = {"PYTHONPATH": str(places.REPOSITORY), "HOME": str(own_user_folders), "PATH": "/usr/bin:/bin"}
        done = lab.run_in_ctl(argv, env=env, timeout_s=LIMIT_S, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    for path in paths:
        rows = edgewise("push", str(path), *DEVICES, "--no-check")["pushed"]
        assert [row["error"] for row in rows] == [None] * 3
    for device in DEVICES:
        assert digest(lab, device, f"{home(lab, device)}/current/model.onnx") == addresses[1]
    edgewise("rollback", *DEVICES)
    for device in DEVICES:
        assert digest(lab, device, f"{home(lab, device)}/current/model.onnx") == addresses[0]
    edgewise("store", "phone", "prune", "--all")
    left = lab.run_in("phone", ["ls", "-A", "/data/local/tmp"], check=True).stdout.split()
    assert home(lab, "phone").rpartition("/")[2] not in left  # other tests leave things of their own beside it
