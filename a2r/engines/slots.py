"""Key-value slots: the cache of a batch whose rows join and leave one by one, and the attention that reads it.

Each row owns a slot and fills it from the left, so that nothing is shifted, concatenated or computed
for rows that are done.
"""

import itertools

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, each [rows, heads, columns, head_dim]. The next token of row i goes to column
    `lengths[i]`; the longest row is then `width` long."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor, width: int):
        super().__init__()
        self.keys, self.values, self.lengths, self.width = keys, values, lengths, width
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the slots exist from the start."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token per row; both states are [rows, heads, 1, head_dim]. Returns [rows, heads, width, head_dim]
        views."""
        rows = torch.arange(len(self.lengths), device=self.lengths.device)
        self.keys[rows, :, self.lengths] = key_states[:, :, 0]
        self.values[rows, :, self.lengths] = value_states[:, :, 0]
        return self.keys[:, :, : self.width], self.values[:, :, : self.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.width, 0

    def get_seq_length(self) -> int:
        return self.width - 1

    def get_max_length(self) -> int:
        return -1


class Slots:
    """The key-value slots of a batch, keys and values of a layer each [slots, heads, columns, head_dim]. The first
    `rows` slots are live; a row has its tokens in columns 0.. of its slot."""

    def __init__(self, like: Cache):
        """Take the number of layers, heads, dtype and device from `like`, a cache that the model has filled."""
        self.rows = self.size = self.columns = 0
        self.layers = [(layer.keys[:0, :, :0], layer.values[:0, :, :0]) for layer in like.layers]

    def resize(self, size: int, columns: int) -> None:
        """Make room for `size` rows of `columns` tokens; what the live rows hold stays."""
        for i, layer in enumerate(self.layers):
            self.layers[i] = tuple(zeros((size, old.shape[1], columns, old.shape[3]), like=old) for old in layer)
            for new, old in zip(self.layers[i], layer, strict=True):
                new[: self.rows, :, : self.columns] = old[: self.rows, :, :columns]
        self.size, self.columns = size, columns

    def aimed(self, lengths: torch.Tensor, width: int) -> Cache:
        """The live rows, which have `lengths` tokens, as a cache for the next token of each."""
        return Cache(layers=[SlotLayer(k[: self.rows], v[: self.rows], lengths, width) for k, v in self.layers])

    def insert(self, first: int, prompts: Cache, source: torch.Tensor) -> None:
        """Copy row `source[i]` of `prompts`, a filled cache, into slot `first + i`."""
        for layer, new in zip(self.layers, prompts.layers, strict=True):
            for slots, states in zip(layer, (new.keys, new.values), strict=True):
                slots[first : first + len(source), :, : states.shape[2]] = states[source]

    def move(self, source: torch.Tensor, target: torch.Tensor, width: int) -> None:
        """Overwrite the slots `target`, `width` columns of them, with the slots `source`."""
        for slots in itertools.chain.from_iterable(self.layers):
            slots[target, :, :width] = slots[source, :, :width]


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
    """Attention of one new token per row over its slot: query [rows, query heads, 1, head_dim], key [rows, heads,
    width, head_dim].

    Two plain products that read the slots in place; heads that share keys become the lines of one
    product. Torch's kernel is made for many queries, and on a CPU slower.
    """
    rows, heads, length, size = query.shape
    if length > 1 or attention_mask is None or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    scaling = kwargs.get("scaling") or size**-0.5
    scores = product((query * scaling).view(rows, key.shape[1], -1, size), key.transpose(2, 3))
    weights = scores.add_(attention_mask).softmax(-1, dtype=torch.float32).to(value.dtype)
    return product(weights, value).view(rows, 1, heads, -1), None


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The products of two stacks of small matrices, [..., n, k] and [..., k, m]; numpy's BLAS makes one in less than
    half the time that torch's batched product takes (AMD EPYC, n = 2)."""
    if a.device.type == "cpu" and a.dtype == b.dtype == torch.float32:
        return torch.from_numpy(np.matmul(a.numpy(), b.numpy()))
    return torch.matmul(a, b)


AttentionInterface.register("slots", slot_attention)
AttentionMaskInterface.register("slots", sdpa_mask)
