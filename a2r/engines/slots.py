"""Key-value slots: the cache of a batch whose rows join and leave one by one, and the attention that reads it.

Each row owns a slot and fills it from the left, so that nothing is shifted, concatenated or computed for rows that are
done. Slots come in groups: rows that joined together are about as long, and attention reads a group as wide as its
longest row.
"""

import itertools

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer for the next token of each row of `groups`, which stand one after another."""

    def __init__(self, groups: list["Slots"], layer: int):
        super().__init__()
        self.groups, self.layer = groups, layer
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the slots exist from the start."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs) -> tuple:
        """Write one token per row; both states are [rows, heads, 1, head_dim]. Returns views, [rows, heads, width,
        head_dim], of one group; of several a list of (keys, mask), and a list of values, for `slot_attention`."""
        if len(self.groups) == 1:
            return self.groups[0].write(self.layer, key_states, value_states)
        sizes = [group.rows for group in self.groups]
        states = zip(key_states.split(sizes), value_states.split(sizes), strict=True)
        read = [group.write(self.layer, *both) for group, both in zip(self.groups, states, strict=True)]
        masks = [group.mask for group in self.groups]
        return [(keys, mask) for (keys, _), mask in zip(read, masks, strict=True)], [values for _, values in read]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + 1, 0

    def get_seq_length(self) -> int:
        return max(group.width for group in self.groups) - 1

    def get_max_length(self) -> int:
        return -1


class Slots:
    """The key-value slots of a group of rows, keys and values of a layer each [slots, heads, columns, head_dim].

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

    def aim(self, lengths: torch.Tensor, mask: torch.Tensor) -> None:
        """The next token of the live rows, which have `lengths` tokens, will be written and read by `mask`, what is
        added to attention scores, [rows, 1, 1, width]."""
        self.lengths, self.mask, self.at = lengths, mask, {}

    def write(self, layer: int, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Write a token's keys and values, each [rows, heads, 1, head_dim]; returns [rows, heads, width, head_dim]
        views of what is there then."""
        slots, heads = self.layers[layer], states[0].shape[1]
        if heads not in self.at:  # the lines of the tokens, where slots are seen as [lines, head_dim]
            slot_and_head = torch.arange(self.rows * heads, device=self.lengths.device)
            self.at[heads] = slot_and_head * self.columns + self.lengths.repeat_interleave(heads)
        for held, new in zip(slots, states, strict=True):
            held.view(-1, held.shape[-1]).index_copy_(0, self.at[heads], new.reshape(-1, held.shape[-1]))
        return tuple(held[: self.rows, :, : self.width] for held in slots)

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

    def absorb(self, other: "Slots") -> None:
        """Take over the live rows of `other`, behind the own ones."""
        self.resize(self.rows + other.rows, max(self.columns, other.columns))
        filled = other.width - 1  # the next token has no column yet
        for layer, theirs in zip(self.layers, other.layers, strict=True):
            for slots, held in zip(layer, theirs, strict=True):
                slots[self.rows :, :, :filled] = held[: other.rows, :, :filled]
        self.rows, self.width = self.size, max(self.width, other.width)


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
    key: torch.Tensor | list,
    value: torch.Tensor | list,
    attention_mask: torch.Tensor | None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention of one new token per row over its slot: query [rows, query heads, 1, head_dim], key and value [rows,
    heads, width, head_dim], or of each group of rows as `SlotLayer.update` gives them; returns [rows, 1, query heads,
    head_dim]."""
    length, size = query.shape[2:]
    grouped = isinstance(key, list)
    if not grouped and (length > 1 or attention_mask is None or kwargs.get("position_bias") is not None):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    query = query * (kwargs.get("scaling") or size**-0.5)
    if not grouped:
        return _attend(query, key, value, attention_mask), None
    parts = query.split([len(keys) for keys, _ in key])
    read = [_attend(q, keys, v, mask) for q, (keys, mask), v in zip(parts, key, value, strict=True)]
    return torch.cat(read), None


def attend(groups: list[Slots], layer: int, query: torch.Tensor, *states: torch.Tensor) -> torch.Tensor:
    """Write and read the slots of `groups`: `states`, keys and values, are [rows, heads, head_dim], `query`, which is
    scaled, and what is returned [rows, query heads × head_dim]."""
    query, *states = (t[:, :, None] for t in (query, *states))
    first, read = 0, []
    for group in groups:
        part = slice(first, first := first + group.rows)
        held = group.write(layer, *(t[part] for t in states))
        read.append(_attend(query[part], *held, group.mask).view(group.rows, -1))
    return torch.cat(read) if len(read) > 1 else read[0]


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Two plain products that read the slots in place; heads that share keys become the lines of one product. Torch's
    kernel is made for many queries, and on a CPU slower."""
    rows, heads, _, size = query.shape
    scores = product(query.reshape(rows, key.shape[1], -1, size), key.transpose(2, 3))
    weights = scores.add_(mask).softmax(-1, dtype=torch.float32).to(value.dtype)
    return product(weights, value).view(rows, 1, heads, -1)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The products of two stacks of small matrices, [..., n, k] and [..., k, m]; numpy's BLAS makes one in less than
    half the time that torch's batched product takes (AMD EPYC, n = 2)."""
    if a.device.type == "cpu" and a.dtype == b.dtype == torch.float32:
        return torch.from_numpy(np.matmul(a.numpy(), b.numpy()))
    return torch.matmul(a, b)


AttentionInterface.register("slots", slot_attention)
AttentionMaskInterface.register("slots", sdpa_mask)
