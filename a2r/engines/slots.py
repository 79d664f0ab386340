"""Key-value slots: the cache of a batch whose rows join and leave one by one, and the attention that reads it.

Each row owns a slot and fills it from the left, so that nothing is shifted, concatenated or computed for rows that are
done.
"""

import itertools

import numpy as np
import torch
from numba import njit
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from a2r.engines.compiled import LINE, compiled, fetch


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer for the next token of each row of `slots`."""

    def __init__(self, slots: "Slots", layer: int):
        super().__init__()
        self.slots, self.layer = slots, layer
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the slots exist from the start."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs) -> tuple:
        """Write one token per row, both states [rows, heads, 1, head_dim]; returns [rows, heads, width, head_dim] views
        of what is there then."""
        slots = self.slots
        held = slots.write(self.layer, key_states[:, :, 0], value_states[:, :, 0])
        return tuple(states[: slots.rows, :, : slots.width] for states in held)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.slots.width, 0

    def get_seq_length(self) -> int:
        return self.slots.width - 1

    def get_max_length(self) -> int:
        return -1


class Slots:
    """The key-value slots of a batch, keys and values of a layer each [slots, heads, columns, head_dim].

    The first `rows` slots are live; a row has its tokens in columns 0.. of its slot. `width` is what the longest has,
    the next one counted.
    """

    def __init__(self, like: list[tuple[torch.Tensor, torch.Tensor]]):
        """Take the number of layers, heads, dtype and device from `like`, keys and values that the model has made."""
        self.rows = self.size = self.columns = self.width = 0
        self.layers = [(keys[:0, :, :0], values[:0, :, :0]) for keys, values in like]

    def resize(self, size: int, columns: int) -> None:
        """Make room for `size` rows of `columns` tokens; what the live rows hold stays."""
        for i, layer in enumerate(self.layers):
            self.layers[i] = tuple(zeros((size, old.shape[1], columns, old.shape[3]), like=old) for old in layer)
            for new, old in zip(self.layers[i], layer, strict=True):
                new[: self.rows, :, : self.columns] = old[: self.rows, :, :columns]
        self.size, self.columns = size, columns

    def aim(self, lengths: torch.Tensor) -> None:
        """The next token of the live rows, which have `lengths` tokens, will be written."""
        self.lengths, self.at = lengths, {}

    def write(self, layer: int, *states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a token's keys and values, each [rows, heads, head_dim]; returns those of the layer."""
        heads = states[0].shape[1]
        if heads not in self.at:  # the lines of the tokens, where slots are seen as [lines, head_dim]
            slot_and_head = torch.arange(self.rows * heads, device=self.lengths.device)
            self.at[heads] = slot_and_head * self.columns + self.lengths.repeat_interleave(heads)
        for held, new in zip(self.layers[layer], states, strict=True):
            held.view(-1, held.shape[-1]).index_copy_(0, self.at[heads], new.reshape(-1, held.shape[-1]))
        return self.layers[layer]

    def insert(self, first: int, prompts: list[tuple[torch.Tensor, torch.Tensor]], source: torch.Tensor) -> None:
        """Copy row `source[i]` of the keys and values of `prompts` into slot `first + i`."""
        for layer, new in zip(self.layers, prompts, strict=True):
            for slots, states in zip(layer, new, strict=True):
                each = states if len(states) == len(source) else states[source]
                slots[first : first + len(source), :, : states.shape[2]] = each

    def move(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Overwrite the slots `target` with the slots `source`."""
        for slots in itertools.chain.from_iterable(self.layers):
            slots[target, :, : self.width] = slots[source, :, : self.width]


def zeros(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Zeros of `like`'s type and device (a masked column counts 0 times what it holds, and 0 times NaN is NaN).

    On a CPU through numpy, which leaves the memory untouched, and so untaken, until it is written to.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    return torch.from_numpy(np.zeros((*shape[:-1], shape[-1] * like.element_size()), np.uint8)).view(like.dtype)


def slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention of one new token per row over its slot: query [rows, query heads, 1, head_dim], key and value [rows,
    heads, width, head_dim]; returns [rows, 1, query heads, head_dim].

    Two plain products that read the slots in place; heads that share keys become the lines of one product. Torch's
    kernel is made for many queries.
    """
    rows, heads, length, size = query.shape
    if length > 1 or attention_mask is None or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    query = query * (kwargs.get("scaling") or size**-0.5)
    scores = torch.matmul(query.reshape(rows, key.shape[1], -1, size), key.transpose(2, 3))
    weights = scores.add_(attention_mask).softmax(-1, dtype=torch.float32).to(value.dtype)
    return torch.matmul(weights, value).view(rows, 1, heads, -1), None


def attend(slots: Slots, layer: int, heads: torch.Tensor) -> torch.Tensor:
    """The same on a CPU in float32, written and read: `heads` are queries, which are scaled, keys and values, [rows,
    query heads + 2 × heads, head_dim]; returns [rows, query heads × head_dim].

    A row costs what it holds, whatever the others do, and its numbers do not depend on them. Torch's and numpy's
    products of many small matrices take more than twice as long.
    """
    keys, values = (held.numpy() for held in slots.layers[layer])
    queries, lengths = heads.shape[1] - 2 * keys.shape[1], slots.lengths.numpy() + 1
    weights = torch.empty(int(lengths.sum()) * queries)
    _scores(heads.numpy(), keys, values, lengths, weights.numpy())
    weights.exp_()
    read = torch.empty(len(heads), queries * heads.shape[2])
    _read(weights.numpy(), values, lengths, read.view(len(heads), queries, -1).numpy())
    return read


@njit
def following(slots: np.ndarray, row: int, head: int) -> np.ndarray:
    """The tokens that lie after those of `head` of `row`; the same ones at the end."""
    head, row = (head + 1) % slots.shape[1], row + (head + 1) // slots.shape[1]
    return slots[min(row, len(slots) - 1), head]


@compiled("void(f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], i8[::1], f4[::1])")
def _scores(heads: np.ndarray, keys: np.ndarray, values: np.ndarray, lengths: np.ndarray, scores: np.ndarray) -> None:
    """Write the newest token of each row; attention scores less the highest of their row and head, one after another.

    Two queries of the same keys at a time: a key that is read once serves both.
    """
    rows, queries, size = len(heads), heads.shape[1] - 2 * keys.shape[1], heads.shape[2]
    shared, at = queries // keys.shape[1], 0
    for row in range(rows):
        length = lengths[row]
        for head in range(keys.shape[1]):
            key, after = keys[row, head], following(keys, row, head)
            key[length - 1] = heads[row, queries + head]
            values[row, head, length - 1] = heads[row, queries + keys.shape[1] + head]
            for first in range(0, shared, 2):
                second = min(first + 1, shared - 1)  # the same where their number is odd
                one, two = heads[row, head * shared + first], heads[row, head * shared + second]
                of_one = scores[at + first * length : at + (first + 1) * length]
                of_two = scores[at + second * length : at + (second + 1) * length]
                highest_one = highest_two = np.float32(-np.inf)
                for token in range(length):
                    for line in range(0, size, LINE):
                        fetch(after, token * size + line)
                    sum_one = sum_two = np.float32(0)
                    for i in range(size):
                        sum_one += one[i] * key[token, i]
                        sum_two += two[i] * key[token, i]
                    of_one[token], of_two[token] = sum_one, sum_two
                    highest_one, highest_two = max(highest_one, sum_one), max(highest_two, sum_two)
                of_one -= highest_one
                if second > first:
                    of_two -= highest_two
            at += shared * length


@compiled("void(f4[::1], f4[:,:,:,::1], i8[::1], f4[:,:,::1])")
def _read(weights: np.ndarray, values: np.ndarray, lengths: np.ndarray, read: np.ndarray) -> None:
    """Means of the values by weights as `_scores` orders them.

    Two heads of the same values and two tokens at a time: what is read once serves all of them.
    """
    rows, heads, size = read.shape
    shared, at, spare = heads // values.shape[1], 0, np.empty(size, np.float32)
    for row in range(rows):
        length = lengths[row]
        for head in range(values.shape[1]):
            value, after = values[row, head], following(values, row, head)
            for first in range(0, shared, 2):
                second = min(first + 1, shared - 1)
                one, two = read[row, head * shared + first], read[row, head * shared + second]
                if second == first:
                    two = spare
                of_one = weights[at + first * length : at + (first + 1) * length]
                of_two = weights[at + second * length : at + (second + 1) * length]
                sum_one = sum_two = np.float32(0)
                one[:] = two[:] = 0
                for token in range(0, length - 1, 2):
                    for line in range(0, 2 * size, LINE):
                        fetch(after, token * size + line)
                    one_a, one_b, two_a, two_b = of_one[token], of_one[token + 1], of_two[token], of_two[token + 1]
                    sum_one += one_a + one_b
                    sum_two += two_a + two_b
                    for i in range(size):
                        a, b = value[token, i], value[token + 1, i]
                        one[i] += one_a * a + one_b * b
                        two[i] += two_a * a + two_b * b
                if length % 2:
                    one_a, two_a = of_one[length - 1], of_two[length - 1]
                    sum_one += one_a
                    sum_two += two_a
                    for i in range(size):
                        one[i] += one_a * value[length - 1, i]
                        two[i] += two_a * value[length - 1, i]
                one /= sum_one
                two /= sum_two
            at += shared * length


AttentionInterface.register("slots", slot_attention)
AttentionMaskInterface.register("slots", sdpa_mask)
