"""Meters over HTTP and by command: what they give, and what becomes of those that are slow, wrong, or gone."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time

import pytest

from mobile.errors import ConfigError
from mobile.inventory.models import Meter as MeterFields
from mobile.meters import Info, MeterFault, open_meter
from mobile.meters.command import CommandMeter, StreamMeter
from mobile.meters.http import MeterHttp, digest
from mobile.meters.plugs import Shelly
from tests.mobile.meters.test_meter_texts import EM50, GEN1, SWITCH, TASMOTA
from tests.support.meters import Request, by_path, meter_server

GEN2 = {"/shelly": {"gen": 2, "app": "PlusPlugS", "auth_en": False}}
INFO = Info("meter.test", "test", "wall")


def opened(url: str, kind: str = "shelly", **more):
    return open_meter(MeterFields.model_validate({"kind": kind, "url": url, **more}))


def fault(meter) -> str:
    with pytest.raises(MeterFault) as caught:
        meter.read()
    return caught.value.reason


def test_a_shelly_says_itself_which_part_of_it_measures():
    answers = {**GEN2, "/rpc/Shelly.GetStatus": {"switch:0": SWITCH}, "/rpc/Switch.GetStatus?id=0": SWITCH}
    with meter_server(by_path(answers)) as server:
        meter = opened(server.url)
        readings = [meter.read() for _ in range(2)]
    assert [reading.power_w for reading in readings] == [8.9, 8.9]
    assert readings[0].energy_j == pytest.approx(23515.2)
    assert [path for path, _ in server.asked] == [
        "/shelly", "/rpc/Shelly.GetStatus", "/rpc/Switch.GetStatus?id=0", "/rpc/Switch.GetStatus?id=0",
    ]  # fmt: skip
    assert meter.info.scope == "wall (with the losses of the power supply)"


def test_an_em_is_read_on_the_channel_that_is_asked_for():
    import json

    status = json.loads(EM50)
    answers = {**GEN2, "/rpc/Shelly.GetStatus": status, "/rpc/EM1.GetStatus?id=1": status["em1:1"]}
    with meter_server(by_path(answers)) as server:
        assert opened(server.url, channel=1).read().power_w == 501.8
        assert "measures no power on channel 7" in fault(opened(server.url, channel=7))
        configured = opened(server.url, channel=1, component="em1")
        assert configured.read().power_w == 501.8
    assert ("/rpc/Shelly.GetStatus" in [path for path, _ in server.asked[-2:]]) is False


def test_a_shelly_of_the_first_generation_is_known_by_its_answer():
    first = {"type": "SHPLG-S", "mac": "X", "auth": False, "fw": "20230913"}
    with meter_server(by_path({"/shelly": first, "/status": GEN1})) as server:
        assert opened(server.url).read().power_w == 14.07


def test_tasmota_is_asked_with_its_password_in_the_query_and_no_message_has_it(monkeypatch):
    monkeypatch.setenv("PLUG", "sec ret&x")
    path = "/cm?user=admin&password=sec%20ret%26x&cmnd=Status%208"
    with meter_server(by_path({path: TASMOTA})) as server:
        meter = opened(server.url, "tasmota", password_env="PLUG")
        assert meter.read().power_w == 5.0
        assert opened(server.url, "tasmota").info.kind == "tasmota"
        refused = fault(opened(server.url, "tasmota"))
    assert "status 404" in refused
    with meter_server(by_path({path: {"WARNING": "Need user=<username>&password=<password>"}})) as server:
        warned = fault(opened(server.url, "tasmota", password_env="PLUG"))
    assert "password_env" in warned
    for message in (refused, warned, repr(meter.info)):
        assert "sec" not in message.replace("second", "")


def test_a_digest_is_that_of_the_rfc():
    """RFC 7616 section 3.9.1."""
    challenge = {
        "realm": "http-auth@example.org", "qop": "auth", "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    }  # fmt: skip
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    for algorithm, response in (
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
    ):
        header = digest({**challenge, "algorithm": algorithm}, "Mufasa", "Circle of Life", "/dir/index.html", 1, cnonce)
        assert f'response="{response}"' in header


def digest_server(password: str):
    """Answers only requests whose digest is right, with one nonce for two requests, as a Shelly changes it."""
    used: dict[str, int] = {}

    def answer(request: Request) -> None:
        given = request.headers.get("Authorization", "")
        parts = dict(part.split("=", 1) for part in given.removeprefix("Digest ").split(", ") if "=" in part)
        plain = {name: value.strip('"') for name, value in parts.items()}
        nonce = plain.get("nonce", "")
        challenge = {"realm": "shellyplusplugs-1", "nonce": nonce, "algorithm": "SHA-256", "qop": "auth"}
        right = digest(
            challenge, "admin", password, request.path, int(plain.get("nc", "0") or "0", 16), plain.get("cnonce", "")
        )
        if nonce in used and used[nonce] < 2 and plain.get("response") and plain["response"] in right:
            used[nonce] += 1
            request.send_json(SWITCH if "rpc" in request.path else {"gen": 2})
            return
        new = f"nonce{len(used)}"
        used[new] = 0
        offer = f'Digest qop="auth", realm="shellyplusplugs-1", nonce="{new}", algorithm=SHA-256'
        request.send_json({"code": 401}, 401, WWW_Authenticate=offer)

    return answer


def test_a_shelly_with_a_password_is_answered_by_digest_and_a_new_nonce_is_taken_up(monkeypatch):
    monkeypatch.setenv("PLUG", "right")
    with meter_server(digest_server("right")) as server:
        meter = opened(server.url, password_env="PLUG", component="switch")
        assert [meter.read().power_w for _ in range(5)] == [8.9] * 5
        assert not any("right" in str(headers) for _, headers in server.asked)
        monkeypatch.setenv("PLUG", "wrong")
        assert fault(opened(server.url, password_env="PLUG", component="switch")).endswith("refuses the password")
        assert "name its variable with password_env" in fault(opened(server.url, component="switch"))


def test_an_older_shelly_with_a_password_is_answered_by_basic_authentication(monkeypatch):
    monkeypatch.setenv("PLUG", "geheim")

    def answer(request: Request) -> None:
        if request.headers.get("Authorization") == "Basic bWU6Z2VoZWlt":
            request.send_json({"type": "SHPLG-S"} if request.path == "/shelly" else GEN1)
        else:
            request.send_json({}, 401, WWW_Authenticate='Basic realm="shelly"')

    with meter_server(answer) as server:
        assert opened(server.url, user="me", password_env="PLUG").read().power_w == 14.07


def test_a_password_that_is_not_set_is_told_before_anything_is_asked():
    with pytest.raises(ConfigError, match="NO_SUCH_VARIABLE"):
        opened("http://192.0.2.1", password_env="NO_SUCH_VARIABLE")


def slow(request: Request) -> None:
    request.server.gone.wait(20)


def dripping(request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    with contextlib.suppress(OSError):
        while not request.server.gone.wait(0.05):
            request.wfile.write(b" ")


WRONG = {
    "slow": (slow, "does not answer"),
    "dripping a byte at a time": (dripping, "does not answer"),
    "garbage": (lambda request: request.wfile.write(os.urandom(300) + b"\n\n"), "does not answer"),
    "no JSON": (lambda request: request.send_bytes(b"<html>"), "JSON object: is it a Shelly?"),
    "a list": (lambda request: request.send_json([1]), "JSON object: is it a Shelly?"),
    "too large": (lambda request: request.send_bytes(b"x" * 70_000), "more than 65536 bytes"),
    "too large without a length": (
        lambda request: request.send_bytes(b"x" * 70_000, length=10**12), "more than 65536 bytes",
    ),
    "cut": (lambda request: request.send_bytes(b'{"gen": 2', length=100), "broke off its answer"),
    "an error": (lambda request: request.send_json({}, 500), "status 500"),
    "elsewhere": (
        lambda request: request.send_json({}, 302, Location="http://192.0.2.99/x"), "not followed",
    ),
    "an unknown way of asking": (
        lambda request: request.send_json({}, 401, WWW_Authenticate="Negotiate abc"), "does not know",
    ),
    "a long header": (
        lambda request: request.send_json({}, 200, X="x" * 70_000), "does not answer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_meter_that_answers_wrongly_is_a_reason_within_the_limit(name):
    answer, words = WRONG[name]
    with meter_server(answer) as server:
        server.gone = threading.Event()
        meter = Shelly(MeterHttp(server.url, "admin", "secret-word", limit_s=0.4), INFO, component="switch")
        began = time.monotonic()
        reason = fault(meter)
        assert time.monotonic() - began < 10
        server.gone.set()
    assert words in reason
    assert "secret-word" not in reason


def test_a_meter_that_vanishes_is_a_reason_and_comes_back():
    answers = {**GEN2, "/rpc/Switch.GetStatus?id=0": SWITCH}
    with meter_server(by_path(answers)) as server:
        meter = opened(server.url, component="switch")
        assert meter.read().power_w == 8.9
        port = server.server_address[1]
    assert "does not answer" in fault(meter)
    assert str(port) not in fault(meter)


def test_a_request_that_hangs_ends_when_the_meter_is_closed():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        http = MeterHttp(f"http://127.0.0.1:{silent.getsockname()[1]}", "admin", None, limit_s=60)
        ended: list[str] = []

        def read() -> None:
            try:
                http.get("/shelly")
            except MeterFault as error:
                ended.append(error.reason)

        thread = threading.Thread(target=read)
        thread.start()
        with silent.accept()[0]:
            while thread.is_alive():  # the socket is known a moment after the other end has accepted
                http.close()
                thread.join(0.05)
    assert len(ended) == 1 and "does not answer" in ended[0]


def command(code: str, **more) -> CommandMeter:
    return CommandMeter([sys.executable, "-S", "-c", code], INFO, **more)


def test_a_command_prints_watts_now():
    assert command("print('7.25 W')").read().power_w == 7.25
    assert command("print(); print('7251 mW')").read().power_w == pytest.approx(7.251)
    assert command("print('none')").read().reason == "the command printed 'none', expected a number of W or mW"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print(1); print(2)", "printed 2 lines, expected one"),
        ("pass", "printed 0 lines, expected one"),
        ("print(7); raise SystemExit(3)", "ended with 3"),
        ("print('7' * 100_000)", "prints too much"),
        ("import time; time.sleep(60)", "did not end in time"),
        ("import os; os.fork() or os.system('sleep 60'); print(7)", "did not end in time"),
    ],
)
def test_a_command_that_fails_is_a_reason(code, words):
    assert words in fault(command(code, limit_s=1.0 if "time" in words else 20.0))


def test_a_command_that_is_not_there_is_a_reason_and_no_shell_reads_its_arguments(tmp_path):
    assert "cannot be started" in fault(CommandMeter(["/nowhere/meter"], INFO))
    words = f"$(touch {tmp_path}/made); 7"
    assert command(f"import sys; print(7 if sys.argv[1:] == [] else 8)  # {words}").read().power_w == 7.0
    assert CommandMeter(["printf", "%s", "7.5", "; rm"], INFO).read().reason is not None
    assert not (tmp_path / "made").exists()


def test_a_command_that_goes_on_gives_its_newest_line_and_is_started_anew_when_it_ended():
    code = "import sys, time\nfor n in (1, 2):\n    print(n, 'W', flush=True)\n    time.sleep(0.2)"
    meter = StreamMeter([sys.executable, "-S", "-u", "-c", code], INFO, limit_s=20)
    assert [meter.read().power_w, meter.read().power_w] == [1.0, 2.0]
    assert "ended with 0" in fault(meter)
    assert meter.read().power_w == 1.0
    meter.close()
    meter.close()


def test_a_command_that_goes_on_and_says_nothing_is_a_reason_and_is_ended_with_its_children(tmp_path):
    pids = tmp_path / "pids"
    meter = StreamMeter(["sh", "-c", f"sleep 77 & echo $! >{pids}; echo 5; wait"], INFO, limit_s=2)
    assert meter.read().power_w == 5.0
    silent = StreamMeter(["sleep", "60"], INFO, limit_s=0.1)
    assert "printed nothing" in fault(silent)
    silent.close()
    meter.close()
    child = int(pids.read_text())
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{child}") and time.monotonic() < end:
        with open(f"/proc/{child}/stat") as stat:
            if stat.read().split()[2] == "Z":  # dead, and init has not looked yet
                break
        time.sleep(0.01)
    else:
        assert not os.path.exists(f"/proc/{child}")


def test_what_the_inventory_says_of_a_meter_is_known_of_it():
    meter = open_meter(
        MeterFields.model_validate(
            {"kind": "command", "argv": ["m"], "scope": "board input", "offset_w": 0.01, "gain": 0.005, "period_s": 0.1}
        )
    )
    info = meter.info
    assert (info.scope, info.offset_w, info.gain, info.period_s) == ("board input", 0.01, 0.005, 0.1)
    assert info.accuracy_source == "the inventory"
    plug = opened("http://192.0.2.7").info
    assert plug.offset_w == 1.0 and "assumed" in str(plug.accuracy_source)
    unknown = open_meter(MeterFields.model_validate({"kind": "command", "argv": ["m"]})).info
    assert (unknown.offset_w, unknown.gain, unknown.accuracy_source) == (None, None, None)
