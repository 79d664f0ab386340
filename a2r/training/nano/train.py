"""Training of the embedded family from its seed: facts, then explorer, then both roles.

1. *facts*: sums and differences, many of short numbers, and rows of unrelated checks in the form of the problems:
   numbers looked up by letter, equations, verdicts balanced between yes and no with many near misses.
2. *explorer*: every size learns to work puzzles alone.
3. *references*: every size, as it is then, samples paths for training puzzles of its own.
4. *both*: the synthesizer role on those paths, right and wrong alike, and on paths that the frame writes with slips; a
   share of the first role and of facts is kept, and of choosing a reference and judging one.

All sizes see the same amount of the same data: one schedule rule.
"""

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, linear
from torch.nn.utils import parametrize
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from a2r import prompts
from a2r.training.nano import frame, puzzles
from a2r.training.nano import model as nano_model
from a2r.training.nano.puzzles import Puzzle

Example = tuple[str, str]  # prompt with generation mark, completion
# What nobody can know of a check before it is read: which candidate, and the target or clue it is held against. Not
# taught where checks are drilled: two thirds of the gradient would be noise.
UNKNOWABLE = re.compile(r"^[a-l+]+(?==)|^\d+[+-]\d+(?==)|(?<=:)\d+|(?<=[<>])\d+|[<>]|(?<=\d )(?:even|odd|no \d)", re.M)
END = "<|im_end|>"
CHUNK = 512  # examples drawn at a time; a resumed training starts at the last chunk
# Tokens a step: learning is bound by steps, not by tokens, but synthesizer examples are long.
BATCH_TOKENS = {"facts": 1024, "explorer": 1024, "both": 2048}
SAVE_SECONDS = 60
DOMAIN_SHARES = {"numbers": 0.5, "code": 0.25, "logic": 0.25}
DRILL_SHARES = {"numbers": 0.35, "code": 0.3, "logic": 0.35}  # of the checks among the facts
SUMS_SHARE = 0.33  # of the facts: plain equations
# The make-up of the last stage: shares of examples, of set sizes, and of how references are shown. Most is A2R's own
# form; the others are there so that no control fails only because its form was never seen.
BOTH_SHARES = {"synthesizer": 0.65, "explorer": 0.15, "facts": 0.06, "chooser": 0.07, "verifier": 0.07}
SET_SIZES = {4: 0.74, 0: 0.05, 1: 0.05, 2: 0.05, 3: 0.05, 8: 0.06}
FORM_SHARES = {"component": 0.88, "final": 0.04, "trace": 0.03, "repeated": 0.05}
FOREIGN_SHARE = 0.06  # references that belong to another puzzle
WRITTEN_SHARE = (
    0.4  # references written by the frame, on a puzzle drawn anew: sampled ones are too few not to be learnt by heart
)
SLIPS = (0.0, 0.05, 0.15, 0.3)  # shares of turned verdicts in these


def chat(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def explorer_example(tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> Example:
    """A worked path on a training puzzle drawn anew."""
    puzzle = puzzles.draw("train", rng, DOMAIN_SHARES)
    return chat(tokenizer, prompts.explorer_messages(puzzle.question)), frame.path(puzzle, rng) + END


def facts_example(rng: random.Random) -> Example:
    """Checks of numbers that are listed as in a puzzle; or plain sums and differences, many of short numbers.

    Carrying is learnt on these: with them width 96 has .995 of the digits right after 1.2M tokens, without .78.
    """
    if rng.random() < SUMS_SHARE:
        return "\n", "".join(f"{equation(rng)}\n" for _ in range(10))
    puzzle, lines = puzzles.drill(rng, DRILL_SHARES)
    return puzzle + "\n", "".join(f"{line}\n" for line in lines)


def equation(rng: random.Random) -> str:
    """A sum or difference in 0 to 999, numbers with three digits: `047+005=052`."""
    below = rng.choice((10, 100, 1000, 1000))
    a, b = rng.randrange(below), rng.randrange(below)
    a, b = (a, b) if a + b < 1000 else (a // 2, b // 2)
    return f"{a:03d}+{b:03d}={a + b:03d}" if rng.random() < 0.5 else f"{max(a, b):03d}-{min(a, b):03d}={abs(a - b):03d}"


def reader_example(
    tokenizer: PreTrainedTokenizerBase, rng: random.Random, references: Sequence[tuple[Puzzle, list[str]]], kind: str
) -> Example:
    """An example of a role that reads references: synthesizer, chooser or verifier."""
    if rng.random() < WRITTEN_SHARE or not references:
        puzzle = puzzles.draw("train", rng, DOMAIN_SHARES)
        slips = rng.choice(SLIPS)
        paths = [frame.path(puzzle, rng, slips) for _ in range(8)]
    else:
        puzzle, paths = rng.choice(references)
    if rng.random() < FOREIGN_SHARE and references:
        paths = rng.choice(references)[1]
    size = 1 if kind == "verifier" else rng.choices(list(SET_SIZES), list(SET_SIZES.values()))[0]
    paths = rng.sample(paths, min(size, len(paths)))
    if kind == "verifier":
        shown, form = frame.forms(rng, paths, {"component": 1}), prompts.VERIFIER
        told = frame.verification(puzzle, shown[0])
    elif kind == "chooser":
        shown, form = frame.forms(rng, paths or [prompts.NO_ANSWER], {"component": 1}), prompts.CHOOSER
        told = frame.choice(puzzle, shown)
    else:
        shown, form = frame.forms(rng, paths, FORM_SHARES), prompts.SYNTHESIZER
        told = frame.synthesis(puzzle, shown, rng)
    return chat(tokenizer, prompts.synthesizer_messages(puzzle.question, shown, form=form)), told + END


def chunks(
    stage: str, tokenizer: PreTrainedTokenizerBase, seed: int, references: Sequence[tuple[Puzzle, list[str]]] = ()
) -> Callable[[int], list[Example]]:
    """The examples of a stage by chunk number; `references` (last stage) are training puzzles with sampled outputs."""
    shares = {"facts": {"facts": 1}, "explorer": {"explorer": 0.9, "facts": 0.1}, "both": BOTH_SHARES}[stage]

    def chunk(number: int) -> list[Example]:
        rng = random.Random(f"{stage}/{seed}/{number}")
        examples = []
        for kind in rng.choices(list(shares), list(shares.values()), k=CHUNK):
            if kind == "facts":
                examples.append(facts_example(rng))
            elif kind == "explorer":
                examples.append(explorer_example(tokenizer, rng))
            else:
                examples.append(reader_example(tokenizer, rng, references, kind))
        return examples

    return chunk


def batches(
    examples: list[Example], tokenizer: PreTrainedTokenizerBase, rng: random.Random, tokens: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (ids, labels), each (rows, length): examples of like length together; prompt and padding masked (-100)."""
    asked = tokenizer([p for p, _ in examples], add_special_tokens=False).input_ids
    completions = tokenizer([c for _, c in examples], add_special_tokens=False, return_offsets_mapping=True)
    told = completions.input_ids
    taught = [
        known(completion, offsets) if not prompt.startswith("<|im_start|>") else [True] * len(offsets)
        for (prompt, completion), offsets in zip(examples, completions.offset_mapping, strict=True)
    ]
    groups: list[list[int]] = [[]]
    for i in sorted(range(len(examples)), key=lambda i: len(asked[i]) + len(told[i])):
        if groups[-1] and (len(asked[i]) + len(told[i])) * (len(groups[-1]) + 1) > tokens:
            groups.append([])
        groups[-1].append(i)
    rng.shuffle(groups)
    for group in groups:
        length = max(len(asked[i]) + len(told[i]) for i in group)
        ids = torch.full((len(group), length), tokenizer.pad_token_id)
        labels = torch.full((len(group), length), -100)
        for row, i in enumerate(group):
            a, b = len(asked[i]), len(asked[i]) + len(told[i])
            ids[row, :b] = torch.tensor(asked[i] + told[i])
            labels[row, a:b] = torch.where(torch.tensor(taught[i]), ids[row, a:b], -100)
        yield ids, labels


def known(checks: str, offsets: list[tuple[int, int]]) -> list[bool]:
    """Which tokens of drilled checks are taught: those not UNKNOWABLE; `offsets` are their places in the text."""
    spans = [found.span() for found in UNKNOWABLE.finditer(checks)]
    return [not any(start < b and a < end for a, b in spans) for start, end in offsets]


def loss_of(model: Qwen3ForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats per token) over the completion tokens of a right-padded batch."""
    # right padding and causal attention: no mask is needed, and the head runs on the completions alone
    with parametrize.cached():
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != -100
        return cross_entropy(linear(hidden[:, :-1][wanted], model.model.embed_tokens.weight), labels[:, 1:][wanted])


def schedule(done: float, start: float) -> float:
    """Learning-rate factor at share `done` of a stage: warm-up over `start`, flat, linear to zero over the last 40%."""
    return min(1.0, done / start, max(0.0, 1 - done) / 0.4)


def fit(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    draw_chunk: Callable[[int], list[Example]],
    tokens: int,
    checkpoint: Path,
    seed: int,
    label: str,
    batch_tokens: int = 1024,
    position: int = 0,
) -> dict:
    """Train `model` in place on `tokens` tokens of what `draw_chunk(number)` gives; its state with the loss curve.

    The state is saved to `checkpoint` at the end of a chunk, about once a minute, and taken up from there.
    """
    optimizers = nano_model.optimizers(model)
    base = [[g["lr"] for g in o.param_groups] for o in optimizers]
    state = {"seen": 0, "steps": 0, "chunk": 0, "seconds": 0.0, "curve": []}
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=False)
        model.load_state_dict(saved["model"])
        for o, s in zip(optimizers, saved["optimizers"], strict=True):
            o.load_state_dict(s)
        state = saved["state"]
    bar = tqdm(
        total=tokens,
        initial=state["seen"],
        desc=label,
        unit="tok",
        unit_scale=True,
        mininterval=5,
        position=position,
        leave=True,
    )
    started = time.monotonic()
    losses: list[float] = []
    model.train()
    while state["seen"] < tokens:
        rng = random.Random(f"{seed}/{label}/{state['chunk']}")
        for ids, labels in batches(draw_chunk(state["chunk"]), tokenizer, rng, batch_tokens):
            factor = schedule(state["seen"] / tokens, start=0.03)
            for o, rates in zip(optimizers, base, strict=True):
                for g, rate in zip(o.param_groups, rates, strict=True):
                    g["lr"] = rate * factor
            loss = loss_of(model, ids, labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for o in optimizers:
                o.step()
                o.zero_grad()
            losses.append(loss.item())
            state["seen"] += ids.numel()
            state["steps"] += 1
            bar.update(ids.numel())
            if state["steps"] % 100 == 0:
                state["curve"].append({"tokens": state["seen"], "loss": round(sum(losses) / len(losses), 5)})
                bar.set_postfix(loss=f"{state['curve'][-1]['loss']:.4f}")
                losses = []
            if state["seen"] >= tokens:
                break
        state["chunk"] += 1
        now = time.monotonic()
        if now - started > SAVE_SECONDS or state["seen"] >= tokens:
            state["seconds"] += now - started
            started = now
            partial = checkpoint.with_suffix(".tmp")
            torch.save(
                {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "state": state},
                partial,
            )
            partial.replace(checkpoint)
    bar.close()
    model.eval()
    return state
