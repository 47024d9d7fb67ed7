"""Each error class of the official client, with what it carries."""

import json
import time

import openai
import pytest

from gateway import KEY, provider
from test_chat import ASK
from upstream import TEXT, answer, cut, refuse, stall

NO_PATIENCE = {"routing": {"max_retries": 0, "max_quota_wait_seconds": 0}}


@pytest.fixture
def hasty(start, upstream):
    """One attempt, no waiting."""
    gateway = start(providers=[provider("solo", upstream.url())], settings=NO_PATIENCE)
    with gateway.client() as it:
        yield it


def caught(kind, call, **arguments):
    with pytest.raises(kind) as caught:
        call(**arguments)
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ASK, "extra_body": {"stream": "yes"}}, "stream"),
        ({"messages": ASK, "extra_body": {"model_scale": "gigantic"}}, "model_scale"),
    ],
)
def test_bad_request(client, upstream, wrong, param):
    error = caught(openai.BadRequestError, client.chat.completions.create, model="auto", **wrong)
    assert (error.status_code, error.type, error.param) == (400, "invalid_request_error", param)
    assert error.body["request_id"] == error.request_id
    assert upstream.arrived == []


def test_a_provider_refuses_what_any_would_refuse(client, upstream):
    upstream.always(refuse(400, message="temperature must be at most 2", param="temperature"))
    error = caught(
        openai.BadRequestError,
        client.chat.completions.create,
        model="auto",
        messages=ASK,
        temperature=9,
    )
    assert error.param == "temperature"
    assert "at most 2" in error.message
    assert len(upstream.arrived) == 1


def test_malformed_bodies(gateway):
    for body in (b"", b"{", b'{"messages":', b"\xff\xfe", b"[]", b'"x"', b"[" * 100_000):
        status, headers, raw = gateway.ask("/v1/chat/completions", body or b" ")
        error = json.loads(raw)["error"]
        assert (status, error["type"]) == (400, "invalid_request_error"), body[:10]
        assert error["request_id"] == headers["X-Request-Id"]


def test_authentication(start, upstream):
    gateway = start(
        providers=[provider("solo", upstream.url())], env={"RELAY_API_KEY": "master-key-1"}
    )
    with gateway.client(api_key="wrong") as client:
        error = caught(openai.AuthenticationError, client.models.list)
        assert (error.status_code, error.type) == (401, "authentication_error")
        assert "wrong" not in error.message
    with gateway.client(api_key="master-key-1") as client:
        client.chat.completions.create(model="m", messages=ASK)
    (seen,) = upstream.arrived
    assert seen.key == KEY
    assert "master-key-1" not in str(seen.headers)
    assert gateway.ask("/health")[0] == 200
    assert "master-key-1" not in gateway.log() and KEY not in gateway.log()


@pytest.mark.parametrize(
    "header",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}],
)
def test_permission_denied_to_web_pages(client, upstream, header):
    error = caught(
        openai.PermissionDeniedError,
        client.chat.completions.create,
        model="m",
        messages=ASK,
        extra_headers=header,
    )
    assert (error.status_code, error.type) == (403, "permission_error")
    assert upstream.arrived == []


def test_not_found(client):
    error = caught(
        openai.NotFoundError, client.chat.completions.create, model="solo/maker/n", messages=ASK
    )
    assert (error.code, error.param) == ("model_not_found", "model")
    assert "solo/maker/m" in error.message
    error = caught(openai.NotFoundError, client.models.retrieve, model="no/such")
    assert error.code == "model_not_found"
    error = caught(openai.NotFoundError, client.embeddings.create, model="m", input="x")
    assert error.code == "unknown_url"


def test_wrong_method(gateway):
    status, headers, _ = gateway.ask("/v1/chat/completions")
    assert (status, headers["Allow"]) == (405, "POST")


def test_rate_limit_of_the_provider(hasty, upstream):
    upstream.always(refuse(429, [("Retry-After", "7")], message="slow down"))
    error = caught(openai.RateLimitError, hasty.chat.completions.create, model="m", messages=ASK)
    assert (error.type, error.code) == ("rate_limit_error", "all_providers_exhausted")
    assert error.response.headers["retry-after"] == "7"
    assert 6_000 < error.body["retry_after_ms"] <= 7_000
    (state,) = error.body["providers"]
    assert state["id"] == "solo"
    assert state["keys_available"] == 1
    assert state["circuit_state"] == "open"
    assert 6_000 < state["retry_after_ms"] <= 7_000
    assert [it["model"] for it in error.body["suggestions"]] == ["solo/m"]
    assert error.response.headers["x-relay-attempts"] == "1"


def test_rate_limit_of_the_limits_file(start, upstream):
    model = {"name": "m", "type": "text", "scale": "small", "limits": {"requests_per_minute": 2}}
    gateway = start(providers=[provider("solo", upstream.url(), model)])
    with gateway.client() as client:
        for _ in range(2):
            client.chat.completions.create(model="m", messages=ASK)
        error = caught(
            openai.RateLimitError, client.chat.completions.create, model="m", messages=ASK
        )
    assert len(upstream.arrived) == 2
    assert 55 <= int(error.response.headers["retry-after"]) <= 61
    assert "x-relay-provider" not in error.response.headers


def test_waiting_as_long_as_retry_after_says_is_enough(hasty, upstream):
    upstream.script(refuse(429, [("Retry-After", "1")]))
    patient = hasty.with_options(max_retries=1)
    began = time.monotonic()
    got = patient.chat.completions.create(model="m", messages=ASK)
    assert got.choices[0].message.content == TEXT
    assert len(upstream.arrived) == 2
    assert time.monotonic() - began >= 1


def test_without_retries_the_gateway_is_asked_once(hasty, upstream):
    upstream.always(refuse(500))
    error = caught(
        openai.InternalServerError, hasty.chat.completions.create, model="m", messages=ASK
    )
    assert (error.status_code, error.type, error.code) == (503, "server_error", "all_providers_failed")
    assert int(error.response.headers["retry-after"]) >= 1
    assert len(upstream.arrived) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_providers_401_is_not_the_callers(hasty, upstream, status):
    upstream.always(refuse(status, message=f"bad key {KEY}"))
    error = caught(
        openai.InternalServerError, hasty.chat.completions.create, model="m", messages=ASK
    )
    assert error.status_code == 503
    assert error.body["providers"][0]["keys_available"] == 0
    assert KEY not in error.response.text


def test_all_timed_out(start, upstream):
    settings = {**NO_PATIENCE, "http": {"timeout_seconds": 0.3, "first_token_timeout_seconds": 0.3}}
    gateway = start(providers=[provider("solo", upstream.url())], settings=settings)
    upstream.always(stall())
    with gateway.client() as client:
        error = caught(
            openai.InternalServerError, client.chat.completions.create, model="m", messages=ASK
        )
    assert (error.status_code, error.type) == (504, "timeout_error")
    upstream.wait(lambda seen: seen[0].gone_at)


def test_too_large(start, upstream):
    gateway = start(
        providers=[provider("solo", upstream.url())], settings={"http": {"max_body_bytes": 2_000}}
    )
    with gateway.client() as client:
        long = [{"role": "user", "content": "x" * 3_000}]
        error = caught(
            openai.APIStatusError, client.chat.completions.create, model="m", messages=long
        )
    assert (error.status_code, error.type) == (413, "request_too_large")
    assert upstream.arrived == []


def test_the_clients_own_timeout(client, upstream):
    upstream.always(stall())
    impatient = client.with_options(timeout=0.3)
    caught(openai.APITimeoutError, impatient.chat.completions.create, model="m", messages=ASK)
    seen = upstream.wait(lambda seen: seen and seen[0].gone_at)
    assert seen[0].gone_at - seen[0].at < 0.3 + 0.1


def test_no_gateway(gateway):
    with gateway.client() as client:
        gateway.kill()
        caught(openai.APIConnectionError, client.models.list)


def test_a_stream_that_is_cut_ends_with_an_error(client, upstream):
    upstream.always(cut([{"role": "assistant", "content": "The sky"}]))
    text = ""
    with pytest.raises(openai.APIError) as error:
        for it in client.chat.completions.create(model="solo/m", messages=ASK, stream=True):
            text += it.choices[0].delta.content or ""
    assert text == "The sky"
    assert error.value.type == "server_error"


def test_a_stream_that_fails_before_its_first_content_is_retried(client, upstream):
    upstream.script(cut([{"role": "assistant", "content": ""}]), answer())
    events = client.chat.completions.create(model="auto", messages=ASK, stream=True)
    assert "".join(it.choices[0].delta.content or "" for it in events) == TEXT
    assert len(upstream.arrived) == 2


def test_a_stream_that_cannot_begin_is_a_status(hasty, upstream):
    upstream.always(refuse(500))
    error = caught(
        openai.InternalServerError,
        hasty.chat.completions.create,
        model="m",
        messages=ASK,
        stream=True,
    )
    assert error.status_code == 503
