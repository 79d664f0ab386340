"""Drawing tokens: each row by its own random numbers, so that a sample does not depend on its batch."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import pad

from a2r.engines.compiled import compiled

DRAWN = 256  # random numbers that are drawn at once
BLOCK = 64  # columns that are summed before running sums are taken, which are slow on a CPU


def choose(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token per row by inverting its distribution function at the row's own uniform number.

    `logits` is [rows, vocabulary], everything else [rows]; temperature, then top-k, then top-p. A row's token depends
    on nothing but its own line of each argument. Returns the tokens, and their log-probabilities in the whole
    vocabulary at temperature 1.
    """
    if logits.device.type == "cpu" and bool(((temperature == 1) & (top_k == 0) & (top_p == 1)).all()):
        return _draw_plain(logits, uniforms)
    top = logits.amax(-1, keepdim=True)
    weights = _weights(logits, top)
    sums = weights.sum(-1)
    tokens = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    greedy, cut = temperature == 0, (top_k > 0) | (top_p < 1)
    for members, draw in ((greedy, None), (~greedy & cut, _draw_cut), (~greedy & ~cut, _draw)):
        at = members.nonzero()[:, 0]
        if len(at) == 0:
            continue
        mine, heat = (logits, temperature) if len(at) == len(logits) else (logits[at], temperature[at])
        if draw is None:
            tokens[at] = mine.argmax(-1)
        else:
            tokens[at] = draw(mine / heat[:, None], uniforms[at], top_k[at], top_p[at])
    return tokens, (logits.gather(-1, tokens[:, None]) - top)[:, 0] - sums.sum(-1).log()


def _draw_plain(logits: torch.Tensor, uniforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`choose` on a CPU at temperature 1 from the whole vocabulary: in torch a dozen operations, as long as a small
    model's layer."""
    weights = (logits - logits.amax(-1, keepdim=True)).exp_().contiguous()
    tokens, logprobs = torch.empty(len(logits), dtype=torch.long), torch.empty(len(logits))
    _pass(weights.numpy(), uniforms.contiguous().numpy(), tokens.numpy(), logprobs.numpy())
    return tokens, logprobs


@compiled("void(f4[:,::1], f4[::1], i8[::1], f4[::1])")
def _pass(weights: np.ndarray, uniforms: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray) -> None:
    """The first column of each row at which the running sum of its weights exceeds its uniform share of the total, one
    of weight 0 never; and the logarithm of the column's share."""
    columns = weights.shape[1]
    sums = np.empty(-(-columns // BLOCK), np.float64)
    for row in range(len(weights)):
        line, total = weights[row], 0.0
        for block in range(len(sums)):
            part = np.float32(0)
            for column in range(block * BLOCK, min((block + 1) * BLOCK, columns)):
                part += line[column]
            sums[block] = part
            total += part
        left, block, token = uniforms[row] * total, 0, -1
        while block < len(sums) - 1 and left >= sums[block]:
            left -= sums[block]
            block += 1
        for column in range(block * BLOCK, min((block + 1) * BLOCK, columns)):
            if line[column] > 0:
                token = column
                left -= line[column]
                if left < 0:
                    break
        if token < 0:  # rounding has led past the last that has a weight
            token = line.argmax()
        tokens[row], logprobs[row] = token, np.log(line[token] / total)


def _blocks(values: torch.Tensor, filling: float) -> torch.Tensor:
    """A copy of `values`, [rows, columns], as [rows, blocks, BLOCK]; `filling` is what the last block is filled up
    with."""
    return pad(values, (0, -values.shape[-1] % BLOCK), value=filling).view(len(values), -1, BLOCK)


def _weights(scores: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
    """Probabilities up to a factor, in blocks; `top` is the highest score of each row."""
    return _blocks(scores, -torch.inf).sub_(top[..., None]).exp_()


def _invert(blocks: torch.Tensor, sums: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The first column at which the running sum of a row's weights exceeds its uniform share of the total; `sums` are
    those of the blocks."""
    ends = sums.cumsum(-1)
    level = _below(uniforms[:, None] * ends[:, -1:], ends)
    block = torch.searchsorted(ends, level, right=True)
    before = pad(ends, (1, 0)).gather(-1, block)
    running = blocks[torch.arange(len(blocks), device=blocks.device), block[:, 0]].cumsum(-1)
    return (block * BLOCK + torch.searchsorted(running, _below(level - before, running), right=True))[:, 0]


def _below(level: torch.Tensor, running: torch.Tensor) -> torch.Tensor:
    """`level`, but strictly below the last of the `running` sums, so that rounding can never pick a column of weight 0
    at the end."""
    total = running[:, -1:]
    return torch.minimum(level, torch.nextafter(total, torch.zeros_like(total)))


def _draw(scores: torch.Tensor, uniforms: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    weights = _weights(scores, scores.amax(-1, keepdim=True))
    return _invert(weights, weights.sum(-1), uniforms)


def _draw_cut(
    scores: torch.Tensor, uniforms: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, candidates: int = 64
) -> torch.Tensor:
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
    blocks = _blocks(weights, 0)
    return ids.gather(-1, _invert(blocks, blocks.sum(-1), uniforms)[:, None])[:, 0]


def uniform_numbers(seed: int) -> Iterator[np.ndarray]:
    """The random numbers of one sample, one per token, in [0, 1), DRAWN at a time."""
    random = np.random.Generator(np.random.Philox(seed))
    while True:
        yield random.random(DRAWN).astype(np.float32)
