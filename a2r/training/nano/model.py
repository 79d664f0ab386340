"""The family's architecture (Qwen3 at several widths) and the optimizer that trains it."""

import torch
from torch.nn.utils import parametrize
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from a2r.training.nano.tokenizer import NUMBERS

# One dial: the hidden width. Depth is fixed; two query heads of 32 per 32 units of width share one key
# and value head (Qwen3-0.6B has the same ratios), the MLP is three times the width.
FAMILY = {"nano-16": 16, "nano-32": 32, "nano-48": 48, "nano-64": 64, "nano-128": 128}
LAYERS = 4


def build(width: int, tokenizer: PreTrainedTokenizerBase, seed: int) -> Qwen3ForCausalLM:
    """A randomly initialised Qwen3 of `width` hidden units; `seed` fixes the initial weights."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=LAYERS,
        num_attention_heads=2 * -(-width // 32),
        num_key_value_heads=-(-width // 32),
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


class Digits(torch.nn.Module):
    """Parametrisation of an embedding matrix in which a number's row is the sum of three digit vectors.

    One token a number keeps prompts short and lets a small model look numbers up; the sums let it
    still compute digit by digit, and what it learns of one number holds for all. It is used in training
    alone: the finished model has an ordinary embedding matrix.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        super().__init__()
        numbers = tokenizer.convert_tokens_to_ids(NUMBERS)
        self.numbers = torch.tensor(numbers)
        self.others = torch.tensor(sorted(set(range(len(tokenizer))) - set(numbers)))

    def forward(self, free: torch.Tensor) -> torch.Tensor:
        """(others + 30, width) free rows to the (vocabulary, width) matrix."""
        hundreds, tens, ones = free[len(self.others) :].view(3, 10, -1)
        sums = (hundreds[:, None, None] + tens[:, None] + ones).flatten(0, 2)
        matrix = free.new_empty(len(self.others) + len(self.numbers), free.shape[1])
        return matrix.index_copy(0, self.others, free[: len(self.others)]).index_copy(0, self.numbers, sums)

    def right_inverse(self, matrix: torch.Tensor) -> torch.Tensor:
        """Random rows are as good as others: the first 30 numbers' rows become the digits'."""
        return torch.cat([matrix[self.others], matrix[self.numbers[:30]]])


def with_digits(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> Qwen3ForCausalLM:
    """`model` with its embedding as sums of digits, for training; use `embedding` and not its lm_head."""
    parametrize.register_parametrization(model.model.embed_tokens, "weight", Digits(tokenizer), unsafe=True)
    return model


def plain(model: Qwen3ForCausalLM) -> Qwen3ForCausalLM:
    """An ordinary, half-precision copy of a model `with_digits`."""
    copy = Qwen3ForCausalLM(model.config)
    copy.model.layers.load_state_dict(model.model.layers.state_dict())
    copy.model.norm.load_state_dict(model.model.norm.state_dict())
    copy.model.embed_tokens.weight.data.copy_(model.model.embed_tokens.weight.detach())
    return copy.half().eval()


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) in float32 for hidden matrices, those of one shape together.

    torch.optim.Muon does the same with its Newton-Schulz iteration in bfloat16, which processors
    without bfloat16 units emulate: there a step would take longer than the gradient.
    """

    def __init__(self, params, lr: float = 0.007, momentum: float = 0.95, steps: int = 5):
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": steps})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, params in by_shape.items():
                buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in params]
                grads = [p.grad for p in params]
                torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
                nesterov = torch.stack(torch._foreach_lerp(grads, buffers, group["momentum"]))
                update = orthogonalise(nesterov, group["steps"]) * max(1.0, shape[0] / shape[1]) ** 0.5
                torch._foreach_add_(params, list(update.unbind()), alpha=-group["lr"])


def orthogonalise(g: torch.Tensor, steps: int) -> torch.Tensor:
    """Nearest (semi-)orthogonal matrices to a stack `g` (k, m, n), by a quintic Newton-Schulz iteration."""
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


def optimizers(model: Qwen3ForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings and norms."""
    hidden = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.model.parameters() if all(p is not q for q in hidden)]
    return [Muon(hidden, lr=0.007), torch.optim.AdamW(others, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.0)]
