"""The files of `examples/clients`, each run against a demo as its reader would run it."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway import ROOT
from nodejs import run_node

EXAMPLES = ROOT / "examples" / "clients"
# What each has to print besides.
PRINTS = {
    "python_openai.py": [
        "--- whole",
        "answered by ",
        "--- streamed",
        " tokens by ",
        "--- session",
        "And another one? was answered by ",
        "--- tools",
        "it calls weather({'place': ",
        "celsius",
    ],
    "node_openai.mjs": ["--- whole", "answered by ", "--- streamed", " tokens by "],
    "langchain_chat.py": ["--- invoke", "answered by ", "--- stream"],
    "curl.sh": ["--- whole", '"usage":', "--- streamed", "data: [DONE]", "--- session", '"meta-model"'],
}


def run(name, env, folder):
    script = EXAMPLES / name
    if script.suffix == ".mjs":
        return run_node(script, folder, env)
    command = [sys.executable, "-B", script] if script.suffix == ".py" else [script]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **env}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def runs(demo, tmp_path_factory):
    """All at once, since each spends its time waiting. The slow provider is left out: ten seconds
    are all it would add."""
    demo.simulate("mistral", "down")
    env = {"OPENAI_BASE_URL": f"{demo.url}/v1"}
    with ThreadPoolExecutor(len(PRINTS)) as pool:
        yield {
            name: pool.submit(run, name, env, tmp_path_factory.mktemp("example"))
            for name in PRINTS
        }


def test_no_example_is_left_out():
    assert {it.name for it in EXAMPLES.iterdir()} == {*PRINTS, "README.md"}


@pytest.mark.parametrize("name", PRINTS)
def test_an_example(runs, name):
    if name == "curl.sh" and not shutil.which("curl"):
        pytest.skip("curl is missing")
    ran = runs[name].result()
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    for part in (*PRINTS[name], "sky", "sea"):
        assert part in ran.stdout, f"{part} is not in\n{ran.stdout}"
