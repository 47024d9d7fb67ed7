"""The official client for Node. The cases are in `node/openai.test.mjs`; Node runs them once."""

import re
from pathlib import Path

import pytest

from gateway import Gateway, provider
from nodejs import run_node
from test_cancel import BEGUN
from test_chat import CALLS
from test_errors import NO_PATIENCE
from upstream import Upstream, answer, refuse, stall

SCRIPT = Path(__file__).parent / "node" / "openai.test.mjs"
CASES = re.findall(r'^test\("(.+)",', SCRIPT.read_text(), re.MULTILINE)
KEY = "master-key-1"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What Node says of each case, and all it said."""
    upstream = Upstream()
    message = {"role": "assistant", "content": None, "tool_calls": CALLS[:1]}
    upstream.always(answer(message=message, finish="tool_calls"), "tooled")
    upstream.always(refuse(429, [("Retry-After", "7")]), "busy")
    upstream.always(stall(BEGUN), "stuck")
    names = ("fine", "tooled", "busy", "stuck")
    gateway = Gateway(
        providers=[provider(it, upstream.url(it)) for it in names],
        settings=NO_PATIENCE,
        env={"RELAY_API_KEY": KEY},
    )
    try:
        env = {"GATEWAY_URL": gateway.url, "GATEWAY_KEY": KEY}
        ran = run_node(SCRIPT, tmp_path_factory.mktemp("node"), env, "--test-reporter=tap")
    finally:
        gateway.close()
        upstream.close()
    found = re.findall(r"^(ok|not ok) \d+ - (.+)$", ran.stdout, re.MULTILINE)
    return {name: state for state, name in found}, ran.stdout + ran.stderr


def test_every_case_is_known_here(outcome):
    assert list(outcome[0]) == CASES, outcome[1]


@pytest.mark.parametrize("case", CASES)
def test_the_client_for_node(outcome, case):
    states, said = outcome
    assert states.get(case) == "ok", said
