"""The two prompts of A2R, used unchanged for every model and domain, and the forms of what it is compared with.

The paper does not print its prompts; these follow its description (arXiv 2509.22044): the explorer
gets the problem alone, the synthesizer gets the problem and the N answer components as a numbered
reference context and is asked to reason again, not to pick one. A profile may give any form another text (`prompts:`).
"""

import random
import string
from collections.abc import Callable, Sequence

from a2r.errors import UserError

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{{}}."

EXPLORER = "{question}\n\n" + INSTRUCTION

SYNTHESIZER = (
    "{question}\n\n"
    "Here are reference solutions to this problem. They were written independently, and any of them may be wrong.\n\n"
    "{references}\n\n"
    "Work out the problem again yourself: check the references against each other, keep the steps that are right "
    "and correct those that are not. " + INSTRUCTION
)

# Forms beside A2R's, in our own words: choosing one of the references (of two: a pairwise comparison), and judging a
# single one (self-verification). The embedded family is taught these four forms and no other.
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

# Further forms, for general models alone (profile `paper`): each after its source, in our own words.
# GenSelect's wording for mathematics: by answers first, then in detail (NeMo-Skills, arXiv 2504.16891).
GENSELECT = (
    "{question}\n\n"
    "Below are several solutions to this problem, each with its number.\n\n"
    "{references}\n\n"
    "Group the solutions by their final answers. Then go through them step by step, compare where they part ways, "
    "and find the one that is most likely to be correct. "
    "Put its number within \\boxed{{}}, or 0 if all of them are wrong."
)
# Universal self-consistency (arXiv 2311.17311): the vote for answers that cannot be counted.
CONSISTENT = (
    "{question}\n\n"
    "Below are several responses to this problem, each with its number.\n\n"
    "{references}\n\n"
    "Which response agrees best with what most of the others say? Judge their agreement only. "
    "Put its number within \\boxed{{}}."
)
# GenSynthesis (NeMo-Skills): a new solution made of the best parts.
GENSYNTHESIS = (
    "{question}\n\n"
    "Below are several attempts at this problem.\n\n"
    "{references}\n\n"
    "Write a new solution that puts together the best parts of these attempts and leaves out their mistakes. "
    + INSTRUCTION
)
# Mixture-of-Agents (arXiv 2406.04692): the references are in the system message, the user asks the question.
MIXTURE = (
    "Several models have answered the user's latest question; their answers follow. Judge them critically, since "
    "some may be biased or wrong, and do not merely repeat them: give one answer of your own that is as accurate "
    "and complete as it can be.\n\n{references}"
)
# Debate (arXiv 2305.14325): a model's own answer is its turn in the chat, and those of the others are the next message.
DEBATE = (
    "These are the solutions of other agents to the same problem.\n\n"
    "{references}\n\n"
    "Use them as further advice, check your own solution against them, and solve the problem once more. " + INSTRUCTION
)

FORMS = {
    **{"explorer": EXPLORER, "synthesizer": SYNTHESIZER, "chooser": CHOOSER, "verifier": VERIFIER},
    **{"genselect": GENSELECT, "consistent": CONSISTENT, "gensynthesis": GENSYNTHESIS},
    **{"mixture": MIXTURE, "debate": DEBATE},
}
# What a form's text has to have a place for, where that is not both of question and references.
PLACES = {"explorer": {"question"}, "mixture": {"references"}, "debate": {"references"}}

REFERENCE = "Reference {number}:\n{component}"
NO_ANSWER = "(no answer)"


def check(form: str, text: str, where: str) -> None:
    """UserError that begins with `where` for an unknown form, or a text that has not just its placeholders."""
    if form not in FORMS:
        raise UserError(f"{where} gives a prompt '{form}', which no method asks with; known are {', '.join(FORMS)}.")
    needed, where = PLACES.get(form, {"question", "references"}), f"{where} gives a prompt '{form}'"
    try:
        found = {name for _, name, *_ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise UserError(f"{where} whose braces do not pair ({error}); double plain ones.") from None
    if missing := needed - found:
        raise UserError(f"{where} without the placeholder {{{min(missing)}}}; put it where that belongs.")
    if strange := found - needed:
        raise UserError(f"{where} with the placeholder {{{min(strange)}}}, which nothing fills; double plain braces.")


def explorer_messages(question: str, form: str = EXPLORER) -> list[dict[str, str]]:
    """Chat messages that ask an explorer for one path, in the wording `form`."""
    return [{"role": "user", "content": form.format(question=question)}]


def synthesizer_messages(
    question: str, components: Sequence[str], seed: int | None = None, form: str = SYNTHESIZER
) -> list[dict[str, str]]:
    """Chat messages that give a model the problem and N answer components: to synthesize, or in another wording.

    The order of the references is shuffled by `seed` (None keeps it), so that no position is favoured.
    An empty component is shown as "(no answer)": a path that failed is still one of the N.
    """
    shown = references([components[i] for i in order(len(components), seed)])
    return [{"role": "user", "content": form.format(question=question, references=shown)}]


def messages(
    form: str, question: str, components: Sequence[str], own: str = "", text: Callable[[str], str] = FORMS.__getitem__
) -> list[dict[str, str]]:
    """Chat messages of any form that shows references, in the order given; `text` is the wording of a form by name.

    Mixture-of-Agents has the references in the system message, and a debate has the agent's `own` component as its
    turn.
    """
    if form == "mixture":
        told = {"role": "system", "content": text(form).format(references=references(components))}
        return [told, *explorer_messages(question, text("explorer"))]
    if form == "debate":
        turn = {"role": "assistant", "content": own.strip() or NO_ANSWER}
        others = {"role": "user", "content": text(form).format(references=references(components))}
        return [*explorer_messages(question, text("explorer")), turn, others]
    return synthesizer_messages(question, components, None, text(form))


def order(n: int, seed: int | None) -> list[int]:
    """The places 0..n-1 as `seed` shuffles them; None leaves them as they are."""
    places = list(range(n))
    if seed is not None:
        random.Random(seed).shuffle(places)
    return places


def references(components: Sequence[str]) -> str:
    """The components as a prompt shows them, numbered from 1."""
    numbered = enumerate((component.strip() or NO_ANSWER for component in components), 1)
    return "\n\n".join(REFERENCE.format(number=number, component=component) for number, component in numbered)
