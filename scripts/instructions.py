"""User-space instructions the gateway spends on one short request.

usage: instructions.py GATEWAY UPSTREAM

Runs GATEWAY under callgrind against UPSTREAM twice, with few and with many requests over one
connection. What a request costs is the slope between the two; starting and stopping fall out.
"""

import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BODY = (ROOT / "benches" / "bodies" / "short-plain.json").read_bytes()
FEW, MANY = 200, 1_200


def collected(gateway, upstream_url, requests):
    """Instructions of one run with so many requests."""
    with tempfile.TemporaryDirectory() as folder:
        model = {"name": json.loads(BODY)["model"], "type": "text", "scale": "medium"}
        mock = {"name": "mock", "url": upstream_url, "api_key_env": "", "models": [model]}
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
                    ask(int(listens[1]), requests)
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


def ask(port, requests):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(requests):
        connection.request("POST", "/v1/chat/completions", BODY, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            answer = response.read()
            if response.status != 200:
                sys.exit(f"{response.status}: {answer[:500]}")
    connection.close()


def main():
    gateway, upstream = (str(Path(it).resolve()) for it in sys.argv[1:3])
    server = subprocess.Popen([upstream], stdout=subprocess.PIPE, text=True)
    try:
        began = time.monotonic()
        url = server.stdout.readline().strip()
        few, many = (collected(gateway, url, it) for it in (FEW, MANY))
    finally:
        server.kill()
    each = (many - few) / (MANY - FEW)
    print(
        f"instructions per short request ({len(BODY)} B, keep-alive): {each:,.0f}"
        f"  [start and stop: {(few - FEW * each) / 1e6:.1f} million; {time.monotonic() - began:.0f} s]"
    )


main()
