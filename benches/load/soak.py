#!/usr/bin/env python3
"""Half of what the gateway can carry, for a long time, with faults and callers that leave.

    python3 benches/load/soak.py                     # 30 minutes
    python3 benches/load/soak.py --minutes 2         # the form .ci/run takes

A pool of 20 providers with 50 models each, all of them one mock that gives a faulty answer to every
tenth request: refusals, error statuses, cut and closed connections, slow answers, errors inside
answers. 2 callers in a hundred leave early. Every other answer is compared with the right one, so a
fault that reaches a caller is seen, and so is a piece that is lost where a cut stream is continued.
Fails on a wrong answer, on memory that grows by more than 5 % after the first two minutes, and on
descriptors that do. In a run of under ten minutes the beginning is its first third, and 20 % is
allowed: the windows of 1,000 models fill for two minutes, 128 granules each.
"""

import argparse
import json
import os
import statistics
import sys
import time
import urllib.request
from pathlib import Path

import stage as stages
from stage import LONG, SHORT, Stage

PROVIDERS, MODELS = 20, 50
FAULTS, ABORTS = 10, 2
CONNECTIONS = 64
# How long the top rate is sought.
SEEK = 8
# Of a long run and of a short one.
MOST_GROWTH, MOST_GROWTH_SHORT, LONG_RUN = 1.05, 1.20, 600
# Descriptors come and go with the callers.
SPARE_DESCRIPTORS = 32


def main():
    parser = argparse.ArgumentParser(description="A soak of the gateway.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, help="where all figures go, as JSON")
    parser.add_argument("--gateway", help="a program built already")
    parser.add_argument("--load", choices=["release", "debug"], default="release",
                        help="how mock and load are built")
    flags = parser.parse_args()
    with Stage(flags.gateway, flags.load) as stage:
        top = top_rate(stage)
        print(f"top rate: {top:,.0f} requests a second", flush=True)
        result = soak(stage, top / 2, flags.minutes * 60)
    result["top_rate"] = top
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=1) + "\n")
    faults = judge(result)
    print("\n".join(faults) or "soak: nothing found")
    sys.exit(bool(faults))


def bodies(stage):
    """Requests that name no model, so that any of the pool may answer."""
    for file in SHORT, LONG:
        body = json.loads(file.read_bytes())
        del body["model"]
        copy = stage.folder / file.name
        copy.write_text(json.dumps(body, ensure_ascii=False))
        yield copy


def start(stage, faults):
    """Mock and gateway: both processes, the load's URL and the mock's."""
    mock, base, _ = stage.start_upstream("--faults", faults)
    models = [f"model-{number}" for number in range(MODELS)]
    pool = [stages.mock_provider(base, f"mock-{number}", models) | {"api_key_env": "MOCK_APIKEY"}
            for number in range(PROVIDERS)]
    gateway, url = stage.start_gateway(stage.limits(pool))
    return mock, gateway, url, base


def top_rate(stage):
    """Requests a second that the same mixture reaches without faults."""
    mock, gateway, url, base = start(stage, 0)
    load = stage.load("soak", url, "--truth", f"{base}/chat/completions", "--connections",
                      CONNECTIONS, "--seconds", SEEK, "--tick", SEEK * 2, *bodies(stage))
    said = json.loads(load.stdout.readline())
    if said["bad"]:
        sys.exit(f"wrong answers without faults: {said['why']}")
    for process in load, gateway, mock:
        stage.forget(process)
    return said["good"] / SEEK


def soak(stage, rate, seconds):
    mock, gateway, url, base = start(stage, FAULTS)
    tick = min(10, seconds / 24)
    load = stage.load("soak", url, "--truth", f"{base}/chat/completions", "--connections",
                      CONNECTIONS, "--seconds", seconds, "--tick", tick, "--rate", rate,
                      "--aborts", ABORTS, *bodies(stage))
    ticks = []
    for line in load.stdout:
        said = json.loads(line)
        if gateway.poll() is not None:
            sys.exit(f"the gateway ended by itself: {gateway.returncode}")
        said["mib"] = stages.memory(gateway.pid)
        said["descriptors"] = stages.descriptors(gateway.pid)
        ticks.append(said)
        print(f"{said['at']:6.0f} s: {said['good']} good, {said['bad']} bad, {said['aborted']} left,"
              f" p50 {said['us'][0]:.0f} us, {said['mib']:.1f} MiB,"
              f" {said['descriptors']} descriptors", flush=True)
    with urllib.request.urlopen(base) as answer:
        mocked = json.load(answer)
    stages.settle(gateway.pid)
    at_rest = {"mib": stages.memory(gateway.pid), "descriptors": stages.descriptors(gateway.pid)}
    stages.end(gateway)
    return {"rate": rate, "seconds": seconds, "ticks": ticks, "mock": mocked, "at_rest": at_rest,
            "exit": gateway.returncode, "load_average": os.getloadavg()[0],
            "date": time.strftime("%Y-%m-%d")}


def judge(result):
    """What is wrong, in words."""
    seconds, ticks = result["seconds"], result["ticks"]
    calm, span = min(120, seconds / 3), min(60, seconds / 6)
    most = MOST_GROWTH if seconds >= LONG_RUN else MOST_GROWTH_SHORT
    found = []
    bad = {}
    for tick in ticks:
        for why, count in tick["why"].items():
            bad[why] = bad.get(why, 0) + count
    found += [f"{count} wrong answers: {why}" for why, count in bad.items()]
    for what, spare in ("mib", 0), ("descriptors", SPARE_DESCRIPTORS):
        early = statistics.median(it[what] for it in ticks if calm <= it["at"] <= calm + span)
        late = statistics.median(it[what] for it in ticks if it["at"] >= seconds - span)
        print(f"{what}: {early:.1f} after {calm:.0f} s, {late:.1f} at the end"
              f" ({100 * (late / early - 1):+.1f} %), {result['at_rest'][what]:.1f} at rest")
        if late > early * most + spare:
            found.append(f"{what} grew from {early:.1f} to {late:.1f}")
    good = sum(it["good"] for it in ticks)
    made = sum(result["mock"]["faults"].values())
    print(f"{good:,} right answers at {good / seconds:,.0f} a second,"
          f" {sum(it['aborted'] for it in ticks):,} callers left; the mock was asked"
          f" {result['mock']['requests']:,} times and made {made:,} faults: {result['mock']['faults']}")
    if good / seconds < result["rate"] / 2:
        found.append(f"only {good / seconds:,.0f} right answers a second")
    if result["exit"] != 0:
        found.append(f"the gateway ended with {result['exit']}")
    return found


if __name__ == "__main__":
    main()
