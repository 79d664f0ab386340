"""A byte-level tokenizer for the embedded family: three digits a token (as in Llama 3), the task's words whole.

It is an ordinary fast tokenizer (BPE without merges: a word of the vocabulary is one token, anything
else falls back to bytes), so any text can be encoded. The fixed sentences of the prompts are single
tokens, which keeps a tiny model's prompts short; a changed prompt still encodes, only longer.
"""

import random
import re
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from a2r import prompts
from a2r.training.nano import frame
from a2r.training.nano.puzzles import LEVELS, generate

# A verdict, a word with the space after it (not before a verdict), a letter with the space before it, a number.
PIECE = r"\\boxed\{| ?\([a-l]\) | (?:yes|no)\b|[A-Za-z]+(?: (?!(?:yes|no)\b))?|\d{3}|\d|\.?\n+|[^\sA-Za-z\d] ?|\s"
NUMBERS = [f"{n:03d}" for n in range(1000)]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = ["<think>", "</think>"]

# Qwen3's form: ChatML, earlier turns without their thinking, and an empty think block on request.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- set content = message.content -%}
{%- if message.role == 'assistant' and '</think>' in content -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}
"""


def phrases() -> list[str]:
    """The fixed sentences of the prompts, longest first; each becomes one token."""
    forms = (prompts.EXPLORER, prompts.SYNTHESIZER, prompts.CHOOSER, prompts.VERIFIER)
    fixed = [part for form in forms for part in re.split(r"\{question\}|\{references\}", form)]
    return sorted({part.replace("{{", "{").replace("}}", "}") for part in fixed if part.strip()}, key=len, reverse=True)


def build(samples: int = 2000) -> PreTrainedTokenizerFast:
    """Build the family's tokenizer; the vocabulary is what `samples` training problems per level contain."""
    rng = random.Random(0)
    words: set[str] = {*NUMBERS, "user", "assistant", "system", "Reference ", "\n\n"}
    for domain, levels in LEVELS.items():
        for level in levels:
            for _ in range(samples // len(levels)):
                p = generate(domain, level, "train", rng)
                words |= set(re.findall(PIECE, f"{p.question}\n{frame.path(p, rng)}\n"))
    bytelevel = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    whole = sorted("".join(piece for piece, _ in bytelevel.pre_tokenize_str(word)) for word in words if len(word) > 1)
    tokens = dict.fromkeys(SPECIAL + MARKS + phrases() + alphabet + whole)
    tokenizer = Tokenizer(BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PIECE), "isolated"), bytelevel])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in MARKS + phrases()])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.model_max_length = 4096
    return fast


def save(folder: str | Path) -> None:
    build().save_pretrained(folder)
