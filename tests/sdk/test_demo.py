"""The demo: simulated providers fail in every way, and answers keep coming."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway import Gateway
from test_chat import ASK, TOOLS

# Not `hang` and `slow`: they cost a time-out, and the wait is all they would add here.
FAULTS = ["500", "503", "401", "429", "garbage", "html", "empty", "error", "reset", "down"]


def text_of(events):
    return "".join(it.choices[0].delta.content or "" for it in events if it.choices)


def test_the_banner_says_where_and_what(demo):
    for part in (f"{demo.url}/v1", "groq", "mistral", "cerebras", "nvidia", demo.sim, "curl"):
        assert part in demo.banner


def test_answers_come_with_one_provider_out_of_quota_one_slow_and_one_flaky(demo):
    with demo.client() as client, ThreadPoolExecutor(8) as pool:
        ask = client.chat.completions.create
        whole = [pool.submit(ask, model="meta-model", messages=ASK) for _ in range(8)]
        streamed = [
            pool.submit(lambda: text_of(ask(model="auto", messages=ASK, stream=True)))
            for _ in range(8)
        ]
        assert all("sky" in it.result().choices[0].message.content for it in whole)
        assert all("sky" in it.result() for it in streamed)
    assert " -> " in demo.log()


def break_all_but_nvidia(kind):
    """Who answers, in a demo of its own, when the others fail in this way."""
    demo = Gateway()
    try:
        for name in ("mistral", "cerebras"):
            demo.simulate(name, kind)
        with demo.client() as client, ThreadPoolExecutor(4) as pool:

            def ask(streamed):
                got = client.chat.completions.with_raw_response.create(
                    model="meta-model", messages=ASK, stream=streamed
                )
                text = (
                    text_of(got.parse())
                    if streamed
                    else got.parse().choices[0].message.content
                )
                return got.headers["x-relay-provider"], "sky" in text

            return set(pool.map(ask, [False, True] * 3))
    finally:
        demo.close()


@pytest.fixture(scope="module")
def broken():
    """All kinds at once, since each spends its time waiting."""
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        yield {kind: pool.submit(break_all_but_nvidia, kind) for kind in FAULTS}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_broken_provider_stays_invisible(broken, kind):
    assert broken[kind].result() == {("nvidia", True)}


def test_a_mended_provider_answers_again(start):
    demo = start()
    with demo.client() as client:
        ask = client.chat.completions.create
        demo.simulate("nvidia", "503")
        got = ask(model="meta-model", messages=ASK)
        assert not got.model.startswith("nvidia/")
        demo.simulate("nvidia")
        model = "nvidia/meta/llama-3.3-70b-instruct"
        assert ask(model=model, messages=ASK).model == model


def test_tools_in_the_demo(demo):
    with demo.client() as client:
        got = client.chat.completions.create(
            model="meta-model", messages=ASK, tools=TOOLS, tool_choice="required"
        )
        (call,) = got.choices[0].message.tool_calls
        assert call.function.name == "weather"
        json.loads(call.function.arguments)
