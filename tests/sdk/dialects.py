"""The providers of the matrix and the agent loop: which models stand for each, and what each can't do.

Sources: the providers' documentation and error reports, gathered 2026-11.
"""

from dataclasses import dataclass, field

from simulated import Simulated


@dataclass(frozen=True)
class Works:
    """The answer has what was asked for."""

    cell = "yes"


@dataclass(frozen=True)
class Without:
    """There is an answer, and `X-Relay-Warning` names what was left out of the request."""

    dropped: tuple
    cell: str = "dropped"


@dataclass(frozen=True)
class Refused:
    """400, and the message says this of what no model can do."""

    says: str
    cell: str = "400"


@dataclass(frozen=True)
class OneByOne:
    """Of two calls only the first is made."""

    cell = "one at a time"


@dataclass(frozen=True)
class Unshown:
    """The model thinks, and does not show it."""

    dropped: tuple = ()

    @property
    def cell(self):
        return "hidden, effort dropped" if self.dropped else "hidden"


@dataclass(frozen=True)
class Undirected:
    """It thinks as it likes: how much can't be said."""

    dropped: tuple = ("reasoning_effort",)
    cell: str = "yes, effort dropped"


WORKS = Works()
NO_LOGPROBS = Without(("logprobs", "top_logprobs"))
NO_EFFORT = Without(("reasoning_effort",))
NO_IMAGES = Refused("image")
NO_HTTPS = Refused("https")


@dataclass(frozen=True)
class Dialect:
    """One row: a provider by the name the gateway knows it by."""

    title: str
    flavour: str
    model: str
    provider: str = ""
    kind: str = ""
    vision: str = ""
    thinker: str = ""
    older: bool = False
    # A gateway knows only one provider of a name: the second of them is at another gateway.
    stage: int = 0
    differs: dict = field(default_factory=dict)

    @property
    def name(self):
        return self.provider or self.flavour

    @property
    def names(self):
        """The models, each once."""
        return list(dict.fromkeys(it for it in (self.model, self.vision, self.thinker) if it))

    def outcome(self, column):
        if column in self.differs:
            return self.differs[column]
        if not self.vision and column in ("image data", "image https"):
            return NO_IMAGES
        return WORKS

    def cast(self, **more):
        """As the simulated providers are told; `more` goes to every model."""
        model = lambda it: {"name": it, "reasoning": it == self.thinker, "older": self.older}  # noqa: E731
        models = [model(it) | more for it in self.names]
        return {"name": self.name, "flavour": self.flavour, "models": models}

    def entry(self, url):
        """As the limits file has it."""

        def model(name):
            modality = "vision" if name == self.vision else "text"
            return {"name": name, "type": "text", "scale": "large", "modality": modality}

        kind = {"kind": self.kind} if self.kind else {}
        models = [model(it) for it in self.names]
        return {"name": self.name, "url": url, "models": models, **kind}


def staged(stage, dialects, **more):
    """The cast of these dialects, started, and a gateway's providers in front of it."""
    here = [it for it in dialects if it.stage == stage]
    simulated = Simulated([it.cast(**more) for it in here])
    return simulated, [it.entry(simulated.urls[it.name]) for it in here]


DIALECTS = [
    Dialect(
        "OpenAI",
        "openai",
        "gpt-4o",
        vision="gpt-4o",
        thinker="gpt-5-mini",
        differs={"reasoning": Unshown()},
    ),
    Dialect(
        "Groq",
        "groq",
        "openai/gpt-oss-20b",
        vision="qwen/qwen3.6-27b",
        thinker="openai/gpt-oss-20b",
        differs={"logprobs": NO_LOGPROBS},
    ),
    Dialect(
        "Mistral",
        "mistral",
        "mistral-large-latest",
        vision="mistral-large-latest",
        thinker="magistral-medium-latest",
        differs={"reasoning": Undirected(), "logprobs": NO_LOGPROBS},
    ),
    Dialect(
        "Cerebras",
        "cerebras",
        "gpt-oss-120b",
        vision="gemma-4-31b",
        thinker="gpt-oss-120b",
        differs={"image https": NO_HTTPS, "logprobs": NO_LOGPROBS},
    ),
    Dialect("DeepSeek", "deepseek", "deepseek-chat", thinker="deepseek-v4-flash"),
    Dialect(
        "Cloudflare",
        "cloudflare",
        "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
        kind="cloudflare",
        vision="@cf/meta/llama-4-scout-17b-16e-instruct",
        thinker="@cf/zai-org/glm-4.7-flash",
        differs={
            "image https": NO_HTTPS,
            "reasoning": Undirected(),
            "logprobs": NO_LOGPROBS,
        },
    ),
    Dialect(
        "NVIDIA",
        "nvidia",
        "openai/gpt-oss-120b",
        vision="moonshotai/kimi-k2.6",
        thinker="openai/gpt-oss-120b",
    ),
    Dialect(
        "NVIDIA, older models",
        "nvidia",
        "meta/llama-3.3-70b-instruct",
        stage=1,
        older=True,
        differs={"parallel tools": OneByOne(), "reasoning": NO_EFFORT},
    ),
    Dialect(
        "OpenRouter",
        "openrouter",
        "openai/gpt-oss-120b:free",
        vision="google/gemma-4-31b-it:free",
        thinker="openai/gpt-oss-120b:free",
    ),
    Dialect(
        "Together",
        "together",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        vision="meta-llama/Llama-4-Scout-17B-16E-Instruct",
        thinker="openai/gpt-oss-120b",
    ),
    Dialect(
        "SambaNova",
        "sambanova",
        "gpt-oss-120b",
        vision="Llama-4-Maverick-17B-128E-Instruct",
        thinker="gpt-oss-120b",
        differs={"image https": NO_HTTPS, "logprobs": NO_LOGPROBS},
    ),
    Dialect(
        "Hugging Face",
        "huggingface",
        "openai/gpt-oss-120b",
        vision="Qwen/Qwen3-VL-235B-A22B-Instruct",
        thinker="openai/gpt-oss-120b",
    ),
    Dialect(
        "Cohere",
        "cohere",
        "command-a-03-2025",
        vision="command-a-vision-07-2025",
        thinker="command-a-reasoning-08-2025",
        differs={
            "image https": NO_HTTPS,
            "reasoning": Unshown(("reasoning_effort",)),
            "logprobs": NO_LOGPROBS,
        },
    ),
    Dialect("Z.ai", "zai", "glm-4.5-flash", vision="glm-4.6v-flash", thinker="glm-4.7-flash"),
    Dialect(
        "Gemini 2.5",
        "gemini",
        "gemini-2.5-flash",
        kind="gemini",
        vision="gemini-2.5-flash",
        thinker="gemini-2.5-flash",
        differs={"image https": NO_HTTPS, "logprobs": NO_LOGPROBS},
    ),
    Dialect(
        "Gemini 3",
        "gemini",
        "gemini-3.6-flash",
        provider="gemini3",
        kind="gemini",
        vision="gemini-3.6-flash",
        thinker="gemini-3.6-flash",
        differs={"image https": NO_HTTPS, "logprobs": NO_LOGPROBS},
    ),
    Dialect(
        "Gemini, OpenAI's form",
        "gemini-compat",
        "gemini-2.5-flash",
        provider="gemini",
        stage=1,
        kind="openai",
        vision="gemini-2.5-flash",
        thinker="gemini-2.5-flash",
        differs={
            "image https": NO_HTTPS,
            "reasoning": Unshown(),
            "logprobs": NO_LOGPROBS,
        },
    ),
    Dialect(
        "Anthropic",
        "anthropic",
        "claude-sonnet-4-5-20250929",
        kind="anthropic",
        vision="claude-sonnet-4-5-20250929",
        thinker="claude-sonnet-4-5-20250929",
        differs={"logprobs": NO_LOGPROBS},
    ),
    Dialect(
        "Ollama",
        "ollama",
        "gpt-oss:20b",
        kind="ollama",
        vision="gemma4:31b",
        thinker="gpt-oss:20b",
        differs={"image https": NO_HTTPS, "logprobs": NO_LOGPROBS},
    ),
    Dialect(
        "Ollama, OpenAI's form",
        "ollama-compat",
        "gpt-oss:20b",
        provider="ollama",
        stage=1,
        kind="openai",
        vision="gemma4:31b",
        thinker="gpt-oss:20b",
        differs={"image https": NO_HTTPS, "logprobs": NO_LOGPROBS},
    ),
]
