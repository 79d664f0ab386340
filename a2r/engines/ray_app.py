"""An OpenAI-compatible application for Ray Serve over the `transformers` engine, where vLLM cannot run (Ray without
GPUs).

    serve run a2r.engines.ray_app:application model=data/models/nano-64 name=nano-64

Ray starts and stops replicas with the load, on all machines of its cluster, and shares the requests among
them; a2r asks it like any other server (engine `openai`). On GPUs use Ray Serve LLM, which runs vLLM.
"""

import asyncio
import time
import uuid

from ray import serve
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse

from a2r.engines import Request, Sampling
from a2r.engines.local import TransformersEngine

AUTOSCALING = {"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 64}


@serve.deployment(max_ongoing_requests=256)
class Served:
    """One replica: a model in memory, whose waiting requests are answered in one batch."""

    def __init__(self, model: str, name: str):
        self.name, self.engine = name, TransformersEngine(model, threads=1)

    async def __call__(self, request: HTTPRequest) -> JSONResponse:
        if request.url.path.endswith("/models"):
            return JSONResponse(
                {"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "ray-serve"}]}
            )
        body = await request.json()
        if body.get("model") != self.name:
            return JSONResponse(
                {"error": {"message": f"there is no model '{body.get('model')}'; it is '{self.name}'."}},
                status_code=404,
            )
        return JSONResponse(await self.complete(body))

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.05)
    async def complete(self, bodies: list[dict]) -> list[dict]:
        return await asyncio.to_thread(self.answer, bodies)

    def answer(self, bodies: list[dict]) -> list[dict]:
        """The completions of chat requests, in their order."""
        requests = [asked(str(k), body) for k, body in enumerate(bodies)]
        made: list[list] = [[] for _ in bodies]
        for generation in self.engine.generate(requests):
            made[int(generation.key)].append(generation)
        return [completion(self.name, sorted(samples, key=lambda g: g.index)) for samples in made]


def asked(key: str, body: dict) -> Request:
    """A chat request's body as a Request; choice i is drawn with its seed plus i, as vLLM does it."""
    sampling = Sampling(
        body.get("temperature", 1.0), body.get("top_p", 1.0), body.get("top_k", 0), body.get("max_tokens", 1024)
    )
    n, seed = body.get("n", 1), body.get("seed") or uuid.uuid4().int % 2**31
    template = body.get("chat_template_kwargs", {})
    return Request(key, tuple(body["messages"]), sampling, tuple(range(n)), tuple(range(seed, seed + n)), template)


def completion(model: str, samples: list) -> dict:
    """A chat completion of a request's samples."""
    prompt, written = samples[0].prompt_tokens, [g.completion_tokens for g in samples]
    return {
        **{
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
        },
        "choices": [
            {"index": k, "finish_reason": g.finish_reason, "message": {"role": "assistant", "content": g.text}}
            for k, g in enumerate(samples)
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": sum(written), "total_tokens": prompt + sum(written)},
    }


def application(arguments: dict) -> serve.Application:
    """What `serve run` builds; `arguments`: model (folder or hub id), name (what it is served as), and optionally
    max_replicas."""
    scaling = {**AUTOSCALING, "max_replicas": int(arguments.get("max_replicas", AUTOSCALING["max_replicas"]))}
    return Served.options(autoscaling_config=scaling).bind(
        arguments["model"], arguments.get("name", arguments["model"])
    )
