"""An answer as a client that knows the API puts it together, whole or from a stream."""

from dataclasses import dataclass, field

from openai.types.chat import ChatCompletionMessage


@dataclass
class Assembled:
    text: str = ""
    reasoning: str = ""
    calls: list = field(default_factory=list)
    logprobs: list = field(default_factory=list)
    finish: str = ""
    usage: dict = field(default_factory=dict)
    warning: str = ""
    provider: str = ""
    reason: str = ""
    model: str = ""
    message: object = None


def ask(client, streamed, **asked):
    """Asks with the official client and puts the answer together."""
    create = client.chat.completions.with_raw_response.create
    if streamed:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    got = create(**asked)
    answer = Assembled(
        warning=got.headers.get("x-relay-warning", ""),
        provider=got.headers["x-relay-provider"],
        reason=got.headers["x-relay-route-reason"],
    )
    (from_stream if streamed else from_whole)(answer, got.parse())
    return answer


def from_whole(answer, completion):
    assert completion.object == "chat.completion"
    assert completion.id.startswith("chatcmpl-")
    (choice,) = completion.choices
    message = choice.message
    assert (choice.index, message.role) == (0, "assistant")
    answer.model = completion.model
    answer.text = message.content or ""
    answer.reasoning = getattr(message, "reasoning_content", None) or ""
    answer.calls = [call(it.id, it.type, it.function) for it in message.tool_calls or []]
    answer.logprobs = (choice.logprobs and choice.logprobs.content) or []
    answer.finish = choice.finish_reason
    answer.usage = completion.usage.to_dict()
    answer.message = message


def call(id, type, function):
    assert id and isinstance(id, str)
    assert type == "function"
    assert isinstance(function.arguments, str)
    return {"id": id, "name": function.name, "arguments": function.arguments}


def from_stream(answer, chunks):
    *chunks, last = list(chunks)
    assert last.choices == [], "the last chunk has the usage and no choice"
    answer.usage = last.usage.to_dict()
    answer.model = last.model
    for what in ("id", "created", "model", "object"):
        assert len({getattr(it, what) for it in [*chunks, last]}) == 1, what
    assert last.object == "chat.completion.chunk"
    assert last.id.startswith("chatcmpl-")
    assert not any(it.usage for it in chunks)
    choices = [it.choices for it in chunks]
    assert all(len(it) == 1 and it[0].index == 0 for it in choices)
    choices = [it[0] for it in choices]
    assert choices[0].delta.role == "assistant"
    *before, end = choices
    assert end.finish_reason
    assert not any(it.finish_reason for it in before)
    answer.finish = end.finish_reason
    calls = {}
    for choice in choices:
        delta = choice.delta
        answer.text += delta.content or ""
        answer.reasoning += getattr(delta, "reasoning_content", None) or ""
        answer.logprobs += (choice.logprobs and choice.logprobs.content) or []
        for part in delta.tool_calls or []:
            take_part(calls, part)
    assert list(calls) == list(range(len(calls)))
    answer.calls = list(calls.values())
    # What most clients replay: neither reasoning nor anything else that is not OpenAI's.
    replayed = [
        {"id": it["id"], "type": "function", "function": {k: it[k] for k in ("name", "arguments")}}
        for it in answer.calls
    ]
    answer.message = ChatCompletionMessage(
        role="assistant", content=answer.text or None, tool_calls=replayed or None
    )


def take_part(calls, part):
    """The first delta of a call has all but the arguments, the others have nothing else."""
    if part.index not in calls:
        assert part.index == len(calls), "calls come in order"
        calls[part.index] = call(part.id, part.type, part.function)
        assert part.function.name
        # A first delta may begin the arguments already.
        calls[part.index]["arguments"] = part.function.arguments or ""
        return
    assert part.id is None and part.type is None and part.function.name is None
    calls[part.index]["arguments"] += part.function.arguments
