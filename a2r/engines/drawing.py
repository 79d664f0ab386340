"""Drawing tokens: each row by its own random numbers, so that a sample does not depend on its batch."""

from collections.abc import Iterator

import numpy as np
import torch

DRAWN = 256  # random numbers that are drawn at once


def choose(
    logprobs: torch.Tensor, uniforms: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> torch.Tensor:
    """Draw one token per row by inverting its distribution function at the row's own uniform number.

    `logprobs`, of the whole vocabulary at temperature 1, is [rows, vocabulary], everything else [rows]; temperature,
    then top-k, then top-p. A row's token depends on nothing but its own line of each argument.
    """
    greedy, cut = temperature == 0, (top_k > 0) | (top_p < 1)
    tokens = torch.empty(len(logprobs), dtype=torch.long, device=logprobs.device)
    for members, draw in ((greedy, None), (~greedy & cut, _draw_cut), (~greedy & ~cut, _draw)):
        at = members.nonzero()[:, 0]
        if len(at) == 0:
            continue
        mine, heat = (logprobs, temperature) if len(at) == len(logprobs) else (logprobs[at], temperature[at])
        if draw is None:
            tokens[at] = mine.argmax(-1)
        else:
            scores = mine if bool((heat == 1).all()) else (mine / heat[:, None]).log_softmax(-1)
            tokens[at] = draw(scores, uniforms[at], top_k[at], top_p[at])
    return tokens


def _invert(weights: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The first column at which the running sum of a row's `weights` exceeds its uniform share of the total."""
    sums = weights.cumsum(-1)
    total = sums[:, -1]
    # Strictly below the total, so that rounding can never pick a column of weight 0 at the end.
    level = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(sums, level[:, None], right=True)[:, 0].clamp_max(weights.shape[-1] - 1)


def _draw(scores: torch.Tensor, uniforms: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    return _invert(scores.exp(), uniforms)


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
    return ids.gather(-1, _invert(weights, uniforms)[:, None])[:, 0]


def uniform_numbers(seed: int) -> Iterator[np.ndarray]:
    """The random numbers of one sample, one per token, in [0, 1), DRAWN at a time."""
    random = np.random.Generator(np.random.Philox(seed))
    while True:
        yield random.random(DRAWN).astype(np.float32)
