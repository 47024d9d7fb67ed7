#!/usr/bin/env bash
# curl alone: whole, streamed, a session, and what there is to ask for.
set -euo pipefail

base="${OPENAI_BASE_URL:-http://127.0.0.1:8000/v1}"
# RELAY_API_KEY's value if the gateway has one; any other text will do if it has none.
key="${OPENAI_API_KEY:-any}"

relay() {
    local path=$1
    shift
    curl --silent --show-error --fail-with-body --header "Authorization: Bearer $key" "$@" "$base$path"
    echo
}

echo "--- whole"
relay /chat/completions --data '{
  "model": "meta-model",
  "messages": [{"role": "user", "content": "Why is the sky blue?"}]}'

echo "--- streamed"
relay /chat/completions --no-buffer --data '{
  "model": "free-fast", "stream": true,
  "messages": [{"role": "user", "content": "Why is the sea salty?"}]}'

echo "--- session"
relay /chat/completions --header "X-Session-ID: my-chat" --data '{
  "messages": [{"role": "user", "content": "Name a colour of the sky."}]}'

echo "--- models"
relay /models
