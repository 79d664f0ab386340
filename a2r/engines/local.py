"""The `transformers` engine: samples from a causal language model inside this process.

Rows join and leave a running batch one by one. Each row owns a *slot* of a preallocated key-value
cache and fills it from the left, so that a finished row is replaced by copying one slot over another,
and a new one is written into a free slot; nobody is padded, shifted or concatenated. A prompt is computed
once and its slot copied for each of the request's samples.

Simplified against a server such as vLLM: a row's slot is reserved at its longest possible length, no
cache is shared across requests, and every row pays attention over the width of the longest one.
"""

import gc
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils import logging

from a2r.engines import EngineError, Generation, Request

MAX_ROWS = 512  # beyond this a CPU step only gets slower, and a GPU step's logits get large
MEMORY = 2**30  # bytes of keys and values that a CPU engine takes by default
PREFILL_TOKENS = 8192  # prompt tokens computed at once, bounds the activations
REFILL = 0.5  # new rows join when fewer than this share of the rows that would fit are left


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, each [slots, heads, columns, head_dim]; where a token goes is told by the cache."""

    def __init__(self, cache: "SlotCache", like: CacheLayerMixin):
        super().__init__()
        self.cache, self.keys, self.values = cache, like.keys[:0, :, :0], like.values[:0, :, :0]
        self.memory = [self.keys.flatten(), self.values.flatten()]
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the slots exist from the start."""

    def resize(self, slots: int, columns: int) -> None:
        """Lay the memory out anew, and take more of it if need be; what the live rows hold stays."""
        laid_out = []
        for i, old in enumerate((self.keys, self.values)):
            heads, size = old.shape[1], old.shape[3]
            held = old[: self.cache.rows, :, :columns].clone()
            if self.memory[i].numel() < slots * heads * columns * size:
                self.memory[i] = zeros(slots * heads * columns * size, like=old)
            laid_out.append(self.memory[i][: slots * heads * columns * size].view(slots, heads, columns, size))
            laid_out[i][: self.cache.rows, :, : held.shape[2]] = held
        self.keys, self.values = laid_out

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token per row; both states are [rows, heads, 1, head_dim]. Returns [rows, heads, width, head_dim] views."""
        seen = []
        for slots, new in ((self.keys, key_states), (self.values, value_states)):
            slots.view(-1, slots.shape[3]).index_copy_(0, self.cache.place(slots.shape[1]), new.reshape(-1, new.shape[3]))
            seen.append(slots[: self.cache.rows, :, : self.cache.width])
        return seen[0], seen[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.width, 0

    def get_seq_length(self) -> int:
        return self.cache.width - 1

    def get_max_length(self) -> int:
        return -1


def zeros(count: int, like: torch.Tensor) -> torch.Tensor:
    """`count` zeros of `like`'s type and device. Zeros because a masked column counts 0 times what it holds, and 0 times NaN is NaN.

    On a CPU through numpy, which leaves the memory untouched, and so untaken, until it is written to.
    """
    if like.device.type != "cpu":
        return like.new_zeros(count)
    return torch.from_numpy(np.zeros(count * like.element_size(), np.uint8)).view(like.dtype)


class SlotCache(Cache):
    """The key-value slots of a batch. The first `rows` slots are live; row i has `lengths[i]` tokens in columns 0.. of its slot."""

    def __init__(self, like: Cache):
        """Take the number of layers, heads, dtype and device from `like`, a cache that the model has filled."""
        self.rows = self.width = self.slots = self.columns = 0
        self.lengths = torch.empty(0, dtype=torch.long)
        self.places: dict[int, torch.Tensor] = {}
        super().__init__(layers=[SlotLayer(self, layer) for layer in like.layers])

    def resize(self, slots: int, columns: int) -> None:
        """Make room for `slots` rows of `columns` tokens; what the live rows hold stays."""
        for layer in self.layers:
            layer.resize(slots, columns)
        self.slots, self.columns = slots, columns

    def aim(self, lengths: torch.Tensor, width: int) -> None:
        """Direct the next token of each of the first `len(lengths)` rows to column `lengths[i]`; the longest row is then `width` long."""
        self.rows, self.width, self.lengths, self.places = len(lengths), width, lengths, {}

    def place(self, heads: int) -> torch.Tensor:
        """Where the next tokens go in a layer of `heads` heads, [rows × heads], counted over all slots, heads and columns."""
        if heads not in self.places:
            lines = torch.arange(self.rows * heads, device=self.lengths.device)
            self.places[heads] = lines * self.columns + self.lengths.repeat_interleave(heads)
        return self.places[heads]

    def insert(self, first: int, prompts: Cache, source: torch.Tensor) -> None:
        """Copy row `source[i]` of `prompts`, a filled cache, into slot `first + i`."""
        for layer, new in zip(self.layers, prompts.layers, strict=True):
            for slots, states in ((layer.keys, new.keys), (layer.values, new.values)):
                slots[first : first + len(source), :, : states.shape[2]] = states[source]

    def move(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Overwrite the slots `target` with the slots `source`."""
        for layer in self.layers:
            for slots in (layer.keys, layer.values):
                slots[target, :, : self.width] = slots[source, :, : self.width]


def slot_attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None, **kwargs
) -> tuple[torch.Tensor, None]:
    """Attention of one new token per row over its slot: query [rows, query heads, 1, head_dim], key [rows, heads, width, head_dim].

    Does without the copies of `sdpa_attention_forward`: heads that share keys become the lines of one
    product, and the slots are read in place. On a CPU it is 3 times as fast as torch's kernel, which is made for many queries.
    """
    rows, heads, length, size = query.shape
    if length > 1 or attention_mask is None or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    scaling = kwargs.get("scaling") or size**-0.5
    scores = torch.matmul((query * scaling).view(rows, key.shape[1], -1, size), key.transpose(2, 3))
    weights = scores.add_(attention_mask).softmax(-1, dtype=torch.float32).to(value.dtype)
    return torch.matmul(weights, value).view(rows, 1, heads, -1), None


AttentionInterface.register("slots", slot_attention)
AttentionMaskInterface.register("slots", sdpa_mask)


def choose(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> torch.Tensor:
    """Draw one token per row by inverting its distribution function at the row's own uniform number.

    `logits` is [rows, vocabulary], everything else [rows]; temperature, then top-k, then top-p. A row's
    token depends on nothing but its own line of each argument.
    """
    greedy, cut = temperature == 0, (top_k > 0) | (top_p < 1)
    tokens = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    for members, draw in ((greedy, None), (~greedy & cut, _draw_cut), (~greedy & ~cut, _draw)):
        at = members.nonzero()[:, 0]
        if len(at) == 0:
            continue
        mine = logits if len(at) == len(logits) else logits[at]
        if draw is None:
            tokens[at] = mine.argmax(-1)
        else:
            tokens[at] = draw(mine.float() / temperature[at, None], uniforms[at], top_k[at], top_p[at])
    return tokens


def _invert(weights: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The first column at which the running sum of a row's `weights` exceeds its uniform share of the total."""
    sums = weights.cumsum(-1)
    total = sums[:, -1]
    # Strictly below the total, so that rounding can never pick a column of weight 0 at the end.
    level = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(sums, level[:, None], right=True)[:, 0].clamp_max(weights.shape[-1] - 1)


def _draw(scores: torch.Tensor, uniforms: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    return _invert(scores.softmax(-1), uniforms)


def _draw_cut(scores: torch.Tensor, uniforms: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, candidates: int = 64) -> torch.Tensor:
    """As `_draw`, among each row's `top_k` best tokens and of these the fewest that hold `top_p` of the probability."""
    vocabulary = scores.shape[-1]
    limit = torch.where(top_k > 0, top_k, vocabulary)
    open_ended = top_k == 0
    size = min(vocabulary, max(int(top_k.max()), candidates if bool(open_ended.any()) else 1))
    best, ids = scores.topk(size)
    best = best.masked_fill(torch.arange(size, device=scores.device) >= limit[:, None], -torch.inf)
    # Without top-k the probabilities are those among the whole vocabulary, of which only the best are looked at.
    norm = torch.where(open_ended, scores.logsumexp(-1), best.logsumexp(-1))
    weights = (best - norm[:, None]).exp()
    sums = weights.cumsum(-1)
    if size < vocabulary and bool((open_ended & (sums[:, -1] < top_p)).any()):
        return _draw_cut(scores, uniforms, top_k, top_p, vocabulary)
    weights = weights * (sums - weights < top_p[:, None])
    return ids.gather(-1, _invert(weights, uniforms)[:, None])[:, 0]


def uniform_numbers(seed: int) -> Iterator[float]:
    """The random numbers of one sample, one per token, in [0, 1)."""
    random = np.random.Generator(np.random.Philox(seed))
    while True:
        yield from random.random(256).tolist()


@dataclass
class Row:
    """A sample that is being generated; `limit` is how many tokens it may have. The samples of a request share one `prompt`."""

    request: Request
    index: int
    prompt: list[int]
    limit: int
    uniforms: Iterator[float]
    cached: int = 0
    started: float = 0.0
    tokens: list[int] = field(default_factory=list)

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
        self.model.to(self.device).eval()
        if self.model.config._attn_implementation == "sdpa":
            self.model.set_attn_implementation("slots")
        config = self.model.config.get_text_config(decoder=True)
        self.context = config.max_position_embeddings
        eos = self.model.generation_config.eos_token_id
        self.stops = {*(eos if isinstance(eos, list) else [eos]), self.tokenizer.eos_token_id} - {None}
        kinds = set(getattr(config, "layer_types", None) or [])
        if not kinds <= {"full_attention", "sliding_attention"}:
            raise EngineError(f"model '{model}' has {', '.join(sorted(kinds))} layers, which this engine cannot batch; serve it with vLLM.")
        self.window = None if kinds == {"full_attention"} else getattr(config, "sliding_window", None)
        self.mask_by_kind = bool(kinds) and self.window is not None
        self.probe = self.prefill([[0]])  # shows what a token's keys and values look like
        if token_budget is None:
            memory = 0.7 * torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else MEMORY
            token_budget = int(memory / sum(t.nbytes for layer in self.probe.layers for t in (layer.keys, layer.values)))
        self.token_budget = token_budget

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Yield one Generation per wanted sample as it finishes, those of the longest prompts first."""
        # By characters, so that a prompt is encoded only when its turn comes. The long ones first: the last rows are then short.
        queue = iter(sorted(requests, key=lambda r: -sum(len(m["content"]) for m in r.messages)))
        batch, waiting = Batch(self), []
        while True:
            if batch.hungry():
                while waiting or (request := next(queue, None)):
                    waiting = waiting or self._rows(request)
                    if len(waiting[0].prompt) > self.context - 1:
                        yield from map(self._too_long, waiting)
                        waiting = []
                    waiting = waiting[batch.reserve(waiting) :] if waiting else []
                    if waiting:
                        break
            if not batch.rows and not batch.joining:
                return
            try:
                finished = batch.step()
            except torch.OutOfMemoryError as error:
                raise EngineError(
                    f"{self.label} ran out of memory on {self.device} with a token budget of {self.token_budget}; pass a smaller token_budget."
                ) from error
            for row, reason in finished:
                yield self._finish(row, reason)

    def close(self) -> None:
        """Free the model."""
        self.model = self.probe = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def prefill(self, prompts: list[list[int]]) -> Cache:
        """Keys and values of `prompts`, [prompts, heads, longest, head_dim] a layer.

        Shorter ones are padded on the right: no token sees what comes after it, so this needs no mask.
        """
        longest = max(len(p) for p in prompts)
        ids = torch.tensor([p + [0] * (longest - len(p)) for p in prompts], device=self.device)
        cache = DynamicCache()
        self.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
        return cache

    def _rows(self, request: Request) -> list[Row]:
        prompt = self.tokenizer.apply_chat_template(
            list(request.messages), add_generation_prompt=True, tokenize=True, return_dict=False, **request.template
        )
        limit = max(1, min(request.sampling.max_tokens, self.context - len(prompt)))
        wanted = zip(request.indices, request.seeds, strict=True)
        return [Row(request, index, prompt, limit, uniform_numbers(seed)) for index, seed in wanted]

    def _too_long(self, row: Row) -> Generation:
        length = len(row.prompt)
        error = f"prompt of {length} tokens exceeds the context of {self.context} tokens of {self.label}"
        return Generation(row.request.key, row.index, "", "error", length, 0, 0, 0.0, error)

    def _finish(self, row: Row, reason: str) -> Generation:
        text = self.tokenizer.decode(row.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        seconds = time.perf_counter() - row.started
        return Generation(row.request.key, row.index, text, reason, len(row.prompt), row.cached, len(row.tokens), seconds)


class Batch:
    """The rows being generated, and their slots. A row's newest token has been chosen but is not in its slot yet."""

    def __init__(self, engine: TransformersEngine):
        self.engine, self.cache = engine, SlotCache(engine.probe)
        self.rows: list[Row] = []
        self.joining: list[Row] = []  # have a place in the budget, but no slot yet
        self.reach = self.width = 0  # of the longest row: what it may become, and what it is, tokens
        self.state: dict[str, torch.Tensor] = {}  # a tensor of [rows] for each name

    def fits(self, reach: int) -> int:
        """How many rows of up to `reach` tokens the budget allows; at least one."""
        return max(1, min(MAX_ROWS, self.engine.token_budget // max(1, reach)))

    def hungry(self) -> bool:
        """Whether it is time to let new rows join."""
        return len(self.rows) <= REFILL * self.fits(self.reach)

    def reserve(self, rows: list[Row]) -> int:
        """Let the first of `rows`, the samples of one prompt, join if they fit; returns how many do."""
        reach = max(self.reach, rows[0].reach)
        room = max(0, min(len(rows), self.fits(reach) - len(self.rows) - len(self.joining)))
        if room:
            self.reach = reach
            self.joining += rows[:room]
        return room

    @torch.inference_mode()
    def join(self) -> None:
        """Compute the prompts of the joining rows, each once, and copy them into the rows' slots."""
        engine, cache, new, started = self.engine, self.cache, self.joining, time.perf_counter()
        total = len(self.rows) + len(new)
        if total > cache.slots or self.reach > cache.columns:
            cache.resize(total, self.reach)
        prompts: list[list[int]] = []
        source: list[int] = []  # of each row, the place of its prompt
        for row in new:
            row.started = started
            if prompts and prompts[-1] is row.prompt:
                row.cached = len(row.prompt) - 1
            else:
                prompts.append(row.prompt)
            source.append(len(prompts) - 1)
        size, slot = max(1, PREFILL_TOKENS // max(map(len, prompts))), len(self.rows)
        for first in range(0, len(prompts), size):
            # A prompt's last token is left to the first step, which then gives the logits of each sample.
            heads = [prompt[:-1] for prompt in prompts[first : first + size]]
            members = [place - first for place in source if first <= place < first + size]
            if any(heads):
                cache.insert(slot, engine.prefill(heads), torch.tensor(members, device=engine.device))
            slot += len(members)
        settings = [row.request.sampling for row in new]
        columns = {
            "last": [row.prompt[-1] for row in new],
            "lengths": [len(row.prompt) - 1 for row in new],
            "temperature": [float(s.temperature) for s in settings],
            "top_k": [s.top_k for s in settings],
            "top_p": [float(s.top_p) for s in settings],
        }
        for name, values in columns.items():
            column = torch.tensor(values, device=engine.device)
            self.state[name] = torch.cat([self.state[name], column]) if self.rows else column
        self.rows += new
        self.joining = []
        self._measure()

    @torch.inference_mode()
    def step(self) -> list[tuple[Row, str]]:
        """Generate one token for every row; returns the rows that finished, with their finish reason."""
        if self.joining:
            self.join()
        engine, state = self.engine, self.state
        lengths = state["lengths"]
        self.cache.aim(lengths, self.width)
        logits = engine.model(
            input_ids=state["last"][:, None],
            attention_mask=self._mask(lengths),
            position_ids=lengths[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        uniforms = torch.tensor([next(row.uniforms) for row in self.rows], device=engine.device)
        state["last"] = choose(logits, uniforms, state["temperature"], state["top_k"], state["top_p"])
        state["lengths"] = lengths + 1
        self.width += 1
        finished = {}
        for slot, (row, token) in enumerate(zip(self.rows, state["last"].tolist(), strict=True)):
            row.tokens.append(token)
            if token in engine.stops:
                finished[slot] = (row, "stop")
            elif len(row.tokens) >= row.limit:
                finished[slot] = (row, "length")
        if finished:
            self._drop(set(finished))
        return list(finished.values())

    def _mask(self, lengths: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """What is added to the attention scores, [rows, 1, 1, width]: 0 for a row's own tokens, the lowest number elsewhere."""
        engine, columns = self.engine, torch.arange(self.width, device=lengths.device)
        lowest = torch.finfo(engine.model.dtype).min
        full = torch.zeros(len(lengths), 1, 1, self.width, dtype=engine.model.dtype, device=lengths.device)
        full.masked_fill_((columns > lengths[:, None])[:, None, None], lowest)
        if engine.window is None:
            return full
        sliding = full.masked_fill((columns <= lengths[:, None] - engine.window)[:, None, None], lowest)
        return {"full_attention": full, "sliding_attention": sliding} if engine.mask_by_kind else sliding

    def _drop(self, gone: set[int]) -> None:
        """Free the slots `gone`: the last live rows move into them, so that the live slots stay the first ones."""
        live = len(self.rows) - len(gone)
        holes = [slot for slot in sorted(gone) if slot < live]
        movers = [slot for slot in range(live, len(self.rows)) if slot not in gone]
        if holes:
            source, target = (torch.tensor(slots, device=self.engine.device) for slots in (movers, holes))
            self.cache.move(source, target)
            for column in self.state.values():
                column[target] = column[source]
            for a, b in zip(movers, holes, strict=True):
                self.rows[b] = self.rows[a]
        del self.rows[live:]
        self.state = {name: column[:live] for name, column in self.state.items()}
        self._measure()

    def _measure(self) -> None:
        self.cache.rows = len(self.rows)
        self.reach = max((row.reach for row in self.rows), default=0)
        self.width = max((len(row.prompt) + len(row.tokens) for row in self.rows), default=0)


def load(model: str | Path, revision: str | None, dtype: str) -> tuple:
    """Tokenizer and model of a local folder or a hub id, or an EngineError that says what is wrong with it."""
    where = f"'{model}'" + (f" (revision {revision})" if revision else "")
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        if not tokenizer.chat_template:
            raise EngineError(
                f"the tokenizer of {where} has no chat template, so it cannot be asked a question; use an instruction-tuned model."
            )
        loaded, info = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=dtype, output_loading_info=True)
    except EngineError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        if not Path(model).is_dir() and isinstance(error, OSError):
            message = (
                f"model {where} was found neither as a local folder nor on the Hugging Face hub; check the name, or download it first."
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
            f"model {where} is incomplete ({len(missing)} tensors are missing, such as {missing[0]}); download or train it again."
        )
    return tokenizer, loaded
