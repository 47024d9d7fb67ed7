"""Simulated providers as a process of their own, each with a real provider's wire."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

from gateway import ROOT

PROVIDERS = Path(
    os.environ.get("RELAYFREELLM_PROVIDERS", ROOT / "target" / "debug" / "examples" / "providers")
)


class Simulated:
    """A running cast: `[{"name", "flavour", "models": [{"name", ...}]}]`; see `examples/providers.rs`."""

    def __init__(self, cast):
        self._process = subprocess.Popen(
            [PROVIDERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._process.stdin.write(json.dumps(cast) + "\n")
        self._process.stdin.flush()
        address = self._process.stdout.readline().strip()
        assert address, f"{PROVIDERS} did not start"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with self._opener.open(address, timeout=5) as response:
            listed = json.load(response)["providers"]
        self.urls = {it["name"]: it["base_url"] for it in listed}

    def close(self):
        # It serves until its input ends.
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
