"""The program as a process: how it starts, refuses to start, and stops."""

import json
import socket
import statistics
import threading
import time

import pytest

from gateway import BINARY, IS_RELEASE, Gateway, provider
from test_chat import ASK
from upstream import stream

WORDS = [{"content": f"w{n} "} for n in range(20)]


def usage(gateway):
    return json.loads(gateway.ask("/v1/usage")[2])["total"]


def refused(gateway):
    """Its exit code and what it says."""
    code = gateway.wait()
    return code, gateway.log()


def test_sigterm_lets_a_running_stream_finish(gateway, upstream):
    upstream.always(stream(WORDS, pause=0.05))
    with gateway.client() as client:
        events = client.chat.completions.create(model="m", messages=ASK, stream=True)
        next(events)
        gateway.terminate()
        time.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", gateway.port), 1)
        text = "".join(it.choices[0].delta.content or "" for it in events)
    assert text.endswith("w19 ")
    assert gateway.wait(5) == 0


def test_a_signal_right_after_the_start_is_an_orderly_stop(upstream):
    for _ in range(10):
        gateway = Gateway(providers=[provider("solo", upstream.url())], wait=False)
        try:
            while not gateway.port:
                time.sleep(0.0002)
            gateway.terminate()
            assert gateway.wait(5) == 0
        finally:
            gateway.close()


def test_an_idle_gateway_stops_at_once(gateway):
    with gateway.client() as client:
        client.models.list()
        gateway.terminate()
        began = time.monotonic()
        assert gateway.wait(5) == 0
        assert time.monotonic() - began < 1


def test_a_broken_configuration_is_refused_with_every_fault(start):
    faulty = provider("solo", "not a url", "m", "m")
    faulty["models"][0]["limits"] = {"requests_per_minute": -5}
    faulty["colour"] = "blue"
    settings = {"routing": {"max_retries": "many"}, "htpp": {}}
    gateway = start(
        providers=[faulty],
        settings=settings,
        env={"PROVIDER_STRATEGY": "dice", "SOLO_APIKEY": "two words"},
        wait=False,
    )
    code, said = refused(gateway)
    assert code == 2
    for part in (
        "limits.json",
        "url",
        "requests_per_minute",
        "-5",
        "colour",
        "settings.json",
        "max_retries",
        "htpp",
        "PROVIDER_STRATEGY",
        "dice",
        "SOLO_APIKEY",
    ):
        assert part in said, f"{part} is not in\n{said}"
    assert "two words" not in said


def test_a_port_that_is_taken_is_named(start, upstream):
    gateway = start(
        port=upstream.port, providers=[provider("solo", upstream.url())], wait=False
    )
    code, said = refused(gateway)
    assert code not in (0, None)
    assert str(upstream.port) in said and "--port" in said


def test_without_a_usable_provider_it_says_what_to_do(start, upstream):
    gateway = start(
        providers=[provider("solo", upstream.url())], env={"SOLO_APIKEY": ""}, wait=False
    )
    code, said = refused(gateway)
    assert code == 2
    for part in ("solo", "SOLO_APIKEY", "--demo"):
        assert part in said, said


def test_another_address_wants_a_key(start):
    code, said = refused(start("--host", "0.0.0.0", wait=False))
    assert code == 2
    assert "RELAY_API_KEY" in said and "--insecure" in said


def test_what_was_used_survives_a_kill(start, upstream, tmp_path):
    model = {"name": "m", "type": "text", "scale": "small", "limits": {"requests_per_day": 3}}
    providers = [provider("solo", upstream.url(), model)]
    keep = tmp_path / "data"
    first = start(providers=providers, keep=keep)
    with first.client() as client:
        for _ in range(3):
            client.chat.completions.create(model="m", messages=ASK)
    before = usage(first)
    time.sleep(1.1)
    first.kill()
    assert keep.stat().st_mode & 0o777 == 0o700
    kept = b"".join(it.read_bytes() for it in keep.rglob("*") if it.is_file())
    assert first.env["SOLO_APIKEY"].encode() not in kept

    second = start(providers=providers, keep=keep)
    assert usage(second) == before
    status, headers, _ = second.ask("/v1/chat/completions", {"model": "m", "messages": ASK})
    assert status == 429
    assert int(headers["Retry-After"]) > 60
    assert len(upstream.arrived) == 3


def test_what_was_used_survives_an_orderly_stop(start, upstream, tmp_path):
    providers = [provider("solo", upstream.url())]
    first = start(providers=providers, keep=tmp_path / "data")
    with first.client() as client:
        client.chat.completions.create(model="m", messages=ASK)
    before = usage(first)
    first.terminate()
    assert first.wait(5) == 0
    assert usage(start(providers=providers, keep=tmp_path / "data")) == before


def test_two_processes_do_not_share_a_data_directory(start, upstream, tmp_path):
    providers = [provider("solo", upstream.url())]
    first = start(providers=providers, keep=tmp_path / "data")
    code, said = refused(start(providers=providers, keep=tmp_path / "data", wait=False))
    assert code not in (0, None)
    assert str(tmp_path / "data") in said
    assert first.ask("/health")[0] == 200


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def cold_start_ms(port):
    """From the start of the process to the first 200, in milliseconds."""
    gateway = Gateway(port=port, wait=False)
    try:
        ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        while time.monotonic() - gateway.started_at < 10:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as it:
                    it.sendall(ask)
                    if it.recv(64).startswith(b"HTTP/1.1 200"):
                        return (time.monotonic() - gateway.started_at) * 1000
            except OSError:
                time.sleep(0.0005)
        raise AssertionError(gateway.log())
    finally:
        gateway.close()


def test_cold_start_and_idle_memory(start, report):
    starts = sorted(cold_start_ms(free_port()) for _ in range(5))
    middle = statistics.median(starts)
    gateway = start()
    gateway.ask("/health")
    time.sleep(0.3)
    mib = gateway.resident_kib() / 1024
    kind = "release" if IS_RELEASE else "debug"
    report(f"cold start to the first 200: {middle:.0f} ms (median of 5); idle: {mib:.1f} MiB ({kind})")
    # The bars are 50 ms and 15 MiB for a release build on a machine with nothing else to do.
    assert middle < 1_000
    assert mib < (25 if IS_RELEASE else 60), BINARY


def test_many_callers_at_once_never_overdraw_a_limit(start, upstream):
    model = {"name": "m", "type": "text", "scale": "small", "limits": {"requests_per_minute": 30}}
    gateway = start(
        providers=[provider("solo", upstream.url(), model)],
        settings={"routing": {"max_quota_wait_seconds": 0}},
    )
    seen = []

    def call():
        status, headers, _ = gateway.ask("/v1/chat/completions", {"model": "m", "messages": ASK})
        seen.append((status, headers["Retry-After"]))

    threads = [threading.Thread(target=call) for _ in range(100)]
    for it in threads:
        it.start()
    for it in threads:
        it.join()
    assert len(upstream.arrived) == 30
    assert sorted(status for status, _ in seen) == [200] * 30 + [429] * 70
    # A unit is kept a quarter of a second longer than the provider keeps it.
    assert all(1 <= int(after) <= 61 for status, after in seen if status == 429)
