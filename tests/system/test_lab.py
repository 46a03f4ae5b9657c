"""The lab of virtual devices does what it says, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, LabError, images, namespaces, places, spec
from tests.lab.cgroups import existing
from tests.lab.lab import down, sweep
from tests.lab.process import run, wait_until

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(60, func_only=True)]

MakeLab = Callable[..., Lab]


def ssh(lab: Lab, board: str, command: str, *, stdin: str | None = None, timeout_s: float = 30) -> str:
    """What `command` wrote on the board; LabError with its errors when it failed."""
    argv: list[str | Path] = ["ssh", "-F", lab.ssh_config_path, "-o", "ConnectTimeout=10", board, command]
    return lab.run_in_ctl(argv, check=True, stdin=stdin, timeout_s=timeout_s).stdout


@pytest.fixture
def adb(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """A function that runs the real adb on the lab's developer machine, with a key of the caller's choice."""
    env = {**os.environ, "HOME": str(tmp_path)}

    def call(*words: str, key: Path = lab.adb_key_path) -> subprocess.CompletedProcess[str]:
        return lab.run_in_ctl(["adb", *words], env={**env, "ADB_VENDOR_KEYS": str(key)}, timeout_s=20)

    yield call
    call("kill-server")


def serial(lab: Lab) -> str:
    phone = lab.devices["phone"]
    return f"{phone.address}:{phone.port}"


def traces(lab: str) -> dict[str, list[str]]:
    """Everything on this machine that belongs to a lab of this name."""
    start, folder = f"{places.prefix()}-{lab}-", str(places.labs_dir() / lab)
    mounts = [Path(f"/proc/{pid}/mounts") for pid in os.listdir("/proc") if pid.isdigit()]
    processes = [path.parent / "cmdline" for path in mounts]
    return {
        "namespaces": [name for name in namespaces.named() if name.startswith(start)],
        "cgroups": [str(group) for group in existing(start)],
        "folders": [folder] if os.path.exists(folder) else [],
        "mounts": [str(path) for path in mounts if folder + "/" in text(path)],
        "processes": [
            str(p) for p in processes if folder in text(p) or f"boot\0{lab}\0" in text(p) or f"{start}hub" in text(p)
        ],
        "disks": [line for line in run(["losetup", "-a"]).stdout.splitlines() if folder + "/" in line],
    }


def text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def assert_no_trace(lab: str) -> None:
    # The kernel unmounts a dead device's disk a moment after its last process has ended.
    wait_until(lambda: not any(traces(lab).values()), 10, lambda: f"left behind: {traces(lab)}")


# ---- the devices


@pytest.mark.parametrize(("board", "machine"), [("board64", "aarch64"), ("board86", "x86_64")])
def test_a_board_is_reached_over_real_ssh(lab: Lab, board: str, machine: str) -> None:
    assert ssh(lab, board, "uname -m; id -un; hostname") == f"{machine}\nedge\n{board}\n"


def test_ssh_refuses_a_key_it_does_not_know(lab: Lab, tmp_path: Path) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"])
    options = [f"IdentityFile={tmp_path / 'key'}", "IdentitiesOnly=yes", "BatchMode=yes"]
    options.append(f"UserKnownHostsFile={lab.known_hosts_path}")
    flags = [word for option in options for word in ("-o", option)]
    target = f"edge@{lab.devices['board86'].address}"
    answer = lab.run_in_ctl(["ssh", "-F", "none", *flags, target, "true"], timeout_s=20)
    assert answer.returncode == 255
    assert "Permission denied (publickey)" in answer.stderr


def test_the_phone_is_reached_over_real_adb(lab: Lab, adb: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    adb("connect", serial(lab))
    answer = adb("-s", serial(lab), "shell", "uname -m; id -u; getprop ro.product.model; exit 7")
    assert answer.stdout == "aarch64\n2000\nVirtual Phone\n", answer.stderr
    assert answer.returncode == 7


def test_the_phone_refuses_a_key_it_does_not_know(
    lab: Lab, adb: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run(["adb", "keygen", tmp_path / "other"], env={**os.environ, "HOME": str(tmp_path)})
    adb("connect", serial(lab), key=tmp_path / "other")
    assert f"{serial(lab)}\tunauthorized" in adb("devices").stdout


def test_the_phone_has_neither_python_nor_a_c_library_in_place(lab: Lab) -> None:
    listing = lab.run_in("phone", ["ls", "/", "/system/bin"], check=True).stdout.split()
    assert "python3" not in listing
    assert "lib" not in listing
    assert "usr" not in listing


def test_every_node_says_that_it_is_emulated(lab: Lab) -> None:
    assert {node.provenance for node in lab.state.nodes.values()} == {"emulated"}


def test_known_hosts_names_every_board_and_its_key(lab: Lab) -> None:
    for name in ("board64", "board86"):
        board = lab.devices[name]
        assert f"{board.address},{name} {board.host_key}\n" in lab.known_hosts


def test_the_test_itself_can_stand_inside_the_lab(lab: Lab) -> None:
    own = os.readlink("/proc/thread-self/ns/net")
    board = lab.devices["board86"]
    with lab.inside("ctl"), socket.create_connection((board.address, board.port), timeout=10) as connection:
        assert os.readlink("/proc/thread-self/ns/net") != own
        assert connection.recv(8) == b"SSH-2.0-"
    assert os.readlink("/proc/thread-self/ns/net") == own


def test_nothing_outside_the_lab_can_be_reached_from_it(in_ctl: Lab) -> None:
    with pytest.raises(OSError, match="unreachable"):
        socket.create_connection(("192.0.2.1", 80), timeout=5)


def test_a_device_has_a_sys_of_its_own_that_tests_write(lab: Lab) -> None:
    zone = "class/thermal/thermal_zone0/temp"
    lab.write_sys("board64", zone, "81000")
    assert ssh(lab, "board64", f"cat /sys/{zone}") == "81000\n"
    assert ssh(lab, "board86", f"cat /sys/{zone}") == "48312\n"
    with pytest.raises(LabError, match="not under"):
        lab.write_sys("board64", "../../../../etc/passwd", "x")


@pytest.mark.parametrize("board", ["board64", "phone"])
def test_a_translated_device_shows_an_arm_processor(lab: Lab, board: str) -> None:
    """A runtime's processor probe crashes on the machine's own /proc/cpuinfo."""
    cpuinfo = lab.run_in(board, ["cat", "/proc/cpuinfo"], check=True).stdout
    assert "CPU part\t: 0xd08" in cpuinfo
    assert "GenuineIntel" not in cpuinfo


def test_a_command_over_ssh_has_the_emulated_processor_in_spite_of_sshd(lab: Lab) -> None:
    """sshd hands its own environment to nobody; without the variable a runtime picks kernels ten times slower."""
    assert ssh(lab, "board64", "echo $QEMU_CPU") == "cortex-a72\n"
    assert ssh(lab, "board86", "echo $QEMU_CPU") == "\n"


def test_adbd_listens_on_no_virtual_machine_socket(lab: Lab) -> None:
    """No network namespace confines such a socket: the daemon would be open to the machine's own host."""
    assert lab.devices["phone"].port == 5555
    try:
        own = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    except OSError:
        return  # this kernel has none
    with own:
        own.bind((socket.VMADDR_CID_ANY, 5555))
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as own:
        own.bind((socket.VMADDR_CID_ANY, 5655))


# ---- the links


def test_a_rate_is_kept(lab: Lab) -> None:
    payload, rate_bps = "x" * 2_000_000, 10e6
    lab.link("board86", rate="10mbit")
    start = time.monotonic()
    assert ssh(lab, "board86", "wc -c", stdin=payload) == "2000000\n"
    seconds = time.monotonic() - start
    assert 0.8 < seconds * rate_bps / (len(payload) * 8) < 4


def test_a_delay_comes_and_goes_while_a_connection_stays(in_ctl: Lab) -> None:
    board = in_ctl.devices["board64"]
    with socket.create_connection((board.address, board.port), timeout=20) as connection:
        assert connection.recv(200).startswith(b"SSH-2.0-")
        in_ctl.link("board64", delay="40ms", jitter="5ms")
        assert 0.06 < connect_s(board.address, board.port) < 5
        in_ctl.link("board64", delay="0", jitter="0")
        assert connect_s(board.address, board.port) < 0.06
        connection.sendall(b"SSH-2.0-test\r\n")
        assert connection.recv(1)


def connect_s(address: str, port: int) -> float:
    """The shortest of five connection times: the first also pays for finding the card's address."""
    times = []
    for _ in range(5):
        start = time.monotonic()
        socket.create_connection((address, port), timeout=20).close()
        times.append(time.monotonic() - start)
    return min(times)


def test_a_share_of_the_frames_is_lost(lab: Lab) -> None:
    lab.link("edge", loss="50%")
    receiver, sender = socket_in(lab, "edge"), socket_in(lab, "ctl")
    with receiver, sender:
        receiver.bind(("", 9999))
        receiver.settimeout(1)
        for _ in range(30):  # enough to find the card's address in spite of the losses
            sender.sendto(b"first", (lab.state.node("edge").address, 9999))
            if select.select([receiver], [], [], 0.5)[0]:
                break
        for _ in range(400):
            sender.sendto(b"frame", (lab.state.node("edge").address, 9999))
            time.sleep(0.0005)
        assert 120 < count(receiver, b"frame") < 280


def socket_in(lab: Lab, node: str) -> socket.socket:
    with lab.inside(node):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def count(receiver: socket.socket, wanted: bytes) -> int:
    found = 0
    while True:
        try:
            found += receiver.recv(100) == wanted
        except TimeoutError:
            return found


def test_a_cut_link_stalls_and_recovers(lab: Lab) -> None:
    argv, _ = lab.program("ctl", ["ssh", "-F", str(lab.ssh_config_path), "board86", "cat"])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as session:
        try:
            assert echoed(session, b"before\n", 20)
            lab.link("board86", up=False)
            assert not echoed(session, b"during\n", 1.5)
            assert session.poll() is None
            lab.link("board86", up=True)
            assert session.stdout is not None
            assert select.select([session.stdout], [], [], 20)[0]
            assert session.stdout.read(100) == b"during\n"
        finally:
            session.kill()


def echoed(session: subprocess.Popen[bytes], line: bytes, timeout_s: float) -> bool:
    assert session.stdin is not None and session.stdout is not None
    session.stdin.write(line)
    return bool(select.select([session.stdout], [], [], timeout_s)[0]) and session.stdout.read(100) == line


# ---- power and limits


def test_power_off_is_silence_and_power_on_brings_the_disk_back(in_ctl: Lab) -> None:
    board = in_ctl.devices["board86"]
    zone = "class/thermal/thermal_zone0/temp"
    ssh(in_ctl, "board86", "echo kept > file")
    in_ctl.write_sys("board86", zone, "90000")
    in_ctl.power("board86", on=False)
    assert not in_ctl.is_on("board86")
    with pytest.raises(OSError) as failure:
        socket.create_connection((board.address, board.port), timeout=2)
    assert not isinstance(failure.value, ConnectionRefusedError)
    with pytest.raises(LabError, match="powered off"):
        in_ctl.run_in("board86", ["true"])
    in_ctl.power("board86", on=True)
    assert ssh(in_ctl, "board86", f"cat file /sys/{zone}") == "kept\n48312\n"


def test_limits_are_enforced_and_the_lab_leaves_no_trace(make_lab: MakeLab) -> None:
    lab = make_lab("small=ssh-amd64,mem=96M,disk=32M,cpu=50%")
    with pytest.raises(LabError, match="No space left on device"):
        ssh(lab, "small", "dd if=/dev/zero of=big bs=1M count=64")
    assert ssh(lab, "small", "rm big; grep MemTotal /proc/meminfo").split() == ["MemTotal:", "98304", "kB"]
    with pytest.raises(LabError, match="exit 137"):
        ssh(lab, "small", "python3 -c 'x = bytearray(300 << 20)'; exit $?")
    assert float(ssh(lab, "small", f'python3 -c "{_BUSY}"')) < 0.8
    assert all(traces(lab.state.lab)[kind] for kind in ("namespaces", "cgroups", "mounts", "processes", "disks"))
    lab.down()
    assert_no_trace(lab.state.lab)
    lab.down()


_BUSY = """
import time
start, used = time.monotonic(), time.process_time()
while time.monotonic() < start + 1.5: pass
print((time.process_time() - used) / (time.monotonic() - start))
"""


# ---- clean-up


def test_what_a_killed_owner_left_is_swept() -> None:
    name = f"c{os.getpid()}"
    program = f"""
import os, signal
from tests.lab import Lab
lab = Lab.up({name!r}, ["board=ssh-amd64,delay=1ms,mem=128M"], owned=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = run([sys.executable, "-c", program], cwd=places.REPOSITORY, check=False, timeout_s=40)
    try:
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert all(traces(name).values()), traces(name)
        assert name in sweep()
        assert_no_trace(name)
    finally:
        down(name)


def test_a_device_that_cannot_boot_is_an_error_with_its_name_and_leaves_nothing() -> None:
    name = f"b{os.getpid()}"
    with pytest.raises(LabError, match="starved"):
        Lab.up(name, ["starved=ssh-amd64,mem=6M"], owned=True)
    assert_no_trace(name)


def test_an_interrupted_build_leaves_no_half_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWISE_LAB_CACHE", str(tmp_path / "cache"))
    recipe = tmp_path / "recipe"
    recipe.write_text("first")
    killed_earlier = places.cache_dir() / "thing.1.part"
    killed_earlier.mkdir()
    (killed_earlier / "half").touch()

    def interrupted(folder: Path) -> None:
        assert not folder.exists()
        folder.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        images.built("thing", [recipe], interrupted)
    assert [path.name for path in places.cache_dir().iterdir() if path.is_dir()] == []
    made = images.built("thing", [recipe], Path.mkdir)
    assert images.built("thing", [recipe], interrupted) == made
    recipe.write_text("second")
    assert images.built("thing", [recipe], Path.mkdir) != made


# ---- by hand


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "tests.lab", *words], cwd=places.REPOSITORY, check=False, timeout_s=40)


def test_the_command_line_takes_a_lab_from_up_to_down() -> None:
    name = f"h{os.getpid()}"
    try:
        up = cli("--lab", name, "up", "--dev", "nano=ssh-amd64,rate=50mbit")
        assert up.returncode == 0, up.stderr
        assert json.loads(up.stdout)["on"] == ["nano"]
        assert cli("--lab", name, "exec", "nano", "--", "hostname").stdout == "nano\n"
        assert cli("--lab", name, "exec", "ctl", "--", "ip", "-brief", "-4", "addr").stdout.count("198.18.77.1/24") == 1
        assert cli("--lab", name, "link", "nano", "down", "--rate", "none").returncode == 0
        assert cli("--lab", name, "power", "nano", "off").returncode == 0
        status = json.loads(cli("--lab", name, "status").stdout)
        assert status["on"] == []
        assert status["nodes"]["nano"]["link"]["up"] is False
        missing = cli("--lab", name, "power", "nobody", "on")
        assert missing.returncode == 1
        assert missing.stderr.startswith("lab: no node 'nobody'")
    finally:
        assert cli("--lab", name, "down").returncode == 0
    assert_no_trace(name)
    assert cli("--lab", name, "down").returncode == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Board=ssh-arm64", "a name is a letter"),
        ("board=ssh-riscv64", "unknown kind 'ssh-riscv64'"),
        ("board=ssh-arm64,ram=1G", "unknown option 'ram'"),
        ("board=ssh-arm64,mem=1", "a size is"),
        ("board=ssh-arm64,delay=10", "a number followed by 'ms'"),
        ("board=ssh-arm64,rate=fast", "a rate is"),
        ("ctl=ssh-arm64", "the name 'ctl' is taken"),
    ],
)
def test_a_bad_device_spec_is_refused_with_its_reason(text: str, complaint: str) -> None:
    with pytest.raises(LabError, match=complaint):
        spec.nodes([text])
