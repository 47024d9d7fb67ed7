"""The official OpenAI client for Python: whole, streamed, a session, tools.

pip install openai
python python_openai.py
"""

import json
import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL") or "http://127.0.0.1:8000/v1",
    # RELAY_API_KEY's value if the gateway has one; any other text will do if it has none.
    api_key=os.environ.get("OPENAI_API_KEY") or "any",
)


def whole():
    answer = client.chat.completions.create(
        model="meta-model",
        messages=[{"role": "user", "content": "Why is the sky blue?"}],
    )
    print(answer.choices[0].message.content)
    print(f"answered by {answer.model}")


def streamed():
    chunks = client.chat.completions.create(
        model="free-fast",
        messages=[{"role": "user", "content": "Why is the sea salty?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in chunks:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\n{chunk.usage.completion_tokens} tokens by {chunk.model}")


def session():
    """Turns with one session id go to one model for as long as it can answer."""
    messages = []
    for question in ("Name a colour of the sky.", "And another one?"):
        messages.append({"role": "user", "content": question})
        answer = client.chat.completions.create(
            model="meta-model",
            messages=messages,
            extra_headers={"X-Session-ID": "my-chat"},
        )
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})
        print(f"{question} was answered by {answer.model}")


def tools():
    """The model asks for a function, gets its result, and answers with it."""
    weather = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather at a place",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}},
                "required": ["place"],
            },
        },
    }
    messages = [{"role": "user", "content": "What is the weather in Oslo?"}]
    for _ in range(5):
        answer = client.chat.completions.create(
            model="meta-model", messages=messages, tools=[weather]
        )
        message = answer.choices[0].message
        if not message.tool_calls:
            print(message.content)
            return
        messages.append(message)
        for call in message.tool_calls:
            asked = json.loads(call.function.arguments)
            print(f"it calls {call.function.name}({asked})")
            result = {"sky": "rain", "celsius": 9}
            messages.append(
                {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}
            )


for example in (whole, streamed, session, tools):
    print(f"--- {example.__name__}")
    example()
