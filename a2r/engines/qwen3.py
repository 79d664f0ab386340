"""A small Qwen3 model on a CPU in few operations: what `transformers` computes, without its modules, which take some
3 ms a step whatever the number of rows, as long as the arithmetic of a small model.

The weights that read the same input are one matrix, which the norm before it is multiplied into. What lies between the
matrices is compiled by numba: in torch it is many operations on little, each of which reads and writes memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import silu
from transformers import Qwen3ForCausalLM

from a2r.engines.compiled import compiled

# (layer, heads [tokens, query heads + 2 × heads, head_dim]: queries, keys, values) -> [tokens, query heads × head_dim];
# queries are scaled. None where nothing is read: the rest of the model is left out.
Attention = Callable[[int, torch.Tensor], torch.Tensor | None]


@dataclass(frozen=True)
class Layer:
    """Weights of a layer, each [in, out]; `heads` is what normalised queries and keys are multiplied by, [query heads +
    heads, head_dim]."""

    query_key_value: torch.Tensor
    heads: np.ndarray
    out: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class Qwen3:
    """`model`, for which `fits` holds."""

    @staticmethod
    def fits(model: torch.nn.Module) -> bool:
        """Whether this file is enough for `model`, which is on a CPU."""
        if type(model) is not Qwen3ForCausalLM or model.dtype != torch.float32:
            return False
        config, turning = model.config, model.model.rotary_emb.rope_type
        plain = config.hidden_act == "silu" and not config.attention_bias
        return plain and set(config.layer_types) == {"full_attention"} and turning == "default"

    @torch.inference_mode()
    def __init__(self, model: Qwen3ForCausalLM):
        config = model.config
        self.eps, self.size = config.rms_norm_eps, config.head_dim
        self.queries, self.keys = config.num_attention_heads, config.num_key_value_heads
        self.embedding = model.get_input_embeddings().weight
        self.layers = [self._layer(layer) for layer in model.model.layers]
        self.head = fold(model.model.norm, model.lm_head)
        positions = torch.arange(config.max_position_embeddings)[None]
        self.turns = [part[0].contiguous().numpy() for part in model.model.rotary_emb(self.embedding, positions)]

    def _layer(self, layer: torch.nn.Module) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        query = (attention.q_norm.weight * attention.scaling).expand(self.queries, -1)
        return Layer(
            fold(layer.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj),
            torch.cat((query, attention.k_norm.weight.expand(self.keys, -1))).numpy(),
            attention.o_proj.weight.t().contiguous(),
            fold(layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj),
            mlp.down_proj.weight.t().contiguous(),
        )

    def hidden(self, tokens: torch.Tensor, positions: torch.Tensor, attend: Attention) -> torch.Tensor:
        """The last hidden states of `tokens` at `positions`, both [tokens]; [tokens, hidden size], not normalised."""
        x, at = self.embedding[tokens], positions.numpy()
        for i, layer in enumerate(self.layers):
            heads = (self._norm(x) @ layer.query_key_value).view(len(x), -1, self.size)
            _turn(heads.numpy(), layer.heads, *self.turns, at, self.eps)
            read = attend(i, heads)
            if read is None:
                break
            x = torch.addmm(x, read, layer.out)
            gate, up = (self._norm(x) @ layer.gate_up).chunk(2, -1)
            x = torch.addmm(x, silu(gate).mul_(up), layer.down)
        return x

    def logits(self, tokens: torch.Tensor, positions: torch.Tensor, attend: Attention) -> torch.Tensor:
        """The next token's logits, [tokens, vocabulary]; arguments as in `hidden`."""
        return self._norm(self.hidden(tokens, positions, attend)) @ self.head

    def prefill(self, prompts: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each layer, [prompts, heads, length, head_dim], of `prompts` [prompts, length]."""
        made = []

        def causal(layer: int, heads: torch.Tensor) -> torch.Tensor | None:
            heads = heads.view(*prompts.shape, -1, self.size).transpose(1, 2)
            query, keys, values = heads.split((self.queries, self.keys, self.keys), 1)
            made.append((keys, values))
            if len(made) == len(self.layers):  # what the last layer reads is in no key and no value
                return None
            options = {"is_causal": True, "scale": 1.0, "enable_gqa": self.queries != self.keys}
            read = torch.nn.functional.scaled_dot_product_attention(query, keys, values, **options)
            return read.transpose(1, 2).reshape(prompts.numel(), -1)

        positions = torch.arange(prompts.shape[1]).repeat(len(prompts))
        self.hidden(prompts.flatten(), positions, causal)
        return made

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        normal = torch.empty_like(x)
        _norm(x.numpy(), self.eps, normal.numpy())
        return normal


@compiled("void(f4[:,::1], f8, f4[:,::1])")
def _norm(x: np.ndarray, eps: float, normal: np.ndarray) -> None:
    """Lines of `x` with a mean square of 1."""
    rows, size = x.shape
    for row in range(rows):
        total = np.float32(0)
        for i in range(size):
            total += x[row, i] ** 2
        scale = np.float32(1 / np.sqrt(total / size + eps))
        for i in range(size):
            normal[row, i] = x[row, i] * scale


@compiled("void(f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,::1], i8[::1], f8)")
def _turn(heads: np.ndarray, weights: np.ndarray, cos: np.ndarray, sin: np.ndarray, at: np.ndarray, eps: float) -> None:
    """Normalise the first heads, those that have `weights`, multiply by these, and turn them by their position."""
    rows, _, size = heads.shape
    half = size // 2
    for row in range(rows):
        for head in range(len(weights)):
            line, weight = heads[row, head], weights[head]
            total = np.float32(0)
            for i in range(size):
                total += line[i] ** 2
            scale = np.float32(1 / np.sqrt(total / size + eps))
            for i in range(half):
                a, b = line[i] * scale * weight[i], line[half + i] * scale * weight[half + i]
                line[i] = a * cos[at[row], i] - b * sin[at[row], i]
                line[half + i] = b * cos[at[row], half + i] + a * sin[at[row], half + i]


def fold(norm: torch.nn.Module, *linear: torch.nn.Linear) -> torch.Tensor:
    """The weights of layers that read what `norm` gives, as one matrix [in, out] for what is normalised only."""
    return (torch.cat([one.weight for one in linear]) * norm.weight).t().contiguous()
