"""An agent's loop that changes provider on every turn says what it says on one provider."""

import json

import pytest

from assembled import ask
from dialects import DIALECTS, staged
from gateway import Gateway

TURNS = 10
# Their history has parallel calls, which models that make one call at a time can't be shown.
PROVIDERS = [it for it in DIALECTS if it.stage == 0]
FIRST = PROVIDERS[0]


def tool(name, **properties):
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


STRING = {"type": "string"}
TOOLS = [
    tool("capital", country=STRING),
    tool("weather", city=STRING, unit={"type": "string", "enum": ["celsius", "fahrenheit"]}),
    tool(
        "book",
        trip={
            "type": "object",
            "properties": {
                "stops": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"city": STRING, "nights": {"type": "integer"}},
                        "required": ["city", "nights"],
                        "additionalProperties": False,
                    },
                },
                "flexible": {"type": "boolean"},
            },
            "required": ["stops", "flexible"],
            "additionalProperties": False,
        },
    ),
]
RESULTS = {
    "capital": lambda it: f"capital of {it['country']}",
    "weather": lambda it: f"rain at {it['city']}",
    "book": lambda it: f"ticket for {it['trip']['stops'][0]['city']}",
}
SUMMARY = {
    "type": "json_schema",
    "json_schema": {
        "name": "summary",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"outcome": STRING, "sure": {"type": "boolean"}},
            "required": ["outcome", "sure"],
            "additionalProperties": False,
        },
    },
}
TASKS = [
    "Plan a trip. Steps: capital(Norway); weather(*); book(*)",
    "Compare two. Steps: weather(Paris) + weather(Rome); book(*)",
    "One more. Steps: capital(Italy); weather(*)",
]


def stop(city):
    return {"trip": {"stops": [{"city": city, "nights": 3}], "flexible": True}}


def rain(city):
    return ("weather", {"city": city, "unit": "celsius"})


# What each turn says or calls.
EXPECTED = [
    [("capital", {"country": "Norway"})],
    [rain("capital of Norway")],
    [("book", stop("rain at capital of Norway"))],
    "Done: ticket for rain at capital of Norway.",
    [rain("Paris"), rain("Rome")],
    [("book", stop("rain at Paris and rain at Rome"))],
    "Done: ticket for rain at Paris and rain at Rome.",
    [("capital", {"country": "Italy"})],
    [rain("capital of Italy")],
    {"outcome": "rain at capital of Italy", "sure": True},
]


def run(client, models, streamed, **more):
    """The loop as agents do it: what each turn said, and the answers themselves."""
    tasks = iter(TASKS)
    messages = [
        {"role": "system", "content": "You are a travel agent."},
        {"role": "user", "content": next(tasks)},
    ]
    transcript, answers = [], []
    for turn, model in enumerate(models):
        wanted = {"tools": TOOLS} if turn < TURNS - 1 else {"response_format": SUMMARY}
        answer = ask(client, streamed, model=model, messages=messages, **wanted, **more)
        answers.append(answer)
        messages.append(answer.message)
        if answer.calls:
            assert answer.finish == "tool_calls"
            made = [(it["name"], json.loads(it["arguments"])) for it in answer.calls]
            transcript.append(made)
            for (name, arguments), call in zip(made, answer.calls, strict=True):
                result = RESULTS[name](arguments)
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
            continue
        assert answer.finish == "stop"
        last = turn == TURNS - 1
        transcript.append(json.loads(answer.text) if last else answer.text)
        if not last:
            messages.append({"role": "user", "content": next(tasks)})
    return transcript, answers


@pytest.fixture(scope="module")
def client():
    simulated, providers = staged(0, PROVIDERS)
    gateway = Gateway(providers=providers)
    with gateway.client() as it:
        yield it
    gateway.close()
    simulated.close()


def model_of(dialect):
    """The one that thinks: it has more to carry from turn to turn."""
    return f"{dialect.name}/{dialect.thinker}"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", PROVIDERS, ids=lambda it: it.title)
def test_on_one_provider(client, dialect, streamed):
    transcript, _ = run(client, [model_of(dialect)] * TURNS, streamed)
    assert transcript == EXPECTED


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("first", range(len(PROVIDERS)), ids=lambda it: PROVIDERS[it].title)
def test_another_provider_on_every_turn(client, first, streamed):
    order = [PROVIDERS[(first + turn * 3) % len(PROVIDERS)] for turn in range(TURNS)]
    assert all(a != b for a, b in zip(order, order[1:]))
    transcript, answers = run(client, map(model_of, order), streamed)
    assert transcript == EXPECTED
    assert [it.provider for it in answers] == [it.name for it in order]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_failover_on_every_turn(streamed):
    """Each provider takes one request, and only finds out on the second."""
    simulated, providers = staged(0, PROVIDERS, requests=1)
    one_model = [it | {"models": it["models"][:1]} for it in providers]
    settings = {"routing": {"max_quota_wait_seconds": 0}}
    gateway = Gateway(providers=one_model, settings=settings)
    try:
        with gateway.client() as client:
            session = {"X-Session-ID": "agent"}
            models = ["meta-model"] * TURNS
            transcript, answers = run(client, models, streamed, extra_headers=session)
    finally:
        gateway.close()
        simulated.close()
    assert transcript == EXPECTED
    assert len({it.provider for it in answers}) == TURNS
    assert "failover" in [it.reason for it in answers]
