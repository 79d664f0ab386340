"""The in-process engine against `model.generate`, against a plain loop without a cache, and against its own
promises."""

import itertools
import json
import multiprocessing
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from a2r.engines import EngineError, Generation, Request, Sampling, log_probs
from a2r.engines import local as engine_module
from a2r.engines.compiled import compiled
from a2r.engines.local import Batch, Slots, TransformersEngine, choose, uniform_numbers
from a2r.engines.qwen3 import Qwen3
from a2r.engines.slots import attend
from a2r.training.nano.tokenizer import build

TEXT = "If a train of 12 wagons leaves with 7 and three more join, how many are there at the end? "


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A random two-layer Qwen3 with shared key heads. One token in 20 ends its turn, so that lengths vary."""
    path = tmp_path_factory.mktemp("model")
    tokenizer = build(samples=50)
    tokenizer.save_pretrained(path)
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.1,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    for name, weights in model.named_parameters():
        if "norm" in name:  # otherwise all 1, and whoever forgets them is right
            torch.nn.init.uniform_(weights, 0.5, 1.5)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(40, len(tokenizer), 20)]
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def engine(folder):
    before = torch.get_num_threads()
    yield TransformersEngine(folder, threads=1)
    torch.set_num_threads(before)


def variant(folder: Path, target: Path, **changes) -> Path:
    """A copy of the model with `changes` to its config."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | changes))
    return target


def ask(length: int, sampling: Sampling, seeds=(0,), key: str = "") -> Request:
    """A request with a question of `length` characters; its samples' indices count from 0."""
    content = (TEXT * (length // len(TEXT) + 1))[:length]
    return Request(
        key or f"r{length}", ({"role": "user", "content": content},), sampling, tuple(range(len(seeds))), tuple(seeds)
    )


def many(count: int, sampling: Sampling, n: int = 1) -> list[Request]:
    """Requests of many lengths, each with its own seeds."""
    return [ask(3 + 7 * i % 50, sampling, range(1000 * i, 1000 * i + n), f"r{i}") for i in range(count)]


def encode(engine: TransformersEngine, request: Request) -> list[int]:
    return engine.tokenizer.apply_chat_template(list(request.messages), add_generation_prompt=True, return_dict=False)


@torch.inference_mode()
def plainly(engine: TransformersEngine, request: Request, seed: int) -> tuple[list[int], str]:
    """The tokens and the finish reason of one sample, by computing the whole row anew for each token."""
    sampling, ids = request.sampling, encode(engine, request)
    uniforms = itertools.chain.from_iterable(uniform_numbers(seed))
    start = len(ids)
    while True:
        logits = engine.model(input_ids=torch.tensor([ids]), use_cache=False).logits[:, -1]
        settings = [torch.tensor([x]) for x in (next(uniforms), sampling.temperature, sampling.top_k, sampling.top_p)]
        ids.append(int(choose(logits, *settings)[0]))
        if ids[-1] in engine.stops:
            return ids[start:], "stop"
        if len(ids) - start == sampling.max_tokens or len(ids) == engine.context:
            return ids[start:], "length"


def by_sample(generations) -> dict[tuple[str, int], Generation]:
    return {(g.key, g.index): g for g in generations}


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("budget", [700, None], ids=["tight", "roomy"])
def test_every_sample_is_what_a_plain_loop_gives(folder, budget, quick):
    """Rows of all lengths and settings that join, leave and move slots all the time; texts, counts and reasons are
    exact, with the model's own modules and without them."""
    engine = TransformersEngine(folder, token_budget=budget, threads=1)
    engine.quick = engine.quick if quick else None
    assert bool(engine.quick) == quick
    settings = [
        Sampling(1.0, max_tokens=30),
        Sampling(0.8, 0.9, 0, 17),
        Sampling(1.2, 1.0, 5, 24),
        Sampling(0, max_tokens=9),
    ]
    requests = [ask(3 + 5 * i % 40, settings[i % 4], range(10 * i, 10 * i + 1 + i % 3), f"r{i}") for i in range(20)]
    got = by_sample(engine.generate(requests))
    assert len(got) == sum(len(r.indices) for r in requests)
    assert Counter(g.finish_reason for g in got.values()).keys() == {"stop", "length"}
    for request in requests:
        for index, seed in zip(request.indices, request.seeds, strict=True):
            ids, reason = plainly(engine, request, seed)
            one = got[request.key, index]
            text = engine.tokenizer.decode(ids[:-1] if reason == "stop" else ids, skip_special_tokens=True)
            assert (one.text, one.finish_reason, one.completion_tokens) == (text, reason, len(ids))
            assert one.prompt_tokens == len(encode(engine, request)) and not one.error


@torch.inference_mode()
def sure_of(engine: TransformersEngine, prompt: list[int], text: list[int]) -> list[float]:
    """Each token's log-probability by one pass over the whole row."""
    ids = torch.tensor([prompt + text])
    given = engine.model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
    return [float(given[len(prompt) - 1 + k, token]) for k, token in enumerate(text)]


def test_a_sample_says_how_sure_the_model_was_of_its_tokens(engine):
    """Of the model itself, whatever temperature and cuts it was drawn with; the mark that ends the turn counts."""
    for sampling in (Sampling(1.0, max_tokens=60), Sampling(0.6, 0.9, 12, 60)):
        request = ask(20, sampling, range(12))
        for one in engine.generate([request]):
            ids, _ = plainly(engine, request, request.seeds[one.index])
            assert one.logprobs == pytest.approx(log_probs(sure_of(engine, encode(engine, request), ids)), abs=1e-4)


def test_a_text_is_scored_as_if_it_had_been_written(engine, monkeypatch):
    """In batches of rows of all lengths, cut up as the limits make it."""
    monkeypatch.setattr(engine_module, "PREFILL_TOKENS", {True: 200, False: 200})
    monkeypatch.setattr(engine_module, "SCORED_AT_ONCE", 7)
    texts = ["<think>\n12+7=19\n</think>\n\n\\boxed{19}", TEXT, "7", TEXT * 3]
    requests = [replace(ask(5 + 9 * i, Sampling(), key=f"r{i}"), scored=texts[i % 4]) for i in range(9)]
    scores = by_sample(engine.score(requests))
    assert len(scores) == 9
    for request in requests:
        prompt, text = encode(engine, request), engine.tokenizer(request.scored, add_special_tokens=False).input_ids
        one = scores[request.key, 0]
        assert one.logprobs == pytest.approx(log_probs(sure_of(engine, prompt, text)), abs=1e-4)
        assert (one.text, one.prompt_tokens, one.completion_tokens, one.error) == ("", len(prompt) + len(text), 0, "")
    (long,) = engine.score([replace(requests[0], scored="7 " * 600)])
    assert long.error.startswith("prompt of ") and long.logprobs is None


def test_the_three_numbers():
    """By hand: the whole, the last window and the lowest one; an eighth of the text is longer than the shortest
    window."""
    assert log_probs([]) is None and log_probs([-1.0, float("nan")]) is None and log_probs([-2.0]) == (-2.0, -2.0, -2.0)
    assert log_probs([-1.0] * 8 + [-3.0] * 16 + [-2.0] * 8) == pytest.approx((-2.25, -2.5, -3.0))
    assert log_probs([-1.0] * 96 + [-5.0] * 32 + [-1.0] * 128) == pytest.approx((-1.5, -1.0, -5.0))


def test_a_sample_does_not_depend_on_its_batch(engine):
    requests = many(31, Sampling(1.0, max_tokens=40))
    together = by_sample(engine.generate(requests))
    for request in requests[:6]:
        (alone,) = engine.generate([request])
        assert alone.text == together[request.key, 0].text


def test_seeds_make_samples_different_and_repeatable(engine):
    request = ask(9, Sampling(1.0, max_tokens=20), range(20))
    first, second = (by_sample(engine.generate([request])) for _ in range(2))
    assert len({g.text for g in first.values()}) > 15
    assert all(first[k].text == second[k].text for k in first)


ROPE = {"rope_theta": 10000.0}
SLIDING = {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 12, "use_sliding_window": True}


@pytest.mark.parametrize(
    "changes, quick", [({}, True), ({"rms_norm_eps": 0.01, "rope_theta": 50.0}, True), (SLIDING, False)]
)
def test_greedy_is_that_of_generate(folder, tmp_path, changes, quick):
    path = variant(folder, tmp_path / "model", **changes)
    engine, model = TransformersEngine(path, threads=1), AutoModelForCausalLM.from_pretrained(path)
    assert bool(engine.quick) == quick
    requests = many(8, Sampling(0, max_tokens=25))
    got = by_sample(engine.generate(requests))
    for request in requests:
        ids = torch.tensor([encode(engine, request)])
        mask = torch.ones_like(ids)
        out = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=25, pad_token_id=0)[
            0, ids.shape[1] :
        ].tolist()
        one = got[request.key, 0]
        ended = out[-1] in engine.stops
        assert one.text == engine.tokenizer.decode(out[:-1] if ended else out, skip_special_tokens=True)
        assert one.completion_tokens == len(out)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": True},
        {"hidden_act": "gelu"},
        {"rope_parameters": ROPE | {"rope_type": "linear", "factor": 2.0}},
    ],
)
def test_what_the_quick_way_does_not_know_goes_the_other(folder, changes):
    config = Qwen3Config.from_pretrained(folder, **changes)
    assert not Qwen3.fits(Qwen3ForCausalLM(config)) and Qwen3.fits(Qwen3ForCausalLM.from_pretrained(folder))


def test_a_model_whose_positions_depend_on_the_batch_is_refused(folder, tmp_path):
    """LongRoPE chooses its factors by the longest prompt that is computed together."""
    factors = {"short_factor": [1.0] * 16, "long_factor": [4.0] * 16, "original_max_position_embeddings": 128}
    path = variant(folder, tmp_path / "model", rope_parameters=ROPE | {"rope_type": "longrope", **factors})
    with pytest.raises(EngineError, match="a sample would depend on its neighbours; serve it with vLLM"):
        TransformersEngine(path, threads=1)


def test_a_model_that_caps_its_logits_is_scored_as_it_samples(tmp_path, folder):
    """Gemma 2 caps them after the output embeddings."""
    config = Gemma2Config(
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"num_key_value_heads": 1, "head_dim": 16, "final_logit_softcapping": 0.5},
        vocab_size=Qwen3Config.from_pretrained(folder).vocab_size,
        initializer_range=0.5,
    )
    torch.manual_seed(2)
    Gemma2ForCausalLM(config).save_pretrained(tmp_path / "model")
    for file in [*folder.glob("*token*"), *folder.glob("*jinja")]:
        shutil.copy(file, tmp_path / "model")
    engine = TransformersEngine(tmp_path / "model", threads=1)
    (one,) = engine.score([replace(ask(5, Sampling()), scored=TEXT)])
    prompt, text = encode(engine, ask(5, Sampling())), engine.tokenizer(TEXT, add_special_tokens=False).input_ids
    assert one.logprobs == pytest.approx(log_probs(sure_of(engine, prompt, text)), abs=1e-4)


def test_a_prompt_is_computed_once_for_its_samples(engine, monkeypatch):
    computed = []
    prefill = engine.prefill
    monkeypatch.setattr(engine, "prefill", lambda prompts: computed.extend(prompts) or prefill(prompts))
    requests = many(5, Sampling(1.0, max_tokens=4), n=6)
    got = by_sample(engine.generate(requests))
    assert sorted(map(len, computed)) == sorted(len(encode(engine, r)) - 1 for r in requests)
    for request in requests:
        length = len(encode(engine, request))
        # The last prompt token is not shared: each sample needs its own logits there.
        assert [got[request.key, i].cached_tokens for i in range(6)] == [0] + [length - 1] * 5
        assert all(got[request.key, i].prompt_tokens == length for i in range(6))


def test_memory_is_bounded_by_the_budget_not_by_the_requests(folder, monkeypatch):
    engine = TransformersEngine(folder, token_budget=1000, threads=1)
    sizes, rows, held = [], [], []
    resize, step = Slots.resize, Batch.step

    def noted_resize(self, size, columns):
        resize(self, size, columns)
        sizes.append(size * columns)
        assert all(m.numel() <= 1000 * 32 for layer in self.layers for m in layer)

    def noted_step(self):
        done = step(self)
        rows.append(len(self.rows))
        assert rows[-1] == self.slots.rows <= self.slots.size or not rows[-1]
        assert self.reach <= self.slots.columns and self.slots.width <= self.slots.columns
        held.append(self.slots.size * self.slots.columns)
        return done

    monkeypatch.setattr(Slots, "resize", noted_resize)
    monkeypatch.setattr(Batch, "step", noted_step)
    # 40 samples of one prompt do not fit at once and are split.
    requests = [*many(40, Sampling(1.0, max_tokens=30)), ask(60, Sampling(1.0, max_tokens=20), range(40), "split")]
    assert len(by_sample(engine.generate(requests))) == 80
    assert max(sizes) <= 1000 and max(held) <= 1000 and max(rows) > 8


def test_rows_that_move_and_slots_that_widen_change_no_sample(engine, monkeypatch):
    # the longest prompts are first, and shorter ones may write more
    requests = [ask(i, Sampling(1.0, max_tokens=120 - 2 * i), (0, 1), f"r{i}") for i in range(1, 58)]
    monkeypatch.setattr(engine, "stops", engine.stops | set(range(20, 60)))  # rows of all lengths
    alone = {key: g.text for r in requests for key, g in by_sample(engine.generate([r])).items()}
    resized, resize, moved, move = [], Slots.resize, [], Slots.move
    monkeypatch.setattr(Slots, "resize", lambda self, *to: resized.append(self.rows) or resize(self, *to))
    monkeypatch.setattr(Slots, "move", lambda self, *of: moved.append(len(of[0])) or move(self, *of))
    for rows in (512, 24, 1):
        monkeypatch.setattr(engine_module, "ROWS", {True: rows, False: rows})
        assert {key: g.text for key, g in by_sample(engine.generate(requests)).items()} == alone
    assert len(moved) > 20 and max(resized) > 0, "also where rows are live"


def test_attention_over_slots_is_that_of_torch_and_of_each_row_alone():
    torch.manual_seed(0)
    rows, queries, heads, size, columns = 7, 6, 2, 16, 40
    like = torch.zeros(1, heads, 1, size)
    slots = Slots([(like, like)])
    slots.resize(rows + 1, columns)
    slots.rows, lengths = rows, torch.tensor([0, 1, 5, 39, 12, 3, 20])
    for held in slots.layers[0]:
        held[:] = torch.randn_like(held)
    new = torch.randn(rows, queries + 2 * heads, size)
    before = [held.clone() for held in slots.layers[0]]
    slots.aim(lengths)
    read = attend(slots, 0, new)
    for row, length in enumerate(lengths.tolist()):
        query, *states = new[row].split((queries, heads, heads))
        for held, old, state in zip(slots.layers[0], before, states, strict=True):
            assert torch.equal(held[row, :, length], state)
            held[row, :, length] = old[row, :, length]
            assert torch.equal(held[row], old[row])
        keys, values = (
            torch.cat((held[row, :, :length], state[:, None]), 1) for held, state in zip(before, states, strict=True)
        )
        expected = scaled_dot_product_attention(query[:, None], keys, values, scale=1.0, enable_gqa=True)
        assert torch.allclose(read[row], expected.flatten(), atol=1e-6)
        single = Slots([(like, like)])
        single.resize(1, 64)
        single.rows = 1
        for held, old in zip(single.layers[0], before, strict=True):
            held[0, :, :columns] = old[row]
        single.aim(lengths[row : row + 1])
        assert torch.equal(attend(single, 0, new[row : row + 1])[0], read[row])


def test_what_cannot_be_kept_on_disk_is_compiled_anew(monkeypatch):
    def triple(x):
        return x * 3

    def no_place(*args, **kwargs):
        raise RuntimeError("cannot cache function 'triple': no locator available for file 'slots.py'")

    monkeypatch.setattr("numba.core.caching.FunctionCache.__init__", no_place)
    assert compiled("f4(f4)")(triple)(2.0) == 6


def test_samples_arrive_before_later_prompts_are_encoded(folder, monkeypatch):
    engine = TransformersEngine(folder, token_budget=600, threads=1)
    encoded, template = [], engine.tokenizer.apply_chat_template
    monkeypatch.setattr(
        engine.tokenizer, "apply_chat_template", lambda *args, **kwargs: encoded.append(1) or template(*args, **kwargs)
    )
    stream = engine.generate(many(30, Sampling(1.0, max_tokens=10)))
    next(stream)
    assert 0 < len(encoded) < 20
    assert not torch.is_inference_mode_enabled()  # a suspended generator must not leave its mode behind
    assert len(list(stream)) == 29 and len(encoded) == 30


def test_a_prompt_beyond_the_context_is_an_error_and_not_cut(folder, tmp_path):
    engine = TransformersEngine(variant(folder, tmp_path / "model", max_position_embeddings=64), threads=1)
    fine, long = ask(5, Sampling(1.0, max_tokens=3)), ask(90, Sampling(), (1, 2))
    got = by_sample(engine.generate([long, fine]))
    length = len(encode(engine, long))
    for index in (0, 1):
        one = got[long.key, index]
        assert one.error == f"prompt of {length} tokens exceeds the context of 64 tokens of {tmp_path / 'model'}"
        assert (one.finish_reason, one.text, one.completion_tokens, one.prompt_tokens) == ("error", "", 0, length)
    assert got[fine.key, 0].completion_tokens > 0
    assert [g.finish_reason for g in engine.generate([long])] == ["error", "error"]
    assert list(engine.generate([])) == []


def test_the_context_caps_the_completion(folder, tmp_path):
    engine = TransformersEngine(variant(folder, tmp_path / "model", max_position_embeddings=64), threads=1)
    engine.stops = set()
    for length in (5, 30):
        (one,) = engine.generate([ask(length, Sampling(1.0, max_tokens=1000))])
        assert one.finish_reason == "length"
        assert one.prompt_tokens + one.completion_tokens == 64


def test_thinking_marks_stay_and_special_tokens_go(engine, monkeypatch):
    tokenizer = engine.tokenizer
    script = [*tokenizer("<think>12</think>7").input_ids, tokenizer.pad_token_id, tokenizer.eos_token_id]
    told = iter(script)
    told_to = lambda logits, *settings: (torch.full((len(logits),), next(told)), torch.zeros(len(logits)))  # noqa: E731
    monkeypatch.setattr(engine_module, "choose", told_to)
    (one,) = engine.generate([ask(4, Sampling())])
    assert one.text == "<think>12</think>7"
    assert (one.finish_reason, one.completion_tokens) == ("stop", len(script))


@pytest.fixture(scope="module")
def first_numbers() -> torch.Tensor:
    """The first random number of each of 20,000 samples."""
    return torch.tensor([next(uniform_numbers(seed))[0] for seed in range(20_000)])


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "vocabulary"),
    [
        (1.0, 0, 1.0, 40),
        (0.7, 0, 1.0, 40),
        (1.0, 5, 1.0, 40),
        (1.3, 0, 0.8, 40),
        (0.8, 12, 0.9, 40),
        (2.0, 0, 0.6, 300),
    ],
)
def test_tokens_follow_the_distribution_of_transformers(first_numbers, temperature, top_k, top_p, vocabulary):
    draws = len(first_numbers)
    logits = torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(3)) * 2
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    scores = TopKLogitsWarper(top_k)(None, scores) if top_k else scores
    expected = (TopPLogitsWarper(top_p)(None, scores) if top_p < 1 else scores).softmax(-1)[0]
    settings = [torch.tensor(x).expand(draws) for x in (temperature, top_k, top_p)]
    tokens, logprobs = choose(logits.expand(draws, -1), first_numbers, *settings)
    assert torch.allclose(logprobs, logits.log_softmax(-1)[0, tokens], atol=1e-5), "at temperature 1, of all tokens"
    counts = torch.bincount(tokens, minlength=vocabulary)
    assert counts[expected == 0].sum() == 0
    kept = expected > 5 / draws
    observed = [*counts[kept].tolist(), int(counts[~kept].sum())]
    wanted = [*(expected[kept] * draws).tolist(), float(expected[~kept].sum() * draws)]
    if wanted[-1] < 1e-3:
        observed, wanted = observed[:-1], wanted[:-1]
    wanted = [w * sum(observed) / sum(wanted) for w in wanted]
    assert stats.chisquare(observed, wanted).pvalue > 1e-3


def test_the_first_token_of_the_engine_follows_the_model(engine):
    request = ask(8, Sampling(1.0, top_k=10, max_tokens=1), range(3000))
    with torch.inference_mode():
        logits = engine.model(input_ids=torch.tensor([encode(engine, request)])).logits[0, -1]
    best = logits.topk(10)
    counts = Counter(g.text for g in engine.generate([request]))
    decode = partial(engine.tokenizer.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    texts = [decode([i]) if i not in engine.stops else "" for i in best.indices.tolist()]
    wanted = Counter()
    for text, p in zip(texts, best.values.softmax(-1).double().tolist(), strict=True):
        wanted[text] += p * 3000
    assert counts.keys() <= wanted.keys()
    assert stats.chisquare([counts[t] for t in wanted], list(wanted.values()), sum_check=False).pvalue > 1e-3


@pytest.mark.parametrize("vocabulary", [3, 64, 128, 200])
def test_extreme_numbers_choose_possible_tokens(vocabulary):
    """Few tokens are possible, the first and the last of a vocabulary among those that are not, or the only one."""
    logits = torch.full((4, vocabulary), -torch.inf)
    logits[0, :2], logits[1, 1], logits[2] = torch.tensor([0.0, 1.0]), 0.0, torch.linspace(5, -20, vocabulary)
    logits[3, -1] = -3.0
    before = logits.clone()
    for u in (0.0, 1.0 - 2**-24, 1.0):
        for temperature, top_k, top_p in ((1.0, 0, 1.0), (0.5, 0, 1.0), (1.0, 2, 1.0), (1.0, 0, 0.5)):
            settings = [torch.tensor(x).expand(4) for x in (u, temperature, top_k, top_p)]
            tokens, logprobs = choose(logits, *settings)
            assert tokens[0] in (0, 1) and tokens[1] == 1 and tokens[3] == vocabulary - 1
            assert logprobs.isfinite().all() and torch.equal(logits, before)
    tokens, _ = choose(logits, *[torch.tensor(x).expand(4) for x in (0.0, 1.0, 0, 1.0)])
    assert tokens[2] == 0, "the lowest number is of the first token"


def test_rows_of_all_settings_are_drawn_together_as_each_alone():
    logits = torch.randn(60, 150, generator=torch.Generator().manual_seed(1)) * 3
    columns = [torch.rand(60), torch.tensor([0.0, 1.0, 0.6, 1.4]).repeat(15), torch.tensor([0, 0, 7]).repeat(20)]
    columns.append(torch.tensor([1.0, 1.0, 1.0, 0.8, 1.0]).repeat(12))
    tokens, logprobs = choose(logits, *columns)
    for row in range(60):
        alone, sure = choose(logits[row : row + 1], *(column[row : row + 1] for column in columns))
        assert alone == tokens[row] and sure == pytest.approx(float(logprobs[row]), abs=1e-6)
    assert (tokens[::4] == logits[::4].argmax(-1)).all()


def lose_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    del tensors["model.norm.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: shutil.rmtree(path), "was found neither as a local folder nor on the Hugging Face hub"),
        (
            lambda path: (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-1000]),
            "cannot be read",
        ),
        (lambda path: (path / "model.safetensors").write_text("moved"), "cannot be read"),
        (lambda path: (path / "model.safetensors").unlink(), "cannot be read"),
        (lambda path: (path / "tokenizer.json").write_text("{"), "cannot be read"),
        (lambda path: (path / "chat_template.jinja").unlink(), "has no chat template"),
        (
            lambda path: lose_a_tensor(path / "model.safetensors"),
            "is incomplete .1 tensors are missing, such as model.norm.weight",
        ),
    ],
    ids=[
        "missing",
        "truncated",
        "not weights",
        "no weights",
        "broken tokenizer",
        "no chat template",
        "missing tensors",
    ],
)
def test_a_model_that_cannot_be_used_is_named_in_one_sentence(folder, tmp_path, damage, message):
    path = variant(folder, tmp_path / "model")
    damage(path)
    with pytest.raises(EngineError, match=message) as caught:
        TransformersEngine(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_arguments_are_named(folder):
    with pytest.raises(EngineError, match="dtype 'float33'"):
        TransformersEngine(folder, dtype="float33")


def test_other_weights_give_other_tokens(folder):
    engine, other = TransformersEngine(folder, threads=1), TransformersEngine(folder, threads=1)
    with torch.no_grad():
        for weights in other.model.parameters():
            weights.add_(0.02 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(0)))
    requests = many(8, Sampling(0, max_tokens=25))
    before = {key: g.text for key, g in by_sample(engine.generate(requests)).items()}
    engine.take_weights(other.model.state_dict())
    after = {key: g.text for key, g in by_sample(engine.generate(requests)).items()}
    other.quick = None
    assert after == {key: g.text for key, g in by_sample(other.generate(requests)).items()} != before


def test_close_frees_the_model(folder):
    engine = TransformersEngine(folder)
    assert engine.name == "transformers" and "torch" in engine.version and "numba" in engine.version
    engine.close()
    assert engine.model is None


def test_processes_give_the_samples_of_one(folder, monkeypatch):
    """Each with a part of the memory; what is left of a generation that is given up is ended."""
    monkeypatch.setattr(engine_module, "ROWS_OF_A_PROCESS", 5)
    engine = TransformersEngine(folder, token_budget=3000, threads=1)
    requests = many(9, Sampling(1.0, max_tokens=40), n=3)
    alone = by_sample(engine.generate(requests))
    engine.processes = 2
    shared = by_sample(engine.generate(requests))
    assert not multiprocessing.active_children()
    assert [(k, g.text, g.logprobs) for k, g in sorted(alone.items())] == [
        (k, g.text, pytest.approx(g.logprobs, abs=1e-5)) for k, g in sorted(shared.items())
    ]
    stream = engine.generate(requests)
    next(stream)
    assert len(multiprocessing.active_children()) == 2
    del stream
    assert not multiprocessing.active_children() and engine.token_budget == 3000
