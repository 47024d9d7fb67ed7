#!/usr/bin/env python3
"""Measures the gateway beside nginx and a bare axum + hyper-util proxy, all before the same mock.

    python3 benches/load/run.py                      # 5 rounds, about 7 minutes
    python3 benches/load/run.py --rounds 9 --seconds 3
    python3 benches/load/run.py --gateway target/dist/relayfreellm      # what scripts/dist.sh builds
    python3 benches/load/run.py --wrk                # with wrk and a mock that reads what it is sent
    python3 benches/load/run.py --peer other=http://127.0.0.1:3000/v1,PID

Builds what it needs. Wants Linux, Python 3.9, cargo and nginx (installed with apt-get where that is
possible). The measured program has one processor to itself, mock and load share another; each round
takes every target once for each measurement, so that ratios are between neighbours in time. A peer
is a running gateway whose upstream is the mock (--upstream-port) and whose model is the one in
benches/bodies; with its PID its processor time and memory are read too, and it should be pinned to
the first processor.
"""

import argparse
import http.client
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import stage as stages
import table
from stage import LONG, MEASURED, MEASURING, SHORT, Stage

WRK = Path(__file__).with_name("wrk.lua")
# A body that has the mock pause after the first piece of a stream; written when the run begins.
PAUSED = Path("paused.json")
# Name, body, streamed, connections.
MEASUREMENTS = [
    ("short at 1", SHORT, False, 1),
    ("long at 1", LONG, False, 1),
    ("first chunk at 1", PAUSED, True, 1),
    ("short at 32", SHORT, False, 32),
    ("long at 32", LONG, False, 32),
    ("stream at 32", SHORT, True, 32),
]


def main():
    flags = arguments()
    stages.need("nginx", "nginx-light")
    if flags.wrk:
        stages.need("wrk", "wrk")
    load_before = os.getloadavg()[0]
    with Stage(flags.gateway, urgent=flags.urgent) as stage:
        address = f"127.0.0.1:{flags.upstream_port}"
        kind = "--thorough" if flags.wrk else "--awake"
        mock, base, upstream = stage.start_upstream("--addr", address, kind)
        limits = stage.limits([stages.mock_provider(base)])
        targets = {"direct": (None, base)}
        targets["nginx"] = stage.start_nginx(upstream)
        targets["axum"] = stage.start_example("pass", MEASURED, upstream)
        targets["gateway"] = stage.start_gateway(limits)
        targets |= flags.peer
        idle = {name: stages.memory(pid_of(it)) for name, (it, _) in targets.items() if it}
        body = json.loads(SHORT.read_bytes()) | {"user": "pause"}
        (stage.folder / PAUSED).write_text(json.dumps(body))
        runs = rounds(stage, targets, mock.pid, flags)
        result = {
            "machine": machine(load_before),
            "rounds": flags.rounds,
            "seconds": flags.seconds,
            "load": "wrk" if flags.wrk else "load",
            "runs": runs,
            "memory": {"idle": idle} | memories(stage, targets, upstream, limits, flags),
            "cold_start_ms": cold_starts(stage, limits, flags),
            "binary_mib": stage.gateway.stat().st_size / 2**20,
        }
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table.text(result))


def arguments():
    parser = argparse.ArgumentParser(description="Measures the gateway beside nginx and a bare proxy.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each run")
    parser.add_argument("--out", type=Path, help="where all figures go, as JSON")
    parser.add_argument("--gateway", help="a program built already")
    parser.add_argument("--urgent", action="store_true", help="before all other programs of a"
                        " machine that is not quiet; for root")
    parser.add_argument("--wrk", action="store_true", help="load by wrk, but for streams, and a mock"
                        " that reads each request: both sleep, and cost more than nginx does")
    parser.add_argument("--upstream-port", type=int, default=0, help="the mock's, for peers")
    parser.add_argument("--header", action="append", default=[], help="of every request,"
                        " such as 'authorization: Bearer KEY' where a peer wants one")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=URL[,PID]")
    flags = parser.parse_args()
    flags.peer = dict(peer(it) for it in flags.peer)
    return flags


def peer(text):
    name, _, rest = text.partition("=")
    url, _, pid = rest.partition(",")
    if not name or not url.startswith("http://"):
        sys.exit(f"no peer: {text}")
    return name, (int(pid) if pid else None, url.rstrip("/"))


def pid_of(process):
    return getattr(process, "pid", process)


def rounds(stage, targets, mock, flags):
    """All runs, interleaved."""
    for name in targets:
        run(stage, targets[name], mock, MEASUREMENTS[3], flags, 0.5)
    runs = []
    for number in range(flags.rounds):
        for measurement in MEASUREMENTS:
            for name, target in targets.items():
                found = run(stage, target, mock, measurement, flags)
                runs.append({"round": number, "target": name, "what": measurement[0]} | found)
        print(f"round {number + 1} of {flags.rounds} done", file=sys.stderr)
    return runs


def run(stage, target, mock, measurement, flags, seconds=None):
    """One target under one load."""
    process, url = target
    pid = pid_of(process)
    stages.settle(pid or mock)
    ours = [it for it in (pid, mock) if it]
    began, machine_began, ended_before = time.monotonic(), stages.machine_time(), ended_time()
    before = [stages.processor_time(it) for it in ours]
    load, said = drive(stage, url, measurement, flags, seconds or flags.seconds)
    used = [stages.processor_time(it) - had for it, had in zip(ours, before)]
    took, busy = time.monotonic() - began, stages.machine_time() - machine_began
    stage.forget(load)
    others = busy - sum(used) - (ended_time() - ended_before)
    found = json.loads(said)
    if not found.get("requests"):
        sys.exit(f"{url} answered nothing well: {said}")
    found["others"] = max(others, 0) / took
    if pid:
        found["cpu_us"] = used[0] * 1e6 / found["requests"]
    return found


def ended_time():
    """Seconds of processor time of the programs that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def drive(stage, url, measurement, flags, seconds):
    """Runs the load to its end; gives it and what it said."""
    _, body, streamed, connections = measurement
    body = stage.folder / body
    if flags.wrk and not streamed:
        headers = [it for header in flags.header for it in ("-H", header)]
        command = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", *headers, "-s", WRK]
        load = stage.start([*command, f"{url}/chat/completions"], MEASURING,
                           stdout=subprocess.PIPE, env=os.environ | {"BODY": str(body)})
        said = next((it for it in load.stdout if it.startswith("RESULT ")), "RESULT {}")
        return load, said.removeprefix("RESULT ")
    more = [f"--header={it}" for it in flags.header] + (["--stream"] if streamed else [])
    more += [] if flags.wrk else ["--awake"]
    load = stage.load("drive", url, "--connections", connections, "--seconds", seconds, *more, body)
    return load, load.stdout.readline()


def memories(stage, targets, upstream, limits, flags):
    """Resident MiB after 256 connections, from a fresh start."""
    fresh = {
        "nginx": lambda: stage.start_nginx(upstream),
        "axum": lambda: stage.start_example("pass", MEASURED, upstream),
        "gateway": lambda: stage.start_gateway(limits),
    }
    found = {"after the rounds": {}, "after 256": {}, "with the tokenizer": {}}
    for name, (process, _) in targets.items():
        if process:
            found["after the rounds"][name] = stages.memory(pid_of(process))
    for name, start in fresh.items():
        process, url = start()
        load = stage.load("drive", url, "--connections", 256, "--seconds", flags.seconds, SHORT)
        load.stdout.readline()
        stage.forget(load)
        found["after 256"][name] = stages.memory(process.pid)
        if name == "gateway":
            leave_streams(stage, url)
            time.sleep(2)
            stages.settle(process.pid)
            found["with the tokenizer"][name] = stages.memory(process.pid)
        stage.forget(process)
    return found


def leave_streams(stage, url):
    """Has the gateway count tokens itself: nobody else counts those of a stream that was left."""
    body = json.loads((stage.folder / PAUSED).read_bytes()) | {"stream": True}
    for _ in range(10):
        connection = http.client.HTTPConnection(url.split("/")[2], timeout=30)
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        connection.getresponse()
        connection.sock.close()


def cold_starts(stage, limits, flags):
    """Milliseconds from starting the program to the first answer with 200."""
    times = []
    for _ in range(max(flags.rounds, 3)):
        port = stages.free_port()
        command = stage.gateway_command(limits, port)
        began = time.monotonic()
        process = stage.start(command, MEASURED, **stage.surroundings())
        while not answers(port):
            if time.monotonic() - began > 30:
                sys.exit("the gateway does not start")
            time.sleep(0.0005)
        times.append((time.monotonic() - began) * 1000)
        stage.forget(process)
    return times


def answers(port):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/v1/chat/completions", SHORT.read_bytes())
        return connection.getresponse().status == 200
    except OSError:
        return False


def machine(load_before):
    model = next((it.split(":")[1].strip() for it in Path("/proc/cpuinfo").read_text().split("\n")
                  if it.startswith("model name")), platform.machine())
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip()
    return {
        "processor": model, "processors": len(stages.PROCESSORS), "kernel": platform.release(),
        "alone": MEASURED != MEASURING, "nginx": nginx.removeprefix("nginx version: "),
        "load_before": load_before, "load_after": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
