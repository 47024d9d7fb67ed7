//! Model lists in each flavour's form.

use serde_json::{Value, json};

use crate::sim::spec::Flavour;
use crate::sim::spec::ModelSpec;

/// The body of `GET /models`.
pub(in crate::sim) fn list(flavour: Flavour, models: &[ModelSpec], created: u64) -> String {
    let data: Vec<Value> = models.iter().map(|model| entry(flavour, model, created)).collect();
    match flavour {
        Flavour::Gemini | Flavour::Ollama => json!({ "models": data }).to_string(),
        Flavour::Anthropic => json!({
            "data": data, "has_more": false, "first_id": null, "last_id": null,
        })
        .to_string(),
        Flavour::Cloudflare => json!({
            "success": true, "result": data, "errors": [], "messages": [],
        })
        .to_string(),
        Flavour::Together => Value::from(data).to_string(),
        Flavour::OpenRouter => json!({ "data": data }).to_string(),
        _ => json!({"object": "list", "data": data}).to_string(),
    }
}

fn entry(flavour: Flavour, model: &ModelSpec, created: u64) -> Value {
    let name = &model.name;
    let context = model.context.unwrap_or(131_072);
    match flavour {
        Flavour::Groq => json!({
            "id": name, "object": "model", "created": created, "owned_by": "OpenAI",
            "active": true, "context_window": context, "public_apps": null,
            "max_completion_tokens": context / 2,
        }),
        Flavour::Mistral => json!({
            "id": name, "object": "model", "created": created, "owned_by": "mistralai",
            "capabilities": {
                "completion_chat": true, "completion_fim": false, "function_calling": true,
                "fine_tuning": false, "vision": false, "classification": false,
            },
            "name": name, "description": name, "max_context_length": context, "aliases": [],
            "deprecation": null, "default_model_temperature": 0.3, "type": "base",
        }),
        Flavour::Cerebras => {
            json!({"id": name, "object": "model", "created": 0, "owned_by": "Cerebras"})
        }
        Flavour::Gemini => json!({
            "name": format!("models/{name}"), "version": "001", "displayName": name,
            "inputTokenLimit": context, "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
            "temperature": 1, "topP": 0.95, "topK": 64, "maxTemperature": 2,
            "thinking": model.reasoning,
        }),
        Flavour::Anthropic => json!({
            "type": "model", "id": name, "display_name": name,
            "created_at": "2025-09-29T00:00:00Z",
        }),
        Flavour::Ollama => json!({
            "name": name, "model": name, "modified_at": "2026-05-04T17:37:44-07:00",
            "size": 2_019_393_189_u64, "digest": "sim", "details": {"family": "sim"},
        }),
        Flavour::OpenRouter => json!({
            "id": name, "name": name, "created": created, "context_length": context,
            "pricing": {"prompt": "0", "completion": "0"},
            "top_provider": {"context_length": context, "max_completion_tokens": context},
        }),
        Flavour::Together => json!({
            "id": name, "object": "model", "created": created, "type": "chat",
            "context_length": context, "pricing": {"input": 0, "output": 0},
        }),
        Flavour::Cloudflare => json!({
            "id": "429b9e8b-d99e-44de-91ad-706cf8183658", "name": name,
            "task": {"name": "Text Generation"},
            "properties": [{"property_id": "context_window", "value": context.to_string()}],
        }),
        _ => json!({"id": name, "object": "model", "created": created, "owned_by": "system"}),
    }
}
