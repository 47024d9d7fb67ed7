"""Models, usage and health."""

import json

from gateway import provider
from test_chat import ASK
from upstream import USAGE

FIELDS = {
    "id",
    "object",
    "created",
    "owned_by",
    "type",
    "scale",
    "max_context_length",
    "status",
    "cooldown_remaining_sec",
}


def test_models_are_listed(client):
    models = {it.id: it for it in client.models.list()}
    assert {"meta-model", "free-fast", "free-smart", "solo/m", "solo/maker/m"} <= set(models)
    for it in models.values():
        assert set(it.to_dict()) == FIELDS
        assert it.object == "model"
    assert models["solo/m"].owned_by == "solo"
    assert models["solo/m"].status == "available"
    assert models["meta-model"].scale is None


def test_they_can_be_filtered(start, upstream):
    models = [
        {"name": "big", "type": "text", "scale": "large"},
        {"name": "code", "type": "coding", "scale": "small"},
    ]
    gateway = start(providers=[provider("solo", upstream.url(), *models)])
    with gateway.client() as client:

        def check(query, expected):
            assert [it.id for it in client.models.list(extra_query=query)] == expected

        check({"type": "coding"}, ["solo/code"])
        check({"scale": "large"}, ["solo/big"])
        check({"type": "coding", "scale": "large"}, [])


def test_one_is_found_by_an_id_with_slashes(client, gateway):
    assert client.models.retrieve("solo/maker/m").id == "solo/maker/m"
    assert client.models.retrieve("SOLO/m").id == "solo/m"
    assert client.models.retrieve("meta-model").id == "meta-model"
    assert json.loads(gateway.ask("/v1/models/solo/maker/m")[2])["id"] == "solo/maker/m"
    assert json.loads(gateway.ask("/v1/models/solo%2Fmaker%2Fm")[2])["id"] == "solo/maker/m"


def test_usage_adds_up(client, gateway):
    for _ in range(3):
        client.chat.completions.create(model="solo/m", messages=ASK)
    list(client.chat.completions.create(model="solo/maker/m", messages=ASK, stream=True))
    usage = json.loads(gateway.ask("/v1/usage")[2])
    solo = usage["providers"]["solo"]
    assert solo["models"]["m"]["requests"] == 3
    assert solo["models"]["maker/m"]["requests"] == 1
    for figures in (usage["total"], solo):
        assert figures["requests"] == 4
        assert figures["prompt_tokens"] == 3 * USAGE["prompt_tokens"] + solo["models"]["maker/m"]["prompt_tokens"]


def test_health(gateway):
    status, headers, body = gateway.ask("/health")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["status"] == "ok"
