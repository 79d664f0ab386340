"""The two prompts of A2R, used unchanged for every model and domain.

The paper does not print its prompts; these follow its description (arXiv 2509.22044): the explorer
gets the problem alone, the synthesizer gets the problem and the N answer components as a numbered
reference context and is asked to reason again, not to pick one.
"""

import random
from collections.abc import Sequence

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{{}}."

EXPLORER = "{question}\n\n" + INSTRUCTION

SYNTHESIZER = (
    "{question}\n\n"
    "Here are reference solutions to this problem. They were written independently, and any of them may be wrong.\n\n"
    "{references}\n\n"
    "Work out the problem again yourself: check the references against each other, keep the steps that are right "
    "and correct those that are not. " + INSTRUCTION
)

# Forms beside A2R's: choosing one of the references (GenSelect, arXiv 2507.17797; of two it is a pairwise comparison),
# and judging
# a single one (self-verification). In our own words; the embedded family is taught these four forms and no other.
CHOOSER = (
    "{question}\n\n"
    "Here are reference solutions to this problem. They were written independently, and any of them may be wrong.\n\n"
    "{references}\n\n"
    "Check each of them. Which reference is right? Put its number within \\boxed{{}}, or 0 if none is."
)

VERIFIER = (
    "{question}\n\n"
    "Here is a proposed solution to this problem.\n\n"
    "{references}\n\n"
    "Check it. Is it right? Put yes or no within \\boxed{{}}."
)

REFERENCE = "Reference {number}:\n{component}"
NO_ANSWER = "(no answer)"


def explorer_messages(question: str) -> list[dict[str, str]]:
    """Chat messages that ask an explorer for one path."""
    return [{"role": "user", "content": EXPLORER.format(question=question)}]


def synthesizer_messages(
    question: str, components: Sequence[str], seed: int | None = None, form: str = SYNTHESIZER
) -> list[dict[str, str]]:
    """Chat messages that give a model the problem and N answer components: to synthesize, or in another `form`
    (CHOOSER, VERIFIER).

    The order of the references is shuffled by `seed` (None keeps it), so that no position is favoured.
    An empty component is shown as "(no answer)": a path that failed is still one of the N.
    """
    order = list(range(len(components)))
    if seed is not None:
        random.Random(seed).shuffle(order)
    shown = [components[i].strip() or NO_ANSWER for i in order]
    references = "\n\n".join(REFERENCE.format(number=k, component=c) for k, c in enumerate(shown, 1))
    return [{"role": "user", "content": form.format(question=question, references=references)}]
