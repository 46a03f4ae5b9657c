"""Compressed artifacts on an aarch64 board and an aarch64 phone: exported, verified there by the device's own runtime,
and the carriers timed there. By the commands alone, as a user with both in a drawer would.

A run on a translated processor takes many seconds, so the quick test has all families in one artifact, each with an
output and a tolerance of its own; two families have an artifact of their own.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest

from mobile.cli.main import run
from mobile.formats import Manifest, index, manifest_path
from tests.support.cli import START, environment
from tests.support.fleet import know_the_phone
from tests.support.products import side_by_side, two_products
from tests.support.provision import cache_at, lab_cache, prefill

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
pytest_plugins = ["tests.lab.fixtures"]
BOARDS = ("board64", "phone")
INVENTORY = """\
defaults: {{user: edge, key_file: {key}, known_hosts: {known_hosts}}}
devices:
  board64: {{host: {board64}, provenance: emulated, workdir: ~/.edgewise-compressed}}
  phone: {{kind: android, host: {phone}, provenance: emulated, workdir: /data/local/tmp/edgewise-compressed,
    env: {{QEMU_CPU: cortex-a72}}}}
"""
SCHEMES = {
    "int8": "int8", "int4": "int4:g=32", "1-bit": "binary", "ternary": "ternary", "dual-binary": "dual-binary:g=32",
    "power-of-two": "power-of-two", "3-bit": "int3:g=32", "codebook": "codebook",
    "block-pruned": "block-pruned:block=16", "fp8": "fp8e4m3",
}  # fmt: skip
SHARED = {"shared.a": "shared:merge=mean:of=int4", "shared.b": "shared:merge=mean:of=int4"}
TFLITE = {"int8": "int8", "int4": "int4:g=row"}
SIZE = 128
ITEMS = 2


class Desk:
    """A developer's folder and home in the lab's network."""

    def __init__(self, lab, folder):
        self.lab, self.folder, self.home = lab, folder, folder / "home"
        self.home.mkdir()
        know_the_phone(lab, self.home)
        hosts = {name: lab.devices[name].address for name in BOARDS}
        text = INVENTORY.format(key=lab.ssh_key_path, known_hosts=lab.known_hosts_path, **hosts)
        (folder / "devices.yaml").write_text(text, encoding="utf-8")
        x = np.random.default_rng(3).standard_normal((ITEMS, SIZE)).astype(np.float32)
        np.savez(folder / "x.npz", x=x)

    def edgewise(self, *arguments, code=0, timeout_s=580):
        """The finished command, which must exit with ``code``."""
        env = environment(HOME=str(self.home), EDGEWISE_CACHE=str(lab_cache()))
        done = self.lab.run_in_ctl(
            [*START, *map(str, arguments)], timeout_s=timeout_s, env=env, cwd=self.folder, check=False
        )
        assert done.returncode == code, f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
        return done

    def json(self, *arguments, **options):
        """The JSON document of a command."""
        return json.loads(self.edgewise(*arguments, "--json", **options).stdout)

    def export(self, model, name, scheme, *more):
        """The artifact of a float model, by the command, with its reference."""
        onnx.save(model, self.folder / "m.onnx")
        out = self.folder / name
        given = ("--inputs", str(self.folder / "x.npz"), "--keep-reference", *more)
        assert run(["export", str(self.folder / "m.onnx"), "-o", str(out), "--scheme", scheme, *given]) == 0, scheme
        return out

    def verify(self, *files):
        """The rows of a verification on both devices, all of them equal, with what they took."""
        rows = self.json("verify", *(path.name for path in files), "--on", ",".join(BOARDS))["verified"]
        assert len(rows) == len(files) * len(BOARDS)
        for row in rows:
            assert row["state"] == "equal", row
            assert (row["items"], row["provenance"]) == (ITEMS, "emulated")
            assert row["peak_rss_bytes"] > row["before_load_bytes"] > 0
        for path in files:
            check_packed_there(
                self.lab, path, {row["device"]: row["path"] for row in rows if row["model"] == path.name}
            )
        return rows


@pytest.fixture(scope="module")
def desk(lab, tmp_path_factory):
    """Both devices after `edgewise setup`; the lab has no internet, so what they are given is prepared before."""
    with cache_at(lab_cache()):
        prefill("aarch64", phone=True, runtimes=("onnxruntime", "litert"))
    made = Desk(lab, tmp_path_factory.mktemp("compressed"))
    made.edgewise("setup", *BOARDS)
    return made


def check_packed_there(lab, path, there):
    """The bytes on each device are the manifest's, and no initialiser in them is a float weight."""
    manifest = Manifest.load(manifest_path(path))
    weights = [tensor for tensor in index(path).tensors if tensor.length >= SIZE * SIZE * 4]
    assert weights == []
    for name, place in there.items():
        done = lab.run_in(name, ["sha256sum", place])
        assert done.stdout.split()[0] == hashlib.sha256(path.read_bytes()).hexdigest() == manifest.sha256


def rules(schemes):
    return ",".join(f"w.{name}={scheme}" for name, scheme in schemes.items())


def test_every_family_answers_on_both_as_its_dequantised_reference(desk, record_property):
    families = {**SCHEMES, **SHARED}
    packed = desk.export(side_by_side(tuple(families)), "all.onnx", rules(families))
    lite = desk.export(side_by_side(tuple(TFLITE)), "both.tflite", rules(TFLITE), "--target", "litert:2.3")
    rows = desk.verify(packed, lite)
    for row in rows:
        names = TFLITE if row["model"] == lite.name else families
        assert {one["name"] for one in row["outputs"]} == set(names)
        assert all(one["difference"] <= one["tolerance"] for one in row["outputs"])
        record_property(f"{row['device']} {row['model']} peak RSS", row["peak_rss_bytes"])
    manifest = Manifest.load(manifest_path(packed))
    assert {"1", "2", "4", "8"} <= set(manifest.sizes["weight_bytes_by_bits"])
    assert packed.stat().st_size < 0.5 * len(families) * SIZE * SIZE * 4


@pytest.mark.slow
def test_an_artifact_of_one_family_alone(desk, record_property):
    files = [
        desk.export(two_products(), "m.binary.onnx", SCHEMES["1-bit"]),
        desk.export(two_products(), "m.shared.onnx", SHARED["shared.a"]),
    ]
    for row in desk.verify(*files):
        record_property(f"{row['device']} {row['model']} peak RSS", row["peak_rss_bytes"])


def test_a_probe_of_an_emulated_device_says_so_and_the_exporter_repeats_it(desk):
    document = desk.json(
        "probe", "phone", "--schemes", "ternary", "--shapes", "64x64", "--rows", "1", "--duration", "0.05"
    )
    assert (document["device"], document["provenance"]) == ("phone", "emulated")
    assert len(document["measured"]) >= 2
    onnx.save(two_products(), desk.folder / "m.onnx")
    done = desk.edgewise("export", "m.onnx", "-o", "ranked.onnx", "--scheme", "ternary", "--target", "phone")
    assert "THESE TIMES ARE EMULATED" in " ".join(done.stderr.split())
    manifest = Manifest.load(manifest_path(desk.folder / "ranked.onnx"))
    assert any("EMULATED" in note and "phone" in note for note in manifest.notes)
    best = min(document["measured"], key=lambda one: one["time_s"])["carrier"]
    carriers = {carrier for entry in manifest.quantization["tensors"] for carrier in entry["carriers"]}
    assert {carrier.split()[0] for carrier in carriers} == {best.split()[0]}
