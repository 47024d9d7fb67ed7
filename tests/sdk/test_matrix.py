"""What works at which provider, each cell through its simulated twin and the official client.

What is expected stands in `dialects.py`. The table of it is docs/MATRIX.md, which this writes anew
with `scripts/test.sh --sdk-only -k matrix --write-matrix`.
"""

import base64
import json
import struct
import zlib

import openai
import pytest

from assembled import ask
from dialects import (
    DIALECTS,
    OneByOne,
    Refused,
    Undirected,
    Unshown,
    Without,
    Works,
    staged,
)
from gateway import ROOT, Gateway

TABLE = ROOT / "docs" / "MATRIX.md"
SKY = [{"role": "user", "content": "Why is the sky blue?"}]
THOUGHT = "The user asks about sky. Answer briefly."
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather at a place",
            "parameters": {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {
                    "place": {
                        "type": "object",
                        "properties": {
                            "city": {"type": "string", "minLength": 1},
                            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                        },
                        "required": ["city", "unit"],
                        "additionalProperties": False,
                    },
                    "days": {"type": "integer", "minimum": 1},
                },
                "required": ["place", "days"],
                "additionalProperties": False,
            },
        },
    }
]
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 2},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city", "days", "tags"],
    "additionalProperties": False,
}
FAR = "https://images.example/sky.png"


def png():
    """A grey pixel."""
    chunk = lambda kind, data: (  # noqa: E731
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    )
    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0\x80")), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def arguments(city):
    return {"place": {"city": city, "unit": "celsius"}, "days": 1}


def steps(text):
    return [{"role": "user", "content": f"How is the weather? Steps: {text}"}]


def look(url):
    parts = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    return [{"role": "user", "content": parts}]


def says(part):
    def check(answer):
        assert part in answer.text
        assert (answer.finish, answer.calls) == ("stop", [])

    return check


def calls(*cities):
    def check(answer):
        assert answer.finish == "tool_calls"
        assert [it["name"] for it in answer.calls] == ["weather"] * len(cities)
        assert [json.loads(it["arguments"]) for it in answer.calls] == [*map(arguments, cities)]
        assert len({it["id"] for it in answer.calls}) == len(cities)
        assert answer.text == ""

    return check


def is_object(answer):
    assert json.loads(answer.text)["topic"] == "Paris"
    assert answer.finish == "stop"


def fits_schema(answer):
    assert json.loads(answer.text) == {"city": "Paris", "days": 2, "tags": ["Paris"]}
    assert answer.finish == "stop"


def thinks(answer):
    assert answer.reasoning == THOUGHT
    says("sky")(answer)
    assert "<think>" not in answer.text


def has_logprobs(answer):
    assert "".join(it.token for it in answer.logprobs) == answer.text


ANSWERED = [
    *steps("weather(Paris)"),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_made-elsewhere_0123456789",
                "type": "function",
                "function": {"name": "weather", "arguments": json.dumps(arguments("Paris"))},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_made-elsewhere_0123456789", "content": "rain"},
]
JSON_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "trip", "strict": True, "schema": SCHEMA},
}
IN_JSON = [{"role": "user", "content": "Paris or Rome? In JSON, please."}]
PICTURE = f"data:image/png;base64,{base64.b64encode(png()).decode()}"

# Each column: the model that is asked, what it is asked, and what has to come.
COLUMNS = {
    "plain": ("model", {"messages": SKY}, says("sky")),
    "tools": ("model", {"messages": steps("weather(Paris)"), "tools": TOOLS}, calls("Paris")),
    "parallel tools": (
        "model",
        {"messages": steps("weather(Paris) + weather(Rome)"), "tools": TOOLS},
        calls("Paris", "Rome"),
    ),
    "tool result": ("model", {"messages": ANSWERED, "tools": TOOLS}, says("Done: rain.")),
    "image data": ("vision", {"messages": look(PICTURE)}, says(f"an image of {len(png())} bytes")),
    "image https": ("vision", {"messages": look(FAR)}, says(f"the image at {FAR}")),
    "json_object": (
        "model",
        {"messages": IN_JSON, "response_format": {"type": "json_object"}},
        is_object,
    ),
    "json_schema": ("model", {"messages": IN_JSON, "response_format": JSON_SCHEMA}, fits_schema),
    "reasoning": ("thinker", {"messages": SKY, "reasoning_effort": "low"}, thinks),
    "logprobs": ("model", {"messages": SKY, "logprobs": True, "top_logprobs": 2}, has_logprobs),
}


@pytest.fixture(scope="module")
def clients():
    """One client for each stage."""
    started = []
    for stage in sorted({it.stage for it in DIALECTS}):
        simulated, providers = staged(stage, DIALECTS)
        gateway = Gateway(providers=providers)
        started.append((simulated, gateway, gateway.client()))
    yield [client for _, _, client in started]
    for simulated, gateway, client in started:
        client.close()
        gateway.close()
        simulated.close()


def dropped(answer):
    """What the warning says was left out."""
    _, _, names = answer.warning.partition("dropped=")
    return set(names.split(";")[0].split(",")) - {""}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda it: it.title)
def test_cell(clients, dialect, column, streamed):
    slot, asked, check = COLUMNS[column]
    model = getattr(dialect, slot) or dialect.model
    asked = {"model": f"{dialect.name}/{model}", **asked}
    client = clients[dialect.stage]
    outcome = dialect.outcome(column)
    if isinstance(outcome, Refused):
        with pytest.raises(openai.BadRequestError, match=outcome.says):
            ask(client, streamed, **asked)
        return
    answer = ask(client, streamed, **asked)
    assert answer.model == asked["model"]
    assert answer.usage["prompt_tokens"] > 0 and answer.usage["completion_tokens"] > 0
    match outcome:
        case Works():
            check(answer)
        case Without():
            says("sky")(answer)
            assert not answer.logprobs
        case Undirected():
            thinks(answer)
        case Unshown():
            says("sky")(answer)
            assert answer.reasoning == ""
        case OneByOne():
            calls("Paris")(answer)
    assert dropped(answer) == set(getattr(outcome, "dropped", ())), answer.warning


def table():
    """docs/MATRIX.md as it has to be."""
    lines = [
        "# What works where",
        "",
        "Each cell is a test: the official Python client asks the gateway for one provider's model, whole",
        "and as a stream, and a simulated provider answers on that provider's wire and refuses what the",
        "real one refuses (providers' documentation and error reports, gathered 2026-11). Written by",
        "`scripts/test.sh --sdk-only -k matrix --write-matrix`.",
        "",
        "* **yes**: the answer has what was asked for, in OpenAI's form. Where a provider has no JSON mode of",
        "  its own the model is told what to write and the answer is checked.",
        "* **400**: refused when this model is asked for by name, and the error says what it can't do; a routed",
        "  request goes to a model that can.",
        "* **dropped**: the answer comes without it, and `X-Relay-Warning` says so.",
        "* **effort dropped**: `reasoning_effort` was left out, and `X-Relay-Warning` says so.",
        "* **hidden**: the provider does not show what the model thinks.",
        "* **one at a time**: the model makes one call a turn.",
        "",
        f"| provider | {' | '.join(COLUMNS)} |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for dialect in DIALECTS:
        cells = [dialect.outcome(column).cell for column in COLUMNS]
        lines.append(f"| {dialect.title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def test_the_table_in_the_documentation_is_this_one(pytestconfig):
    if pytestconfig.getoption("--write-matrix"):
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(table())
    assert TABLE.read_text() == table()
