"""What is measured and what measures it: built, started, pinned, looked at, ended."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BODIES = ROOT / "benches" / "bodies"
SHORT, LONG = BODIES / "short-plain.json", BODIES / "long-plain.json"
MODEL = json.loads(SHORT.read_bytes())["model"]
# Limits as a free tier has them, so high that none is reached.
LIMITS = {
    f"{unit}_per_{period}": 10**12 for unit in ("requests", "tokens") for period in ("minute", "day")
}
TICKS = os.sysconf("SC_CLK_TCK")

PROCESSORS = sorted(os.sched_getaffinity(0))
# The measured program alone on one processor, mock and load on another.
MEASURED, MEASURING = PROCESSORS[0], PROCESSORS[-1]


def need(program, package):
    """Makes sure of a program, if need be with Debian's package."""
    if not shutil.which(program) and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {package}", file=sys.stderr)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        if subprocess.run(install, **quiet).returncode != 0:
            subprocess.run(["apt-get", "update", "-qq"], **quiet)
            subprocess.run(install, **quiet)
    if not shutil.which(program):
        sys.exit(f"{program} is missing: install it (Debian: apt-get install {package})")


def build(profile="release", gateway=True):
    """Builds the gateway in release, and what measures it in `profile`; gives the latter's folder."""
    need("cargo", "cargo (or see https://rustup.rs)")
    cargo = ["cargo", "build", "--locked", "--manifest-path", ROOT / "Cargo.toml"]
    if gateway:
        subprocess.run([*cargo, "--release", "--bin", "relayfreellm"], check=True)
    release = ["--release"] if profile == "release" else []
    examples = ["--example", "upstream", "--example", "pass", "--example", "load"]
    subprocess.run([*cargo, *release, *examples], check=True)
    return target() / profile / "examples"


def target():
    """Where cargo builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()


class Stage:
    """A folder for files and the programs that were started; all ended and removed at the end."""

    def __init__(self, gateway=None, profile="release", urgent=False):
        self.programs = build(profile, gateway is None)
        self.gateway = Path(gateway).resolve() if gateway else target() / "release" / "relayfreellm"
        self.folder = Path(tempfile.mkdtemp(prefix="relayfreellm-load-"))
        self.running = []
        self.urgent = urgent

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            end(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, command, processor, **more):
        """Starts a program on a processor of its own."""
        more = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True} | more

        def place():
            os.sched_setaffinity(0, {processor})
            if self.urgent:
                # Being nice counts only within a session, where sessions are scheduled as groups.
                os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

        process = subprocess.Popen([str(it) for it in command], preexec_fn=place, **more)
        self.running.append(process)
        return process

    def start_example(self, name, processor, *arguments):
        """Starts one of the repository's examples, which say where they listen."""
        command = [self.programs / name, *arguments]
        process = self.start(command, processor, stdout=subprocess.PIPE)
        url = process.stdout.readline().strip()
        if not url:
            sys.exit(f"{name} did not start")
        return process, url

    def start_upstream(self, *arguments):
        """The mock: its process, its base URL and where it listens."""
        process, url = self.start_example("upstream", MEASURING, *arguments)
        return process, url, url.split("/")[2]

    def start_nginx(self, upstream):
        """nginx as a plain proxy with one worker."""
        port, folder = free_port(), self.folder
        file = folder / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
        process = self.start(["nginx", "-p", folder, "-c", file], MEASURED)
        url = f"http://127.0.0.1:{port}/v1"
        wait_for(port, process)
        return process, url

    def limits(self, providers):
        """Writes a limits file."""
        file = self.folder / "limits.json"
        file.write_text(json.dumps({"providers": providers}))
        return file

    def gateway_command(self, limits, port):
        """The gateway as a user would start it, with the built-in settings."""
        data = Path(tempfile.mkdtemp(dir=self.folder))
        return [self.gateway, "--port", port, "--limits", limits, "--data-dir", data]

    def start_gateway(self, limits):
        """The gateway with the default settings, everything on, its log at info and thrown away."""
        port = free_port()
        process = self.start(self.gateway_command(limits, port), MEASURED, **self.surroundings())
        wait_for(port, process)
        return process, f"http://127.0.0.1:{port}/v1"

    def surroundings(self):
        """The gateway's folder, variables and output."""
        variables = {"PATH": os.environ["PATH"], "MOCK_APIKEY": "key-of-the-mock"}
        return {"cwd": self.folder, "env": variables, "stdout": subprocess.DEVNULL}

    def load(self, mode, url, *arguments, **more):
        """The command of the load program."""
        command = [self.programs / "load", mode, f"{url}/chat/completions", *arguments]
        return self.start(command, MEASURING, stdout=subprocess.PIPE, **more)

    def forget(self, process):
        """Ends a program before the others."""
        end(process)
        self.running.remove(process)


NGINX = """
worker_processes 1;
daemon off;
error_log {folder}/nginx.log crit;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 128k;
    keepalive_requests 1000000000;
    upstream mock {{
        server {upstream};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


def mock_provider(url, name="mock", models=(MODEL,), **more):
    """A provider of a limits file, with limits that are kept count of."""
    model = {"type": "text", "scale": "medium", "limits": LIMITS, "max_context_length": 131072} | more
    return {"name": name, "url": url, "models": [{"name": it} | model for it in models]}


def free_port():
    """A port nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process, seconds=10):
    """Until somebody listens there."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    sys.exit(f"{process.args[0]} does not listen")


def end(process):
    """Ends a program that was started here."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tree(pid):
    """A process and all that descend from it."""
    children = {}
    for folder in os.listdir("/proc"):
        if folder.isdigit():
            try:
                fields = Path(f"/proc/{folder}/stat").read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(folder))
            except OSError:
                pass
    found, unseen = [], [pid]
    while unseen:
        found.append(unseen.pop())
        unseen += children.get(found[-1], [])
    return found


def processor_time(pid):
    """Seconds of processor time that a tree of processes has used."""
    nanos = 0
    for process in tree(pid):
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                nanos += int(Path(f"/proc/{process}/task/{thread}/schedstat").read_text().split()[0])
        except OSError:
            pass
    return nanos / 1e9


def machine_time():
    """Seconds of processor time that the machine was not idle."""
    fields = [int(it) for it in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def memory(pid):
    """Resident MiB of a tree of processes."""
    kib = 0
    for process in tree(pid):
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
            kib += int(re.search(r"^Rss:\s+(\d+)", text, re.M)[1])
        except (OSError, TypeError):
            pass
    return kib / 1024


def descriptors(pid):
    """Open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def settle(pid):
    """Waits, 15 s at most, until a program has nothing left to do."""
    for _ in range(75):
        before = processor_time(pid)
        time.sleep(0.2)
        if processor_time(pid) - before < 0.004:
            return
