"""A caller that hangs up: the provider sees it within 100 ms."""

import asyncio
import json
import time

import pytest

from test_chat import ASK
from upstream import stall, stream

BEGUN = [{"role": "assistant", "content": "The"}, {"content": " sky"}]


def hung_up(upstream, at):
    seen = upstream.wait(lambda seen: seen and seen[0].gone_at)
    late = seen[0].gone_at - at
    assert late < 0.1, f"{late * 1000:.0f} ms"


def test_a_stream_that_is_closed(client, upstream):
    upstream.always(stall(BEGUN))
    events = client.chat.completions.create(model="m", messages=ASK, stream=True)
    assert next(events).choices[0].delta.content == "The"
    events.close()
    hung_up(upstream, time.monotonic())


def test_a_stream_whose_block_is_left(client, upstream):
    upstream.always(stall(BEGUN))
    with client.chat.completions.create(model="m", messages=ASK, stream=True) as events:
        next(events)
    hung_up(upstream, time.monotonic())


@pytest.mark.parametrize("streamed", [False, True])
def test_an_async_task_that_is_cancelled(gateway, upstream, streamed):
    upstream.always(stall(BEGUN if streamed else ()))

    async def run():
        async with gateway.async_client() as client:

            async def ask():
                got = await client.chat.completions.create(
                    model="m", messages=ASK, stream=streamed
                )
                async for _ in got:
                    pass

            asking = asyncio.create_task(ask())
            while not upstream.arrived:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            return time.monotonic()

    hung_up(upstream, asyncio.run(run()))


def test_what_was_used_until_then_counts_once(client, upstream, gateway):
    upstream.always(stall(BEGUN))
    with client.chat.completions.create(model="m", messages=ASK, stream=True) as events:
        next(events), next(events)
    hung_up(upstream, time.monotonic())
    end = time.monotonic() + 3
    while (total := usage(gateway))["requests"] == 0 and time.monotonic() < end:
        time.sleep(0.02)
    assert total["requests"] == 1
    assert total["completion_tokens"] == 2
    assert total["prompt_tokens"] > 0


def usage(gateway):
    return json.loads(gateway.ask("/v1/usage")[2])["total"]


def test_a_caller_that_stops_at_the_finish_pays_for_the_text(gateway, client, upstream):
    """Many clients do not wait for [DONE]; the provider here sends no usage to go by."""
    upstream.always(stream([{"role": "assistant", "content": "four words of text"}]))
    with client.chat.completions.create(model="m", messages=ASK, stream=True) as events:
        for event in events:
            if event.choices[0].finish_reason:
                break
    deadline = time.monotonic() + 5
    while usage(gateway)["completion_tokens"] != 4:
        assert time.monotonic() < deadline, usage(gateway)
        time.sleep(0.02)
