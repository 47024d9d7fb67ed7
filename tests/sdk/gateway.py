"""The built program as a process of its own."""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import openai

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("RELAYFREELLM_BINARY", ROOT / "target" / "debug" / "relayfreellm"))
IS_RELEASE = BINARY.parent.name == "release"
KEY = "sk-test-key-0123456789"


def provider(name, url, *models, **more):
    """A provider of the limits file. A model is its name, or its whole entry."""
    entry = lambda it: {"name": it, "type": "text", "scale": "medium"}  # noqa: E731
    models = [entry(it) if isinstance(it, str) else it for it in models or ("m",)]
    return {"name": name, "url": url, "models": models, **more}


class Gateway:
    """A running gateway. Files are in a directory of its own, and so is what it keeps."""

    def __init__(
        self, *args, providers=None, settings=None, env=None, keep=None, port=0, wait=True
    ):
        self._dir = tempfile.TemporaryDirectory(prefix="relayfreellm-")
        here = Path(self._dir.name)
        command = [str(BINARY), "--port", str(port)]
        # Nothing of the caller's own environment: it may hold keys, proxies and ports.
        self.env = {"PATH": os.environ["PATH"], "HOME": str(here)}
        if providers is None:
            command.append("--demo")
        else:
            (here / "limits.json").write_text(json.dumps({"providers": providers}))
            command += ["--limits", "limits.json", "--data-dir", str(keep or "none")]
            self.env |= {f"{it['name'].upper()}_APIKEY": KEY for it in providers}
        if settings is not None:
            (here / "settings.json").write_text(json.dumps(settings))
            command += ["--settings", "settings.json"]
        self.env |= env or {}
        self._errors = open(here / "stderr", "w+")
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [*command, *map(str, args)],
            cwd=here,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.banner = ""
        self.port = self.sim = None
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_banner, daemon=True)
        self._reader.start()
        if wait:
            self._ready.wait(10)
            assert self.port, f"it did not start:\n{self.banner}\n{self.log()}"

    def _read_banner(self):
        for line in self.process.stdout:
            self.banner += line
            if found := re.match(r"RelayFreeLLM listens on http://127\.0\.0\.1:(\d+)/v1", line):
                self.port = int(found[1])
            if found := re.search(r"simulated, on (http://127\.0\.0\.1:\d+)", line):
                self.sim = found[1]
            # The banner ends with a blank line after its last paragraph.
            if self.port and not line.strip() and ("--demo" not in self.process.args or self.sim):
                self._ready.set()
        self._ready.set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options):
        return openai.OpenAI(**self._options(options))

    def async_client(self, **options):
        return openai.AsyncOpenAI(**self._options(options))

    def _options(self, options):
        usual = {"api_key": "any", "max_retries": 0, "timeout": 20}
        return {"base_url": f"{self.url}/v1", **usual, **options}

    def ask(self, path, body=None, method=None, **headers):
        """Status, headers and body of a plain HTTP call."""
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=20) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.headers, refusal.read()

    def simulate(self, name, kind=None):
        """Breaks a demo's provider, or mends it."""
        action = f"fault?kind={kind}" if kind else "mend"
        request = urllib.request.Request(f"{self.sim}/{name}/{action}", b"", method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=5) as response:
            assert response.status == 200

    def log(self):
        self._errors.flush()
        return Path(self._errors.name).read_text()

    def resident_kib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=10):
        return self.process.wait(seconds)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def close(self):
        if self.process.poll() is None:
            self.kill()
        self._reader.join(5)
        self.process.stdout.close()
        self._errors.close()
        self._dir.cleanup()
