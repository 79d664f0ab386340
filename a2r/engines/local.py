"""The `transformers` engine: samples from a causal language model inside this process.

Rows (samples) join and leave a running batch. Each owns a *slot* of a preallocated key-value cache and
fills it from the left: when a row finishes, the last row moves into its slot, so nothing is shifted,
concatenated or computed for rows that are done. A prompt is computed once and copied into the slots of all its samples.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numba
import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch.nn.functional import pad
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import Cache
from transformers.utils import logging

from a2r.engines import EngineError, Generation, Request, log_probs
from a2r.engines.drawing import DRAWN, choose, uniform_numbers
from a2r.engines.qwen3 import Qwen3
from a2r.engines.slots import SlotLayer, Slots, attend

ROWS = {True: 256, False: 512}  # at most in a batch, of a small model or another: more would only take memory
MEMORY = 2**30  # bytes of keys and values that a CPU engine takes by default
SMALL = 2**25  # bytes of weights up to which processes of one thread beat one of several threads
ROWS_OF_A_PROCESS = 32  # at least, or it is not worth starting
PREFILL_TOKENS = {True: 512, False: 2048}  # computed at once; a small model's activations stay in the caches
SCORED_AT_ONCE = 1024  # tokens whose logits are held, times the vocabulary
REFILL = 0.75  # new rows join when no more than this share of the rows that fit is left


@dataclass
class Row:
    """A wanted sample; `limit` is how many tokens it may have, below 1 if the prompt alone fills the context.

    The samples of a request share one `prompt`, the same list.
    """

    request: Request
    index: int
    prompt: list[int]
    limit: int
    uniforms: Iterator[np.ndarray]
    cached: int = 0
    started: float = 0.0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def reach(self) -> int:
        """The longest that the row can become, tokens."""
        return len(self.prompt) + self.limit


class TransformersEngine:
    """Samples from `model` (a local folder or a hub id) in this process, on the CPU or one GPU.

    `token_budget` bounds the tokens held at once, rows × longest possible row, and with it the memory,
    however many requests there are; by default it is what fits 1 GiB of keys and values, or most of the free
    GPU memory. `dtype` is a torch dtype by name; `threads` is torch's number of CPU threads.
    """

    name = "transformers"

    def __init__(
        self,
        model: str | Path,
        revision: str | None = None,
        dtype: str = "float32",
        device: str | None = None,
        token_budget: int | None = None,
        threads: int | None = None,
    ):
        if threads:
            torch.set_num_threads(threads)
        self.version = f"transformers {transformers.__version__}, torch {torch.__version__}"
        self.label = str(model)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.tokenizer, self.model = load(model, revision, dtype)
        try:
            self.model.to(self.device).eval()
        except (AssertionError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise EngineError(
                f"model '{model}' cannot be put on device '{self.device}' ({reason}); pass device='cpu'."
            ) from error
        if slotted := self.model.config._attn_implementation == "sdpa":
            self.model.set_attn_implementation("slots")
        config = self.model.config.get_text_config(decoder=True)
        self.context = config.max_position_embeddings
        eos = self.model.generation_config.eos_token_id
        self.stops = {*(eos if isinstance(eos, list) else [eos]), self.tokenizer.eos_token_id} - {None}
        kinds = set(getattr(config, "layer_types", None) or [])
        if "longrope" in str(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)):
            raise EngineError(
                f"model '{model}' turns positions by the longest prompt of a batch (LongRoPE), so that a sample would "
                "depend on its neighbours; serve it with vLLM."
            )
        if not kinds <= {"full_attention", "sliding_attention"}:
            raise EngineError(
                f"model '{model}' has {', '.join(sorted(kinds))} layers, which this engine cannot batch; "
                "serve it with vLLM."
            )
        self.window = None if kinds == {"full_attention"} else getattr(config, "sliding_window", None)
        self.mask_by_kind = bool(kinds) and self.window is not None
        self.small = self.device.type == "cpu" and sum(p.nbytes for p in self.model.parameters()) <= SMALL
        self.quick = Qwen3(self.model) if self.small and slotted and Qwen3.fits(self.model) else None
        if self.quick:
            self.version += f", numba {numba.__version__}"
        self.probe = self.prefill([[0]])  # shows what a token's keys and values look like
        if token_budget is None:
            memory = 0.7 * torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else MEMORY
            token_budget = int(memory / sum(t.nbytes for layer in self.probe for t in layer))
        self.token_budget = token_budget
        self.processes = torch.get_num_threads() if self.small and sys.platform == "linux" else 1

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Yield one Generation per wanted sample as it finishes, those of the longest prompts first.

        Operations of a small model are too short for several threads, so its requests are dealt to forked processes.
        """
        requests = list(requests)
        processes = min(self.processes, sum(len(r.indices) for r in requests) // ROWS_OF_A_PROCESS)
        if processes < 2:
            return self._generate(requests)
        settings = {"in_order": False, "prefetch_factor": ROWS[True], "multiprocessing_context": "fork"}
        return iter(DataLoader(Shares(self, requests), None, num_workers=processes, **settings))

    def _generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        for row, reason in self.finished(requests):
            too_long = reason == "error"
            yield self._too_long(row.request, row.index, len(row.prompt)) if too_long else self._finish(row, reason)

    def finished(self, requests: Iterable[Request]) -> Iterator[tuple[Row, str]]:
        """`generate` in tokens: the finished rows with their finish reason ("error": the prompt alone fills the
        context)."""
        batch, rows = Batch(self), self._rows(requests)
        waiting = next(rows, None)
        while waiting or batch.rows:
            if batch.hungry():
                while waiting and (waiting.limit < 1 or batch.take(waiting)):
                    if waiting.limit < 1:
                        yield waiting, "error"
                    waiting = next(rows, None)
            try:
                finished = batch.step()
            except torch.OutOfMemoryError as error:
                budget = f"a token budget of {self.token_budget}"
                raise EngineError(
                    f"{self.label} ran out of memory on {self.device} with {budget}; pass a smaller token_budget."
                ) from error
            yield from finished

    def score(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """See `Engine.score`; the longest first, as many at once as PREFILL_TOKENS allow."""
        rows = []
        for request in requests:
            text = self.tokenizer(request.scored, add_special_tokens=False).input_ids
            rows.append((request, self._encode(request), text))
        rows.sort(key=lambda row: -len(row[1]) - len(row[2]))
        while rows:
            longest = max(1, len(rows[0][1]) + len(rows[0][2]))
            batch, rows = rows[: (size := max(1, PREFILL_TOKENS[self.small] // longest))], rows[size:]
            started = time.perf_counter()
            fits = [row for row in batch if len(row[1]) + len(row[2]) <= self.context]
            numbers = iter(self._scored(fits))
            for request, prompt, text in batch:
                length = len(prompt) + len(text)
                if length > self.context:
                    yield self._too_long(request, request.indices[0], length)
                    continue
                sure, seconds = log_probs(next(numbers)), time.perf_counter() - started
                yield Generation(request.key, request.indices[0], "", "stop", length, 0, 0, seconds, logprobs=sure)

    @torch.inference_mode()
    def _scored(self, rows: list[tuple[Request, list[int], list[int]]]) -> list[list[float]]:
        """The log-probability of each token of each row's text, after its prompt; no more than SCORED_AT_ONCE tokens'
        logits at a time."""
        if not rows:
            return []
        longest = max(len(prompt) + len(text) for _, prompt, text in rows)
        ids = torch.tensor([[*p, *t, *[0] * (longest - len(p) - len(t))] for _, p, t in rows], device=self.device)
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        head, numbers = self._head(), []
        for at, (_, prompt, text) in enumerate(rows):
            places = torch.arange(len(prompt) - 1, len(prompt) + len(text) - 1, device=self.device)
            parts = [
                head(hidden[at, part]).float().log_softmax(-1).gather(-1, ids[at, part + 1][:, None])[:, 0]
                for part in places.split(SCORED_AT_ONCE)
            ]
            numbers.append(torch.cat(parts).tolist())
        return numbers

    def _head(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Logits from the last hidden states: the output embeddings, and what some models do with their logits."""
        config, head = self.model.config.get_text_config(decoder=True), self.model.get_output_embeddings()
        factor = getattr(config, "logit_scale", None) or 1.0  # Cohere
        factor /= getattr(config, "logits_scaling", None) or 1.0  # Granite
        cap = getattr(config, "final_logit_softcapping", None)  # Gemma
        if factor == 1 and not cap:
            return head
        return lambda hidden: (cap * torch.tanh(head(hidden) / cap) if cap else head(hidden)) * factor

    def take_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Go on with other `weights`, a state dict of the model: those of a training that goes on, say."""
        self.model.load_state_dict(weights)
        self.quick = self.quick and Qwen3(self.model)

    def close(self) -> None:
        """Free the model."""
        self.model = self.quick = self.probe = None
        if not self.small:  # of a small one there is little to free, and collecting takes as long as loading it
            gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def prefill(self, prompts: list[list[int]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each layer, [prompts, heads, longest, head_dim], of `prompts`.

        Shorter ones are padded on the right: no token sees what comes after it, so this needs no mask.
        """
        longest = max(len(p) for p in prompts)
        ids = torch.tensor([p + [0] * (longest - len(p)) for p in prompts], device=self.device)
        if self.quick:
            return self.quick.prefill(ids)
        cache = DynamicCache()
        self.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _rows(self, requests: Iterable[Request]) -> Iterator[Row]:
        """The wanted samples; a prompt is encoded only when its turn comes, so the order is by characters.

        The long ones come first: they are also the slow ones, and the last rows, which run in a small batch, are then
        short.
        """
        for request in sorted(requests, key=lambda r: -sum(len(m["content"]) for m in r.messages)):
            prompt = self._encode(request)
            limit = min(request.sampling.max_tokens, self.context - len(prompt))
            for index, seed in zip(request.indices, request.seeds, strict=True):
                yield Row(request, index, prompt, limit, uniform_numbers(seed))

    def _encode(self, request: Request) -> list[int]:
        return self.tokenizer.apply_chat_template(
            list(request.messages), add_generation_prompt=True, tokenize=True, return_dict=False, **request.template
        )

    def _too_long(self, request: Request, index: int, length: int) -> Generation:
        error = f"prompt of {length} tokens exceeds the context of {self.context} tokens of {self.label}"
        return Generation(request.key, index, "", "error", length, 0, 0, 0.0, error)

    def _finish(self, row: Row, reason: str) -> Generation:
        written = row.tokens[:-1] if reason == "stop" else row.tokens
        text = self.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        seconds, sure = time.perf_counter() - row.started, log_probs(row.logprobs)
        counts = len(row.prompt), row.cached, len(row.tokens)
        return Generation(row.request.key, row.index, text, reason, *counts, seconds, logprobs=sure)


class Shares(IterableDataset):
    """The samples of `requests`; each worker of a DataLoader generates its share of them on its copy of `engine`."""

    def __init__(self, engine: TransformersEngine, requests: list[Request]):
        self.engine, self.requests = engine, requests

    def __iter__(self) -> Iterator[Generation]:
        worker = get_worker_info()
        self.engine.token_budget //= worker.num_workers
        return self.engine._generate(self.requests[worker.id :: worker.num_workers])


class Batch:
    """The rows being generated, and their slots. A row's newest token has been chosen but is not in its slot yet."""

    def __init__(self, engine: TransformersEngine):
        self.engine = engine
        self.slots = Slots(engine.probe)
        self.rows: list[Row] = []
        self.joining: list[Row] = []  # have a place in the budget, but no slot yet
        self.reach = 0  # the longest that a row may become, tokens
        self.state: dict[str, torch.Tensor] = {}  # a tensor of [rows] for each name
        # What each row has written, its log-probabilities and its random numbers: a line each, the row's `place`
        self.written, self.sure, self.uniforms = (
            torch.zeros((0, 0), dtype=dtype, device=engine.device) for dtype in (torch.int32, *[torch.float32] * 2)
        )
        self.free: list[int] = []
        self.stops = torch.tensor(sorted(engine.stops), dtype=torch.long, device=engine.device)

    def fits(self, reach: int) -> int:
        """How many rows of up to `reach` tokens the budget allows in slots that are no narrower than they are; at least
        one."""
        return max(1, min(ROWS[self.engine.small], self.engine.token_budget // max(1, reach, self.slots.columns)))

    def hungry(self) -> bool:
        """Whether it is time to let new rows join."""
        return len(self.rows) <= REFILL * self.fits(self.reach)

    def take(self, row: Row) -> bool:
        """Let `row` join at the next step if the budget allows it; an empty batch takes any row."""
        reach = max(self.reach, row.reach)
        if len(self.rows) + len(self.joining) >= self.fits(reach):
            return False
        self.reach = reach
        self.joining.append(row)
        return True

    @torch.inference_mode()
    def join(self) -> None:
        """Compute the prompts of the joining rows, each once, and copy them into the rows' slots."""
        engine, new, started = self.engine, self.joining, time.perf_counter()
        slots, slot = self.slots, len(self.rows)
        if slot + len(new) > slots.size or self.reach > slots.columns:
            # as many as fit: a CPU takes no memory for slots before they are written to
            most = self.fits(self.reach) if engine.device.type == "cpu" else slot + len(new)
            slots.resize(most, max(self.reach, slots.columns))
        prompts: list[list[int]] = []
        source: list[int] = []  # of each row, the place of its prompt
        for row in new:
            row.started = started
            if prompts and prompts[-1] is row.prompt:
                row.cached = len(row.prompt) - 1
            else:
                prompts.append(row.prompt)
            source.append(len(prompts) - 1)
        size = max(1, PREFILL_TOKENS[engine.small] // max(map(len, prompts)))
        for first in range(0, len(prompts), size):
            # A prompt's last token is left to the first step, which then gives the logits of each sample.
            heads = [prompt[:-1] for prompt in prompts[first : first + size]]
            members = [place - first for place in source if first <= place < first + size]
            if any(heads):
                slots.insert(slot, engine.prefill(heads), torch.tensor(members, device=engine.device))
            slot += len(members)
        slots.rows, slots.width = slot, max(slots.width, *(len(row.prompt) for row in new))
        settings = [row.request.sampling for row in new]
        columns = {
            "place": self._places(new),
            "last": [row.prompt[-1] for row in new],
            "lengths": [len(row.prompt) - 1 for row in new],
            "count": [0] * len(new),
            "limit": [row.limit for row in new],
            "temperature": [float(s.temperature) for s in settings],
            "top_k": [s.top_k for s in settings],
            "top_p": [float(s.top_p) for s in settings],
        }
        for name, values in columns.items():
            column = torch.tensor(values, device=engine.device)
            self.state[name] = torch.cat([self.state[name], column]) if self.rows else column
        self.rows += new
        self.joining = []

    @torch.inference_mode()
    def step(self) -> list[tuple[Row, str]]:
        """Generate one token for every row; returns the rows that finished, with their finish reason."""
        if self.joining:
            self.join()
        if not self.rows:
            return []
        engine, state = self.engine, self.state
        lengths, place, count = state["lengths"], state["place"], state["count"]
        logits = self._logits(state["last"], lengths).float()
        if len(dry := (count % DRAWN == 0).nonzero()[:, 0]):
            drawn = np.stack([next(self.rows[slot].uniforms) for slot in dry.tolist()])
            self.uniforms[place[dry]] = torch.from_numpy(drawn).to(engine.device)
        uniforms = self.uniforms[place, count % DRAWN]
        last, sure = choose(logits, uniforms, state["temperature"], state["top_k"], state["top_p"])
        self.written[place, count] = last.int()
        self.sure[place, count] = sure
        state |= {"last": last, "lengths": lengths + 1, "count": count + 1}
        self.slots.width += 1
        stopped = torch.isin(last, self.stops)
        gone = (stopped | (state["count"] >= state["limit"])).nonzero()[:, 0]
        finished = [(self.rows[slot], "stop" if stopped[slot] else "length") for slot in gone.tolist()]
        for (row, _), line, n in zip(finished, place[gone].tolist(), state["count"][gone].tolist(), strict=True):
            row.tokens, row.logprobs = self.written[line, :n].tolist(), self.sure[line, :n].tolist()
            self.free.append(line)
        if finished:
            self._drop(set(gone.tolist()))
        return finished

    def _logits(self, last: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """What follows the rows' `last` tokens, which go into their slots, where `lengths` are; [rows, vocabulary]."""
        engine = self.engine
        self.slots.aim(lengths)
        if engine.quick:
            return engine.quick.logits(last, lengths, partial(attend, self.slots))
        return engine.model(
            input_ids=last[:, None],
            attention_mask=self._mask(lengths),
            position_ids=lengths[:, None],
            past_key_values=Cache(layers=[SlotLayer(self.slots, i) for i in range(len(engine.probe))]),
            use_cache=True,
        ).logits[:, -1]

    def _mask(self, lengths: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """What is added to attention scores, 0 for a row's own tokens, the lowest number elsewhere; [rows, 1, 1,
        width]."""
        engine, columns = self.engine, torch.arange(self.slots.width, device=lengths.device)
        lowest = torch.finfo(engine.model.dtype).min
        none = torch.zeros((), dtype=engine.model.dtype, device=lengths.device)
        mask = torch.where(columns > lengths[:, None], lowest, none)[:, None, None]
        if engine.window is None:
            return mask
        sliding = mask.masked_fill((columns <= lengths[:, None] - engine.window)[:, None, None], lowest)
        return {"full_attention": mask, "sliding_attention": sliding} if engine.mask_by_kind else sliding

    def _drop(self, gone: set[int]) -> None:
        """Free the slots `gone`: the last live rows move into them, so that the live slots stay the first ones."""
        slots = self.slots
        order = [slot for slot in range(slots.rows) if slot not in gone]
        holes = [slot for slot in range(len(order)) if slot in gone]
        if holes:
            movers = order[-len(holes) :]
            slots.move(*(torch.tensor(at, device=self.engine.device) for at in (movers, holes)))
            moved = dict(zip(holes, movers, strict=True))
            order = [moved.get(slot, slot) for slot in range(len(order))]
        self.rows = [self.rows[slot] for slot in order]
        kept = torch.tensor(order, dtype=torch.long, device=self.engine.device)
        self.state = {name: column[kept] for name, column in self.state.items()}
        self.reach = max((row.reach for row in self.rows), default=0)
        if self.rows:
            slots.rows, slots.width = len(order), int(self.state["lengths"].max()) + 1
        else:
            self.slots = Slots(self.engine.probe)

    def _places(self, new: list[Row]) -> list[int]:
        """Lines for new rows."""
        lines, columns = self.written.shape
        more, wider = max(0, len(new) - len(self.free)), max(0, max(row.limit for row in new) - columns)
        if more or wider:
            self.free += range(lines, lines + more)
            self.written, self.sure = (pad(table, (0, wider, 0, more)) for table in (self.written, self.sure))
            self.uniforms = pad(self.uniforms, (0, DRAWN - self.uniforms.shape[1], 0, more))
        return [self.free.pop() for _ in new]


def load(model: str | Path, revision: str | None, dtype: str) -> tuple:
    """Tokenizer and model of a local folder or a hub id, or an EngineError that says what is wrong with it."""
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise EngineError(
            f"dtype '{dtype}' of model '{model}' is not one of torch's; pass float32, bfloat16 or float16."
        )
    where = f"'{model}'" + (f" (revision {revision})" if revision else "")
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        if not tokenizer.chat_template:
            raise EngineError(
                f"the tokenizer of {where} has no chat template, so it cannot be asked a question; "
                "use an instruction-tuned model."
            )
        loaded, info = AutoModelForCausalLM.from_pretrained(
            model, revision=revision, dtype=dtype, output_loading_info=True
        )
    except EngineError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        if not Path(model).is_dir() and isinstance(error, OSError):
            message = (
                f"model {where} was found neither as a local folder nor on the Hugging Face hub; "
                "correct its path (from the profile's folder or the repository's) or its hub id, or download it first."
            )
        else:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            message = f"model {where} cannot be read ({reason}); download or train it again."
        raise EngineError(message) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise EngineError(
            f"model {where} is incomplete ({len(missing)} tensors are missing, such as {missing[0]}); "
            "download or train it again."
        )
    return tokenizer, loaded
