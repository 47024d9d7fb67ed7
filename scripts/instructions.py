"""User-space instructions the gateway spends on a request, held against benches/instructions.json.

usage: instructions.py GATEWAY UPSTREAM [--write]

Runs GATEWAY under callgrind against UPSTREAM, with few and with many requests over one connection.
What a request costs is the slope between the two; starting and stopping fall out. Fails where a
figure is more than 3 % above the committed one; with --write the figures found are committed.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = ROOT / "benches" / "instructions.json"
TOLERANCE = 1.03
SHORT, LONG = (
    (ROOT / "benches" / "bodies" / f"{it}-plain.json").read_bytes() for it in ("short", "long")
)
MODEL = json.loads(SHORT)["model"]
STREAM = json.dumps(json.loads(SHORT) | {"stream": True}).encode()
# The body, and how many requests few and many are.
RUNS = {"short": (SHORT, 200, 1_200), "long": (LONG, 50, 250), "stream": (STREAM, 20, 70)}
# Events of the upstream's streams: pieces, end, usage and end mark.
EVENTS = 53
# Milliseconds between two of them, so that each is read alone however slow valgrind is.
PACE = 4


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("gateway", type=Path)
    parser.add_argument("upstream", type=Path)
    parser.add_argument("--write", action="store_true")
    flags = parser.parse_args()
    began = time.monotonic()
    command = [flags.upstream.resolve(), "--pace", str(PACE)]
    upstream = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = upstream.stdout.readline().strip()
        each = {name: slope(flags.gateway.resolve(), url, *it) for name, it in RUNS.items()}
    finally:
        upstream.kill()
    found = {
        "short_request": each["short"],
        "long_request": each["long"],
        "body_byte": (each["long"] - each["short"]) / (len(LONG) - len(SHORT)),
        "stream": each["stream"],
        "stream_event": (each["stream"] - each["short"]) / EVENTS,
    }
    found = {name: round(it, 2 if it < 100 else None) for name, it in found.items()}
    if flags.write:
        COMMITTED.write_text(json.dumps(found, indent=2) + "\n")
    worse = compare(found, json.loads(COMMITTED.read_text()))
    print(
        f"instructions per short request ({len(SHORT)} B): {found['short_request']:,}, with 37 KB:"
        f" {found['long_request']:,} ({found['body_byte']:.1f} a byte), per stream:"
        f" {found['stream']:,} ({found['stream_event']:,} an event)"
        f"  [{time.monotonic() - began:.0f} s]"
    )
    sys.exit(worse)


def compare(found, committed):
    """Prints each figure beside the committed one; is any of them too high?"""
    worse = False
    for name, value in found.items():
        ratio = value / committed[name]
        verdict = "" if ratio <= TOLERANCE else "  TOO MANY"
        if ratio < 1 / TOLERANCE:
            verdict = "  fewer: commit it with scripts/instructions.sh --write"
        print(f"{name:>14} {value:>12,} committed {committed[name]:>12,} {ratio - 1:+7.1%}{verdict}")
        worse |= ratio > TOLERANCE
    return worse


def slope(gateway, url, body, few, many):
    """Instructions of one request with this body."""
    return (collected(gateway, url, body, many) - collected(gateway, url, body, few)) / (many - few)


def collected(gateway, url, body, requests):
    """Instructions of one run with so many requests."""
    with tempfile.TemporaryDirectory() as folder:
        model = {"name": MODEL, "type": "text", "scale": "medium"}
        mock = {"name": "mock", "url": url, "api_key_env": "", "models": [model]}
        (Path(folder) / "limits.json").write_text(json.dumps({"providers": [mock]}))
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command += [gateway, "--port", "0", "--limits", "limits.json", "--data-dir", "none"]
        with open(Path(folder) / "stderr", "w+") as errors:
            process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            try:
                banner = process.stdout.readline()
                listens = re.search(r"http://127\.0\.0\.1:(\d+)/", banner)
                if listens:
                    ask(int(listens[1]), body, requests)
                process.terminate()
                process.wait(60)
            finally:
                process.kill()
            errors.seek(0)
            said = errors.read()
        found = re.search(r"Collected : (\d+)", said)
        if not listens or not found:
            sys.exit(f"no measurement:\n{banner}{said}")
        return int(found[1])


def ask(port, body, requests):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(requests):
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            answer = response.read()
            if response.status != 200:
                sys.exit(f"{response.status}: {answer[:500]}")
    connection.close()


main()
