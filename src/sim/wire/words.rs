//! The errors of flavours that need few words: one line of JSON each, with `{{placeholders}}`.
//!
//! Sources: the providers' documentation and error reports, gathered 2026-11. Those of keys and
//! limits at NVIDIA, Together and DeepSeek are assumed in part.

use crate::sim::spec::Flavour;

/// A status and the template of its body.
type Line = (u16, &'static str);

/// What one flavour says to each problem.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) key: Line,
    pub(super) model: Line,
    pub(super) context: Line,
    pub(super) field: Line,
    pub(super) invalid: Line,
    pub(super) limited: Line,
    /// For a bare status.
    pub(super) other: &'static str,
}

/// The words of a flavour that has no files of its own.
pub(super) fn words(flavour: Flavour) -> &'static Words {
    match flavour {
        Flavour::DeepSeek => &DEEPSEEK,
        Flavour::Nvidia => &NVIDIA,
        Flavour::OpenRouter => &OPENROUTER,
        Flavour::Together => &TOGETHER,
        Flavour::SambaNova => &SAMBANOVA,
        Flavour::HuggingFace => &HUGGINGFACE,
        Flavour::Cohere => &COHERE,
        Flavour::Zai => &ZAI,
        Flavour::GeminiCompat => &GEMINI,
        _ => &PLAIN,
    }
}

const PLAIN: Words = Words {
    key: (
        401,
        r#"{"error":{"message":"Invalid API key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
    ),
    model: (
        404,
        r#"{"error":{"message":"model \"{{model}}\" not found, try pulling it first","type":"not_found_error","param":null,"code":null}}"#,
    ),
    context: (
        400,
        r#"{"error":{"message":"Input and output tokens exceed the context limit of the model","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}"#,
    ),
    field: (
        400,
        r#"{"error":{"message":"Unrecognized request argument supplied: {{field}}","type":"invalid_request_error","param":null,"code":null}}"#,
    ),
    invalid: (
        400,
        r#"{"error":{"message":"{{detail}}","type":"invalid_request_error","param":null,"code":null}}"#,
    ),
    limited: (
        429,
        r#"{"error":{"message":"Rate limit exceeded","type":"rate_limit_exceeded","param":null,"code":"rate_limit_exceeded"}}"#,
    ),
    other: r#"{"error":{"message":"{{reason}}","type":"{{class}}","param":null,"code":null}}"#,
};

static DEEPSEEK: Words = Words {
    key: (
        401,
        r#"{"error":{"message":"Authentication Fails, Your api key: ****{{key}} is invalid","type":"authentication_error","param":null,"code":"invalid_request_error"}}"#,
    ),
    model: (
        400,
        r#"{"error":{"message":"Model Not Exist","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
    ),
    context: (
        400,
        r#"{"error":{"message":"This model's maximum context length is {{limit}} tokens. However, you requested {{tokens}} tokens ({{tokens}} in the messages, 0 in the completion). Please reduce the length of the messages or completion.","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
    ),
    invalid: (
        400,
        r#"{"error":{"message":"{{detail}}","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
    ),
    limited: (
        429,
        r#"{"error":{"message":"Rate limit reached","type":"rate_limit_error","param":null,"code":"rate_limit_reached"}}"#,
    ),
    ..PLAIN
};

static NVIDIA: Words = Words {
    key: (401, r#"{"status":401,"title":"Unauthorized","detail":"Authentication failed"}"#),
    model: (
        404,
        r#"{"status":404,"title":"Not Found","detail":"Function '{{model}}': Not found for account 'simulated'"}"#,
    ),
    context: (
        400,
        r#"{"object":"error","message":"This model's maximum context length is {{limit}} tokens. However, you requested {{tokens}} tokens ({{tokens}} in the messages, 0 in the completion). Please reduce the length of the messages or completion.","type":"BadRequestError","param":null,"code":400}"#,
    ),
    field: (
        400,
        r#"{"object":"error","message":"[{'type': 'extra_forbidden', 'loc': ('body', '{{field}}'), 'msg': 'Extra inputs are not permitted'}]","type":"BadRequestError","param":null,"code":400}"#,
    ),
    invalid: (
        400,
        r#"{"object":"error","message":"{{detail}}","type":"BadRequestError","param":null,"code":400}"#,
    ),
    limited: (429, r#"{"status":429,"title":"Too Many Requests"}"#),
    other: r#"{"title":"{{reason}}","detail":"{{reason}}"}"#,
};

static OPENROUTER: Words = Words {
    key: (401, r#"{"error":{"message":"User not found.","code":401}}"#),
    model: (
        404,
        r#"{"error":{"message":"No endpoints found for {{model}}.","code":404},"user_id":"user_example"}"#,
    ),
    context: (
        400,
        r#"{"error":{"message":"This endpoint's maximum context length is {{limit}} tokens. However, you requested about {{tokens}} tokens ({{tokens}} of text input, 0 in the output). Please reduce the length of either one.","code":400,"metadata":{"provider_name":null}},"user_id":"user_example"}"#,
    ),
    invalid: (400, r#"{"error":{"message":"{{detail}}","code":400},"user_id":"user_example"}"#),
    limited: (
        429,
        r#"{"error":{"message":"Rate limit exceeded: free-models-per-{{short_period}}. ","code":429,"metadata":{"headers":{"X-RateLimit-Limit":"{{max}}","X-RateLimit-Remaining":"0"}}},"user_id":"user_example"}"#,
    ),
    other: r#"{"error":{"message":"Provider returned error","code":502,"metadata":{"provider_name":"OpenInference","raw":"{{reason}}"}},"user_id":"user_example"}"#,
    ..PLAIN
};

static TOGETHER: Words = Words {
    key: (
        401,
        r#"{"id":"oE7xyz","error":{"message":"Invalid API key provided. You can find your API key at https://api.together.xyz/settings/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
    ),
    context: (
        422,
        r#"{"id":"oE7xyz","error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {{limit}}. Given: {{tokens}} `inputs` tokens and 0 `max_new_tokens`","type":"invalid_request_error","param":"max_tokens","code":null}}"#,
    ),
    limited: (
        429,
        r#"{"id":"oE7xyz","error":{"message":"You have reached the rate limit specific to this model {{model}}.","type":"model_rate_limit","param":null,"code":null}}"#,
    ),
    ..PLAIN
};

static SAMBANOVA: Words = Words {
    key: (
        401,
        r#"{"error":{"message":"Invalid API key","type":"invalid_request_error","param":null,"code":"invalid_authentication"},"request_id":"2a8b3c4d"}"#,
    ),
    limited: (
        429,
        r#"{"error":{"message":"Rate limit exceeded","type":"rate_limit_exceeded","param":null,"code":"insufficient_quota"},"request_id":"2a8b3c4d"}"#,
    ),
    ..PLAIN
};

static HUGGINGFACE: Words = Words {
    key: (401, r#"{"error":"Invalid username or password."}"#),
    model: (
        400,
        r#"{"error":{"message":"The requested model '{{model}}' does not exist","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#,
    ),
    ..PLAIN
};

static COHERE: Words = Words {
    key: (401, r#"{"id":"0e1f","message":"invalid api token"}"#),
    model: (404, r#"{"id":"0e1f","message":"model '{{model}}' not found"}"#),
    context: (
        400,
        r#"{"id":"0e1f","message":"too many tokens: {{tokens}}. Try using shorter or fewer inputs. The limit for this model is {{limit}} tokens."}"#,
    ),
    field: (
        422,
        r#"{"id":"0e1f","message":"unknown field: parameter '{{field}}' is not a valid field"}"#,
    ),
    invalid: (400, r#"{"id":"0e1f","message":"{{detail}}"}"#),
    limited: (
        429,
        r#"{"id":"0e1f","message":"You are using a Trial key, which is limited to {{max}} API calls / {{period}}."}"#,
    ),
    other: r#"{"id":"0e1f","message":"{{reason}}"}"#,
};

static ZAI: Words = Words {
    key: (401, r#"{"error":{"code":"1000","message":"Authentication Failed"}}"#),
    model: (
        400,
        r#"{"error":{"code":"1211","message":"Unknown Model, please check the model code."}}"#,
    ),
    context: (400, r#"{"error":{"code":"1261","message":"Prompt exceeds max length"}}"#),
    field: (400, r#"{"error":{"code":"1210","message":"Invalid API parameter: {{field}}"}}"#),
    invalid: (400, r#"{"error":{"code":"1214","message":"{{detail}}"}}"#),
    limited: (
        429,
        r#"{"error":{"code":"1302","message":"High concurrency usage of this API, please reduce concurrency or contact customer service to increase limits"}}"#,
    ),
    other: r#"{"error":{"code":"1234","message":"{{reason}}"}}"#,
};

static GEMINI: Words = Words {
    key: (
        400,
        r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}]"#,
    ),
    model: (
        404,
        r#"[{"error":{"code":404,"message":"models/{{model}} is not found for API version v1beta, or is not supported for generateContent.","status":"NOT_FOUND"}}]"#,
    ),
    context: (
        400,
        r#"[{"error":{"code":400,"message":"The input token count ({{tokens}}) exceeds the maximum number of tokens allowed ({{limit}}).","status":"INVALID_ARGUMENT"}}]"#,
    ),
    field: (
        400,
        r#"[{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"{{field}}\": Cannot find field.","status":"INVALID_ARGUMENT"}}]"#,
    ),
    invalid: (
        400,
        r#"[{"error":{"code":400,"message":"{{detail}}","status":"INVALID_ARGUMENT"}}]"#,
    ),
    limited: (
        429,
        r#"[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/{{quota_metric}}","quotaId":"{{quota_id}}","quotaValue":"{{max}}"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{{hint_seconds}}s"}]}}]"#,
    ),
    other: r#"[{"error":{"code":{{status}},"message":"{{reason}}","status":"{{rpc_status}}"}}]"#,
};
