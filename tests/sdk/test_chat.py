"""Whole answers and streams as the official client sees them."""

import asyncio
import json

import pytest

from gateway import KEY, provider
from upstream import TEXT, USAGE, answer, chunk, stream

ASK = [{"role": "user", "content": "Why is the sky blue?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather at a place",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        },
    }
]
CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"place":"Oslo"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": '{"place":"Rome"}'}},
]


def test_a_whole_answer(client):
    got = client.chat.completions.create(model="meta-model", messages=ASK)
    assert got.choices[0].message.content == TEXT
    assert got.choices[0].message.role == "assistant"
    assert got.choices[0].finish_reason == "stop"
    assert got.object == "chat.completion"
    assert got.id.startswith("chatcmpl-")
    assert got.model in ("solo/m", "solo/maker/m")
    assert got.usage.to_dict() == USAGE


def test_the_upstream_gets_the_request_with_its_own_model_and_key(client, upstream):
    client.chat.completions.create(model="solo/maker/m", messages=ASK, temperature=0.5, seed=7)
    (seen,) = upstream.arrived
    assert seen.key == KEY
    assert seen.path == "/solo/v1/chat/completions"
    body = {"model": "maker/m", "messages": ASK, "temperature": 0.5, "seed": 7}
    assert seen.body == body
    assert "any" not in str(seen.headers)


def test_a_stream(client):
    chunks = list(client.chat.completions.create(model="solo/m", messages=ASK, stream=True))
    assert "".join(it.choices[0].delta.content or "" for it in chunks) == TEXT
    assert {it.id for it in chunks} == {chunks[0].id}
    assert {it.created for it in chunks} == {chunks[0].created}
    assert {it.model for it in chunks} == {"solo/m"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [it.choices[0].delta.role for it in chunks[1:]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert not any(it.usage for it in chunks)


def test_a_stream_with_usage(client):
    asked = {"include_usage": True}
    events = client.chat.completions.create(
        model="solo/m", messages=ASK, stream=True, stream_options=asked
    )
    *chunks, last = list(events)
    assert last.choices == []
    assert last.usage.to_dict() == USAGE
    assert not any(it.usage for it in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_usage_is_counted_when_the_provider_sends_none(client, upstream, gateway):
    upstream.always(stream([{"role": "assistant", "content": "four words of text"}]))
    asked = {"include_usage": True}
    events = client.chat.completions.create(
        model="solo/m", messages=ASK, stream=True, stream_options=asked
    )
    last = list(events)[-1]
    assert last.usage.completion_tokens == 4
    _, _, usage = gateway.ask("/v1/usage")
    total = json.loads(usage)["total"]
    assert (total["requests"], total["completion_tokens"]) == (1, 4)
    assert total["estimated_requests"] == 1


def test_tools(client, upstream):
    message = {"role": "assistant", "content": None, "tool_calls": CALLS}
    upstream.always(answer(message=message, finish="tool_calls"))
    got = client.chat.completions.create(model="meta-model", messages=ASK, tools=TOOLS)
    assert got.choices[0].finish_reason == "tool_calls"
    assert [it.to_dict() for it in got.choices[0].message.tool_calls] == CALLS
    assert upstream.arrived[0].body["tools"] == TOOLS

    results = [{"role": "tool", "tool_call_id": it["id"], "content": "rain"} for it in CALLS]
    upstream.always(answer("Rain in both."))
    conversation = [*ASK, got.choices[0].message, *results]
    got = client.chat.completions.create(model="meta-model", messages=conversation, tools=TOOLS)
    assert got.choices[0].message.content == "Rain in both."
    assert [it["role"] for it in upstream.arrived[1].body["messages"]] == [
        "user",
        "assistant",
        "tool",
        "tool",
    ]


def test_tools_streamed(client, upstream):
    def piece(index, arguments, **head):
        function = {"arguments": arguments, **({"name": "weather"} if head else {})}
        return {"tool_calls": [{"index": index, "function": function, **head}]}

    deltas = [
        {"role": "assistant", "content": None, **piece(0, "", id="call_1", type="function")},
        piece(0, '{"pla'),
        piece(0, 'ce":"Oslo"}'),
        piece(1, '{"place"', id="call_2", type="function"),
        piece(1, ':"Rome"}'),
    ]
    upstream.always(stream(deltas, finish="tool_calls"))
    events = client.chat.completions.create(
        model="meta-model", messages=ASK, tools=TOOLS, stream=True
    )
    calls, finish = {}, None
    for it in events:
        finish = it.choices[0].finish_reason or finish
        for part in it.choices[0].delta.tool_calls or []:
            call = calls.setdefault(part.index, {"id": part.id, "name": "", "arguments": ""})
            call["name"] += part.function.name or ""
            call["arguments"] += part.function.arguments or ""
    assert finish == "tool_calls"
    assert list(calls.values()) == [
        {"id": "call_1", "name": "weather", "arguments": '{"place":"Oslo"}'},
        {"id": "call_2", "name": "weather", "arguments": '{"place":"Rome"}'},
    ]


def test_the_clients_own_stream_helper_puts_tool_calls_together(client, upstream):
    call = {**CALLS[0], "index": 0}
    upstream.always(stream([{"role": "assistant", "tool_calls": [call]}], finish="tool_calls"))
    with client.chat.completions.stream(model="m", messages=ASK, tools=TOOLS) as events:
        got = events.get_final_completion()
    assert got.choices[0].message.tool_calls[0].function.arguments == '{"place":"Oslo"}'
    assert got.choices[0].finish_reason == "tool_calls"


def test_headers_of_a_raw_response(client):
    ask = client.chat.completions.with_raw_response.create
    got = ask(model="auto", messages=ASK, extra_headers={"X-Request-Id": "my-id-1"})
    assert got.status_code == 200
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-relay-provider"] == "solo"
    assert got.headers["x-relay-model"] in ("m", "maker/m")
    assert got.headers["x-relay-requested-model"] == "auto"
    assert got.headers["x-relay-route-reason"] == "meta"
    assert got.headers["x-relay-attempts"] == "1"
    assert got.request_id == "my-id-1"
    assert got.parse().choices[0].message.content == TEXT


def test_a_request_id_is_made_where_none_is_given(client):
    first, second = (
        client.chat.completions.create(model="m", messages=ASK)._request_id for _ in range(2)
    )
    assert first and second and first != second


def test_a_streaming_response(client):
    ask = client.chat.completions.with_streaming_response.create
    with ask(model="solo/m", messages=ASK, stream=True) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-relay-route-reason"] == "direct"
        lines = [it for it in response.iter_lines() if it]
    assert all(it.startswith("data: ") for it in lines)
    assert lines[-1] == "data: [DONE]"


def test_members_nobody_knows_pass_both_ways(client, upstream):
    unknown = {"x_list": [1, 2.5, None, {"deep": ["é", "\u0000", "𝄞"]}], "x_flag": False}
    upstream.always(answer(x_provider={"cost": 0.25, "tier": "free"}))
    got = client.chat.completions.create(model="m", messages=ASK, extra_body=unknown)
    seen = upstream.arrived[0].body
    assert {name: seen[name] for name in unknown} == unknown
    assert got.x_provider == {"cost": 0.25, "tier": "free"}


@pytest.mark.parametrize(
    "member",
    [
        '"x_number":1.0e5',
        '"x_big":123456789012345678901234567890',
        '"x_text":"\\u00e9\\/ \\ud834\\udd1e"',
        '"x_deep":{ "b":[ 1,2 ,3],\t"a":-0.0}',
    ],
)
def test_they_pass_byte_for_byte(gateway, upstream, member):
    body = '{"model":"m","messages":[{"role":"user","content":"hi"}],' + member + "}"
    status, _, _ = gateway.ask("/v1/chat/completions", body.encode())
    assert status == 200
    name, value = member.split(":", 1)
    raw = upstream.arrived[0].raw.decode()
    assert f'{name}:{value}' in raw, raw


def test_an_answers_members_keep_their_bytes(gateway, upstream):
    usage = '{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2, "x_cost":1.10}'

    def act(exchange):
        body = (
            '{"id":"u","object":"chat.completion","created":1,"model":"m","x_big":12345678901234567890123,'
            '"choices":[{"index":0,"message":{"role":"assistant","content":"caf\\u00e9",'
            '"reasoning_content":"why \\/ not"},"finish_reason":"stop","logprobs":{"content":[ ]}}],'
            f'"usage":{usage}}}'
        ).encode()
        exchange.handler.send_response(200)
        exchange.handler.send_header("Content-Length", str(len(body)))
        exchange.handler.end_headers()
        exchange.handler.wfile.write(body)

    upstream.always(act)
    _, _, raw = gateway.ask("/v1/chat/completions", {"messages": ASK})
    for part in (
        '"x_big":12345678901234567890123',
        '"content":"caf\\u00e9"',
        '"reasoning_content":"why \\/ not"',
        '"logprobs":{"content":[ ]}',
        usage,
    ):
        assert part in raw.decode(), part


def test_a_leading_filler_is_taken_out_whole_and_streamed(client, upstream):
    upstream.script(answer("Certainly! Blue light scatters most."))
    got = client.chat.completions.create(model="m", messages=ASK)
    assert got.choices[0].message.content == "Blue light scatters most."
    upstream.script(stream([{"content": it} for it in ("Cert", "ainly", "! ", "Blue", " light.")]))
    events = client.chat.completions.create(model="m", messages=ASK, stream=True)
    text = "".join(it.choices[0].delta.content or "" for it in events)
    assert text == "Blue light."


def test_the_async_client(gateway):
    async def both():
        async with gateway.async_client() as client:
            ask = client.chat.completions.create
            many = (ask(model="m", messages=ASK) for _ in range(20))
            answers = await asyncio.gather(*many)
            text = ""
            async for it in await ask(model="m", messages=ASK, stream=True):
                text += it.choices[0].delta.content or ""
            return answers, text

    answers, text = asyncio.run(both())
    assert [it.choices[0].message.content for it in answers] == [TEXT] * 20
    assert text == TEXT


def test_a_session_stays_where_it_is(start, upstream):
    gateway = start(providers=[provider(it, upstream.url(it)) for it in ("alpha", "beta", "gamma")])
    with gateway.client() as client:
        ask = client.chat.completions.with_raw_response.create

        def homes(times, **headers):
            got = [ask(model="meta-model", messages=ASK, extra_headers=headers) for _ in range(times)]
            return [(it.headers["x-relay-provider"], it.headers["x-relay-route-reason"]) for it in got]

        assert {home for home, _ in homes(6)} == {"alpha", "beta", "gamma"}
        (home, reason), *rest = homes(6, **{"X-Session-ID": "s-1"})
        assert reason == "meta"
        assert rest == [(home, "affinity")] * 5


def test_a_session_moves_when_its_home_fails_and_stays_there(start, upstream):
    gateway = start(providers=[provider(it, upstream.url(it)) for it in ("alpha", "beta")])
    with gateway.client() as client:

        def ask():
            got = client.chat.completions.with_raw_response.create(
                model="meta-model", messages=ASK, extra_headers={"X-Session-ID": "s-2"}
            )
            return got.headers["x-relay-provider"], got.headers["x-relay-route-reason"]

        home, _ = ask()
        other = {"alpha": "beta", "beta": "alpha"}[home]
        upstream.always(lambda it: it.whole(429, {"error": {"message": "slow down"}}), home)
        assert ask() == (other, "failover")
        assert ask() == (other, "affinity")


def test_chunks_without_text_keep_what_they_carry(client, upstream):
    def act(exchange):
        exchange.open_stream()
        exchange.event(chunk({"role": "assistant", "reasoning_content": "Hm."}))
        exchange.event(chunk({"content": "Yes."}, x_trace="t1"))
        exchange.event(chunk({}, "stop", x_provider={"region": "eu"}))
        exchange.raw_event("[DONE]")

    upstream.always(act)
    chunks = list(client.chat.completions.create(model="m", messages=ASK, stream=True))
    assert chunks[0].choices[0].delta.reasoning_content == "Hm."
    assert any(getattr(it, "x_trace", None) == "t1" for it in chunks)
    assert any(getattr(it, "x_provider", None) == {"region": "eu"} for it in chunks)
