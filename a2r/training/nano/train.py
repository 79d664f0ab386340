"""Training of the embedded family from its seed: arithmetic and checks, then explorer, then both roles.

1. *facts*: plain lists of equations, many of them with short numbers, and lists that are given and
   repeated with their errors put right. Arithmetic and looking things up come from these within a million
   tokens; from worked problems alone neither had come after three.
2. *explorer*: every size learns to work problems alone.
3. *references*: every size, as it is then, samples paths for training problems of its own.
4. *both*: every size learns the synthesizer role on those paths, right and wrong alike; the target
   is the worked solution, so copying pays only where the references are right. Bare lists of equations,
   given several times with errors, teach the looking up that the role needs in a quarter of the tokens.
   A share of explorer examples keeps the first role.

All sizes see the same data in the same order for the same number of tokens: one schedule rule.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from torch.nn.functional import cross_entropy, linear
from torch.nn.utils import parametrize
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from a2r import prompts
from a2r.training.nano import model as nano_model
from a2r.training.nano.tasks import Problem, Work, draw, multiplier

Example = tuple[str, str]  # prompt with generation mark, completion
CHUNK = 512  # examples drawn at a time; a resumed training starts at the last chunk
# Tokens a step: learning is bound by steps, not by tokens, but synthesizer examples are long.
BATCH_TOKENS = {"facts": 1024, "explorer": 1024, "both": 2048}
SAVE_SECONDS = 60
# Rows of the first stage that repeat a list: looking an equation up is half of what a synthesizer does,
# and without these rows even copying one's own work came late.
REPETITION_SHARE = 0.4
CHECK_SHARE = 0.2  # equations that are a comparison, a parity or a sum of digits, not arithmetic
# Of problems in every stage after the first.
DOMAIN_SHARES = {"math": 0.6, "code": 0.2, "logic": 0.2}
# The make-up of the last stage: shares of examples, and of set sizes among the synthesizer's.
EXPLORER_SHARE = 0.2
LISTS_SHARE = 0.2
HOPELESS_SHARE = 0.5  # of the sets without a right reference; most sets of the small explorers are such, and teach not to read
FOREIGN_SHARE = 0.06  # references that belong to another problem
SET_SIZES = {4: 0.74, 0: 0.03, 1: 0.05, 2: 0.07, 3: 0.06, 8: 0.05}


def completion(problem: Problem) -> str:
    """The full output that is taught: thinking, then the answer component."""
    return f"<think>\n{problem.thinking}\n</think>\n\n{problem.component}<|im_end|>"


def chat(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def explorer_example(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> Example:
    return chat(tokenizer, prompts.explorer_messages(problem.question)), completion(problem)


def fresh_example(tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> Example:
    """An explorer example on a training problem drawn anew."""
    return explorer_example(draw("train", rng, DOMAIN_SHARES), tokenizer)


def facts_chunk(seed: int) -> Callable[[int], list[Example]]:
    """Chunks of equation lists, ten to a row, of which only the results are taught (see `batches`), and of repetitions."""

    def chunk(number: int) -> list[Example]:
        rng = random.Random(f"facts/{seed}/{number}")
        return [repetition(rng) if rng.random() < REPETITION_SHARE else ("", ",".join(equations(rng, 10)) + ",") for _ in range(CHUNK)]

    return chunk


def equations(rng: random.Random, count: int) -> list[str]:
    """Unrelated equations, many of them with short numbers; some are checks."""

    def operand() -> int:
        return rng.randrange(1000 if rng.random() < 0.7 else rng.choice([10, 100]))

    work = Work()
    for _ in range(count):
        if rng.random() < CHECK_SHARE:
            a = rng.randrange(100, 1000)
            check, *limit = rng.choice([(work.compare, rng.choice("<>"), near(a, rng)), (work.parity,), (work.digits,)])
            check(a, *limit)
            continue
        op = rng.choice("+-*")
        work.equation(operand(), op, multiplier(rng) if op == "*" else operand())
    return work.equations


def near(a: int, rng: random.Random) -> int:
    """A number to compare `a` with: half of the time one not far from it."""
    return min(999, max(0, a + rng.randint(-60, 60))) if rng.random() < 0.5 else rng.randrange(1000)


def repetition(rng: random.Random) -> Example:
    """A list of equations, half of the time with some wrong results, and the same list put right."""
    right = equations(rng, rng.randint(3, 7))
    wrong_share = 0.0 if rng.random() < 0.5 else rng.uniform(0, 0.6)
    given = [spoil(e, rng) if rng.random() < wrong_share else e for e in right]
    return ",".join(given) + "\n", ",".join(right) + "\n"


def lists(rng: random.Random) -> Example:
    """One to four copies of a list of equations, each with gaps and errors of its own, and the list put right."""
    right = equations(rng, rng.randint(3, 8))
    copies = []
    for _ in range(rng.randint(1, 4)):
        wrong_share = rng.uniform(0, 0.7)
        copies.append(",".join(spoil(e, rng) if rng.random() < wrong_share else e for e in right if rng.random() > 0.1))
    return "\n".join(copies) + "\n", ",".join(right) + "\n"


def spoil(equation: str, rng: random.Random) -> str:
    """The equation with another result: any number, or some of its digits changed."""
    left, result = equation.split("=")
    if result in ("yes", "no"):
        return f"{left}={'no' if result == 'yes' else 'yes'}"
    if len(result) == 1:
        return f"{left}={1 - int(result)}"
    if rng.random() < 0.5:
        return f"{left}={rng.randrange(1000):03d}"
    return left + "=" + "".join(d if rng.random() < 0.6 else str(rng.randrange(10)) for d in result)


def explorer_chunk(tokenizer: PreTrainedTokenizerBase, seed: str) -> Callable[[int], list[Example]]:
    """Chunks of explorer examples on fresh training problems."""

    def chunk(number: int) -> list[Example]:
        rng = random.Random(f"{seed}/{number}")
        return [fresh_example(tokenizer, rng) for _ in range(CHUNK)]

    return chunk


def both_chunk(tokenizer: PreTrainedTokenizerBase, seed: int, references: pd.DataFrame) -> Callable[[int], list[Example]]:
    """Chunks for both roles. `references` has one row a training problem: the Problem's fields and `paths`, a list of answer components.

    The problems are gone through in a shuffled order, with another subset of their paths each time round.
    """

    def chunk(number: int) -> list[Example]:
        rng = random.Random(f"both/{seed}/{number}")
        examples = []
        for k in range(CHUNK):
            kind = rng.random()
            if kind < EXPLORER_SHARE + LISTS_SHARE:
                examples.append(fresh_example(tokenizer, rng) if kind < EXPLORER_SHARE else lists(rng))
                continue
            turn, place = divmod(number * CHUNK + k, len(references))
            row = references.iloc[(place * 7919 + turn * 104729) % len(references)]  # primes: a fixed shuffle without a table
            size = rng.choices(list(SET_SIZES), list(SET_SIZES.values()))[0]
            source = references.iloc[rng.randrange(len(references))] if rng.random() < FOREIGN_SHARE else row
            paths = rng.sample(list(source.paths), min(size, len(source.paths)))
            problem = Problem(**{f: row[f] for f in Problem.__dataclass_fields__})
            boxed = problem.component.splitlines()[-1]
            hopeless = paths and source is row and not any(boxed in path for path in paths)
            if hopeless and rng.random() > HOPELESS_SHARE:
                examples.append(lists(rng))
                continue
            examples.append((chat(tokenizer, prompts.synthesizer_messages(problem.question, paths)), completion(problem)))
        return examples

    return chunk


def batches(
    examples: list[Example], tokenizer: PreTrainedTokenizerBase, rng: random.Random, tokens: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (ids, labels), each (rows, length): examples of similar length together, prompt and padding masked (-100)."""
    asked = tokenizer([p for p, _ in examples], add_special_tokens=False).input_ids
    told = tokenizer([c for _, c in examples], add_special_tokens=False).input_ids
    equals = tokenizer.convert_tokens_to_ids("=")
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
            labels[row, a:b] = ids[row, a:b]
            if not asked[i]:  # a list of equations: nothing but their results can be known
                labels[row, 1:][ids[row, :-1] != equals] = -100
                labels[row, 0] = -100
        yield ids, labels


def loss_of(model: Qwen3ForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats per token) over the completion tokens of a right-padded batch."""
    # right padding and causal attention: no mask is needed, and the head runs on the completions alone
    with parametrize.cached():
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != -100
        return cross_entropy(linear(hidden[:, :-1][wanted], model.model.embed_tokens.weight), labels[:, 1:][wanted])


def schedule(done: float, start: float) -> float:
    """Learning-rate factor at share `done` of a stage: a warm-up over `start`, flat, linear to zero over the last 40%."""
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
    """Train `model` in place on `tokens` tokens of what `draw_chunk(chunk number)` gives; return its state with the loss curve.

    The state is saved to `checkpoint` at the end of a chunk, about once a minute, and taken up from there when the file exists.
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
    bar = tqdm(total=tokens, initial=state["seen"], desc=label, unit="tok", unit_scale=True, mininterval=5, position=position, leave=True)
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
            torch.save({"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "state": state}, partial)
            partial.replace(checkpoint)
    bar.close()
    model.eval()
    return state
