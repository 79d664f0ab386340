"""The `openai` engine: samples from any OpenAI-compatible server, or from several that serve the same model.

Waiting and trying again is the client library's: timeouts, dropped connections, 408, 409, 429 and 5xx are
asked again with growing pauses. What fails for good is handed on as a failed sample with its error, which the
store keeps and the next run asks for again.
"""

import asyncio
import os
import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import openai

from a2r.engines import EngineError, Generation, Request, log_probs

CHOICES = 8  # samples of one prompt that are asked for at once
LOST = 30  # requests in a row that no server took: the servers are gone, not the requests at fault
SEEDS = 2**31  # some servers take no larger ones


@dataclass
class Server:
    """One URL that serves the model, and how many requests it is working on."""

    url: str
    client: openai.AsyncOpenAI
    busy: int = 0


@dataclass
class Run:
    """The state of one `generate`: what is left to ask, what came back, and whether to go on."""

    requests: Iterator[Request]
    out: queue.Queue = field(default_factory=queue.Queue)
    lost: int = 0


def parts(request: Request) -> Iterator[Request]:
    """The request in pieces of CHOICES samples: one of many is stored when its slowest is done, and may time out."""
    for indices, seeds in zip(batched(request.indices), batched(request.seeds), strict=True):
        yield replace(request, indices=indices, seeds=seeds)


def batched(values: tuple) -> Iterator[tuple]:
    return (values[i : i + CHOICES] for i in range(0, len(values), CHOICES))


class OpenAIEngine:
    """Asks the model `model` of the servers at `base_url` (one URL or several, which then share the requests, the least
    busy first).

    `concurrency` requests of up to CHOICES samples are open at a time at each URL, each is given `timeout` seconds, and
    tried `retries` times more. The key is read from the environment variable that `api_key_env` names, and from nowhere
    else. `extra_body` is added to every request (fields that only some servers know).
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        base_url: str | list[str],
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout: float = 3600.0,
        retries: int = 6,
        extra_body: dict | None = None,
    ):
        urls = [base_url] if isinstance(base_url, str) else list(base_url)
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise EngineError(f"base_url {url!r} is not an address; give one such as http://localhost:8000/v1.")
            if parts.password or parts.query:
                raise EngineError(
                    f"the base_url at {parts.hostname} carries a secret; name its variable in api_key_env instead."
                )
        self.model, self.key_name, self.urls = model, api_key_env, urls
        self.key = os.environ.get(api_key_env, "")
        self.concurrency, self.timeout, self.retries, self.extra = concurrency, timeout, retries, extra_body or {}
        self.takes_n = self.gives_logprobs = True  # until a server says otherwise
        self.version = self._check()

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Yield one Generation per wanted sample, in the order in which the servers finish.

        EngineError if a server refuses the key or the model, or if none can be reached any more.
        """
        # A notebook's kernel runs an event loop in the main thread already, hence one in a thread of its own.
        run = Run(part for request in requests for part in parts(request))
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._work(run))
        thread = threading.Thread(target=self._drive, args=(loop, task, run.out), daemon=True)
        thread.start()
        try:
            while (item := run.out.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(task.cancel)
            thread.join()

    def score(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """No OpenAI-compatible server has to say how likely a given text is; see `vllm.VLLMEngine`."""
        raise EngineError(
            f"the server at {self.urls[0]} cannot be asked how likely a text is; "
            "choose the engine transformers or vllm."
        )

    def close(self) -> None:
        """Nothing is held between calls."""

    def _check(self) -> str:
        """What answers at the URLs; EngineError if nothing does, or nothing that serves the model."""
        owners = set()
        for url in self.urls:
            try:
                served = self._served(url)
            except openai.NotFoundError:
                with suppress(openai.APIError):
                    self._served(place := f"{url.rstrip('/')}/v1")
                    raise EngineError(
                        f"the server at {url.rstrip('/')} has its models at {place}; give that as base_url."
                    ) from None
                continue  # a gateway that lists nothing may serve all the same
            except openai.APIError as error:
                raise self._fatal(error, url) or EngineError(
                    f"the server at {url} gave no list of models ({self._said(error)})."
                ) from None
            if self.model not in (names := [m.id for m in served]):
                raise EngineError(
                    f"the server at {url} does not serve '{self.model}'; it serves {', '.join(names) or 'nothing'}."
                )
            owners |= {m.owned_by or "unnamed" for m in served}
        return f"openai {openai.__version__}" + (f", server {'+'.join(sorted(owners))}" if owners else "")

    def _served(self, url: str) -> list:
        """The models that are listed at `url`."""
        with openai.OpenAI(base_url=url, api_key=self.key or "none", timeout=30.0, max_retries=2) as client:
            return list(client.models.list())

    @staticmethod
    def _drive(loop: asyncio.AbstractEventLoop, task: asyncio.Task, out: queue.Queue) -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            out.put(error)
        finally:
            out.put(None)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _work(self, run: Run) -> None:
        settings = {"api_key": self.key or "none", "timeout": self.timeout, "max_retries": self.retries}
        servers = [Server(url, openai.AsyncOpenAI(base_url=url, **settings)) for url in self.urls]
        fatal = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency * len(servers)):
                    group.create_task(self._worker(run, servers))
        except* EngineError as errors:
            fatal = errors.exceptions[0]
        finally:
            for server in servers:
                with suppress(Exception):
                    await server.client.close()
        if fatal:  # raised there, its context would be the group that it is in, and IPython shows no error at all
            raise fatal

    async def _worker(self, run: Run, servers: list[Server]) -> None:
        for request in run.requests:
            wanted = list(range(len(request.indices)))
            if self.takes_n:
                wanted = await self._ask(run, servers, request, wanted)
            for place in wanted:  # one by one, of a server that gives one choice a request
                await self._ask(run, servers, request, [place])

    async def _ask(self, run: Run, servers: list[Server], request: Request, places: list[int]) -> list[int]:
        """Ask for the samples at `places` of the request in one call and hand them on; returns the places that are
        still wanted."""
        sampling, started, sure = request.sampling, time.perf_counter(), self.gives_logprobs
        server = min(servers, key=lambda s: s.busy)
        server.busy += 1
        extra = {**({"top_k": sampling.top_k} if sampling.top_k else {}), **self.extra}
        if request.template:
            extra["chat_template_kwargs"] = request.template
        try:
            answer = await server.client.chat.completions.create(
                model=self.model,
                messages=list(request.messages),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=request.seeds[places[0]] % SEEDS,
                extra_body=extra,
                **({"n": len(places)} if len(places) > 1 else {}),
                **({"logprobs": True} if sure else {}),
            )
            made = list(read(answer, request, places, time.perf_counter() - started))
        except openai.APIError as error:
            if isinstance(error, (openai.BadRequestError, openai.UnprocessableEntityError)):
                if sure and about_logprobs(error):
                    self.gives_logprobs = False
                    return await self._ask(run, servers, request, places)
                if len(places) > 1 and about_n(error):
                    self.takes_n = False
                    return places
                room = await asyncio.to_thread(self._room, request, error) if about_length(error) else 0
                if 0 < room < sampling.max_tokens:
                    shorter = replace(request, sampling=replace(sampling, max_tokens=room))
                    return await self._ask(run, servers, shorter, places)
            if fatal := self._fatal(error, server.url):
                if not isinstance(error, openai.APIConnectionError) or run.lost >= LOST:
                    raise fatal from None
                run.lost += 1
            made = [failed(request, place, self._said(error), time.perf_counter() - started) for place in places]
        except (TypeError, AttributeError, ValueError, IndexError) as error:  # 200 and something else than a completion
            made = [
                failed(request, p, f"unreadable answer ({type(error).__name__})", time.perf_counter() - started)
                for p in places
            ]
        else:
            run.lost = 0
        finally:
            server.busy -= 1
        for generation in made:
            run.out.put(generation)
        return places[len(made) :]  # a server that ignores n gives one choice

    def _room(self, request: Request, error: openai.APIStatusError) -> int:
        """How many tokens the context leaves an output of the request, which the server refused as too long; 0 where
        it does not say."""
        context = re.search(r"context length is (\d+)", error.message)
        prompt = re.search(r"(?:has|contains) (\d+) input tokens|\((\d+) in the messages", error.message)
        return int(context[1]) - int(prompt[1] or prompt[2]) if context and prompt else 0

    def _fatal(self, error: openai.APIError, url: str) -> EngineError | None:
        """The error that ends a run, if `error` is one that every further request would meet too."""
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            state = "holds a key that it refuses" if self.key else "holds none"
            return EngineError(
                f"the server at {url} wants a key and ${self.key_name} {state}; set it in the environment."
            )
        if isinstance(error, openai.NotFoundError):
            return EngineError(f"the server at {url} does not know '{self.model}' ({self._said(error)}).")
        if isinstance(error, openai.APIConnectionError):
            return EngineError(
                f"no server answers at {url} ({self._said(error)}); start one there or correct base_url."
            )
        return None

    def _said(self, error: openai.APIError) -> str:
        """The error in a line, without the key, however the server quotes it."""
        status = getattr(error, "status_code", "")
        line = " ".join(f"{type(error).__name__} {status} {error.message}".split())[:500]
        return line.replace(self.key, "***") if self.key else line


def about_n(error: openai.APIStatusError) -> bool:
    """Whether a server refused a request because of its `n`."""
    body = error.body if isinstance(error.body, dict) else {}
    return body.get("param") == "n" or bool(re.search(r"""['"`]n['"`]|\bn (must|>)|\bn=|multiple""", error.message))


def about_length(error: openai.APIStatusError) -> bool:
    """Whether a server refused a request because prompt and output do not fit its context together."""
    return bool(re.search(r"context length|max_tokens.*too large", error.message))


def about_logprobs(error: openai.APIStatusError) -> bool:
    """Whether a server refused a request because it was asked for log-probabilities."""
    body = error.body if isinstance(error.body, dict) else {}
    return "logprob" in f"{body.get('param')} {error.message}".lower()


def read(answer, request: Request, places: list[int], seconds: float) -> Iterator[Generation]:
    """The samples in a completion. Servers count the tokens of all choices together: they are shared out by length of
    text."""
    choices = sorted(answer.choices or [], key=lambda c: c.index)[: len(places)]
    if not choices:
        raise ValueError("no choices")
    usage = answer.usage
    prompt, written = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
    cached = cached if cached or prompt is None else 0
    texts = [text_of(choice.message) for choice in choices]
    counts = [len(ids) if (ids := getattr(choice, "token_ids", None)) else None for choice in choices]
    if None in counts and written is not None:
        counts = share(written, [len(text) + 1 for text in texts])
    for k, (choice, text, count) in enumerate(zip(choices, texts, counts, strict=True)):
        reason = choice.finish_reason
        error = "" if reason in ("stop", "length") else f"ended with '{reason}'"
        sure = getattr(getattr(choice, "logprobs", None), "content", None) or []
        yield Generation(
            key=request.key,
            index=request.indices[places[k]],
            text=text,
            finish_reason="error" if error else reason,
            prompt_tokens=prompt,
            cached_tokens=cached if k == 0 else prompt,  # the prompt is computed once for all choices
            completion_tokens=count,
            seconds=seconds,
            error=error,
            logprobs=log_probs([token.logprob for token in sure]),
        )


def text_of(message) -> str:
    """What the model wrote, thinking included, wherever the server put it."""
    content = message.content or ""
    thinking = getattr(message, "reasoning", None) or getattr(message, "reasoning_content", None)
    if not isinstance(thinking, str):
        return content
    # cut off while thinking there is no content, and no closing mark may be made up for it
    return f"<think>\n{thinking}\n</think>\n\n{content}" if message.content is not None else f"<think>\n{thinking}"


def share(total: int, weights: list[int]) -> list[int]:
    """`total` in whole parts in proportion to `weights`; the parts add up to it."""
    ends = [round(total * sum(weights[: k + 1]) / sum(weights)) for k in range(len(weights))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def failed(request: Request, place: int, error: str, seconds: float) -> Generation:
    return Generation(request.key, request.indices[place], "", "error", 0, 0, 0, seconds, error)
