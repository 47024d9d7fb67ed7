#!/usr/bin/env python3
"""Shows a program that counts its own steps what it will be used for; scripts/dist.sh runs this.

    python3 benches/load/train.py PROGRAM FOLDER

Its counts go to FOLDER: those of a start with one request to start/, all others to use/.
Requests short and long, whole and streamed, one and many at a time; a pool whose every tenth answer
is faulty; the simulated providers; and what people look at. It looks at
nothing that comes back: benches/load/run.py measures, tests/ test.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import stage as stages
from stage import LONG, MEASURED, SHORT, Stage

PAGES = ["/health", "/metrics", "/v1/models", "/v1/status", "/v1/usage", "/v1/quota"]
DEMO_REQUESTS = 60
# How long a start is looked at: what comes by the clock is to be seen.
START_SECONDS = 3


class Training(Stage):
    """Has the gateway write its counts where it is told."""

    counts = None

    def surroundings(self):
        more = super().surroundings()
        more["env"]["LLVM_PROFILE_FILE"] = f"{self.counts}/%m-%p.profraw"
        return more


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder = Path(sys.argv[2]).resolve()
    with Training(sys.argv[1]) as stage:
        stage.counts = folder / "start"
        start(stage)
        stage.counts = folder / "use"
        drives(stage)
        faults(stage)
        demo(stage)
    # Each run of the program leaves a file, if it was not killed for ending too slowly.
    for part, runs in ("start", 1), ("use", 4):
        if len(found := list((folder / part).glob("*.profraw"))) < runs:
            sys.exit(f"{part}: {runs} runs should have told what they did, {len(found)} have")


def start(stage):
    """A gateway that has hardly anything to do."""
    _, base, _ = stage.start_upstream()
    gateway, url = stage.start_gateway(stage.limits([stages.mock_provider(base)]))
    ask(f"{url}/chat/completions", json.loads(SHORT.read_bytes()))
    time.sleep(START_SECONDS)
    stage.forget(gateway)


def drives(stage):
    """What run.py measures."""
    _, base, _ = stage.start_upstream()
    gateway, url = stage.start_gateway(stage.limits([stages.mock_provider(base)]))
    for body in SHORT, LONG:
        for streamed in [], ["--stream"]:
            for connections in 1, 32, 256:
                drive(stage, url, body, "--connections", connections, *streamed)
    pages(url.removesuffix("/v1"))
    stage.forget(gateway)


def drive(stage, url, body, *more):
    load = stage.load("drive", url, "--seconds", 2, *more, body)
    load.stdout.readline()
    stage.forget(load)


def faults(stage):
    """Failover, cut streams that are continued, callers that leave."""
    _, base, _ = stage.start_upstream("--faults", 10)
    pool = [stages.mock_provider(base, f"mock-{number}") | {"api_key_env": "MOCK_APIKEY"}
            for number in range(5)]
    gateway, url = stage.start_gateway(stage.limits(pool))
    load = stage.load("soak", url, "--truth", f"{base}/chat/completions", "--seconds", 10,
                      "--tick", 20, "--rate", 500, "--aborts", 2, SHORT, LONG)
    load.stdout.readline()
    stage.forget(gateway)


def demo(stage):
    """The simulated providers, and what people look at."""
    port = stages.free_port()
    command = [stage.gateway, "--demo", "--port", port]
    gateway = stage.start(command, MEASURED, **stage.surroundings())
    stages.wait_for(port, gateway, 30)
    base = f"http://127.0.0.1:{port}"
    for number in range(DEMO_REQUESTS):
        messages = [{"role": "user", "content": f"Question {number}: what is a queue?"}]
        ask(f"{base}/v1/chat/completions",
            {"model": "meta-model", "messages": messages, "stream": number % 2 == 0})
    pages(base)
    status = [stage.gateway, "status", "--port", str(port)]
    subprocess.run(status, **stage.surroundings(), timeout=60, check=False)
    stage.forget(gateway)


def pages(base):
    for page in PAGES:
        ask(base + page)


def ask(url, body=None):
    """One request, whatever it is answered with."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
    except urllib.error.HTTPError:
        pass


if __name__ == "__main__":
    main()
