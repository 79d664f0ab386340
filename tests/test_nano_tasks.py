"""The embedded problems, solved a second time from their text alone; and the tokenizer that reads them."""

import contextlib
import hashlib
import io
import json
import random
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2r.answers import answer_component, equivalent, extract
from a2r.prompts import explorer_messages, synthesizer_messages
from a2r.training.nano import tokenizer as nano_tokenizer
from a2r.training.nano.tasks import DOMAINS, LEVELS, SPLITS, Problem, draw, generate, split_of

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "data" / "problems").glob("*.jsonl"))
TOKENIZERS = sorted((ROOT / "data" / "models").glob("*/tokenizer.json"))
EVENT = re.compile(r"\(([a-i])\) (Multiply by|Add|Subtract) (\d+)\.")
OPENINGS = ("A counter keeps the last three digits.", "A display shows three digits and wraps around.")


def solve_math(question: str) -> tuple[int, str, int]:
    """Answer, content and level of a counter problem, from its question."""
    start, events = re.fullmatch(r".+?\. It starts at (\d{3})\. (.+) What .+ at the end\?", question).groups()
    value, content = int(start), [start]
    for letter, verb, amount in EVENT.findall(events):
        assert letter == "abcdefghi"[len(content) - 1]
        value = {"Multiply by": value * int(amount), "Add": value + int(amount), "Subtract": value - int(amount)}[verb]
        content.append({"Multiply by": "*", "Add": "+", "Subtract": "-"}[verb] + amount)
    assert EVENT.sub("", events).strip() == "", "every event was understood"
    return value % 1000, "math " + " ".join(content), len(content) - 1


def solve_code(question: str) -> tuple[int, str, int]:
    head, listing = question.split("\n", 1)
    assert head == "What does this program print?"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(listing, {})
    return int(printed.getvalue()), "code " + listing, len(set(re.findall(r"^([a-z]) =", listing, re.MULTILINE))) - 2


CLUE = re.compile(
    r"It is (?P<parity>odd|even)\.|It is over (?P<over>\d+)\.|It is under (?P<under>\d+)\."
    r"|Its digits add up to more than (?P<digits>\d+)\.|If it is (?P<given>odd|even), then it is over (?P<limit>\d+)\."
)


def solve_logic(question: str) -> tuple[int, str, int]:
    told = r"One of these badges opens the door: ((?:\([a-e]\) \d{3} ?)+)\. (.+) Which badge is it\?"
    listed, clues = re.fullmatch(told, question).groups()
    badges = [int(number) for number in re.findall(r"\d{3}", listed)]
    assert re.findall(r"\((.)\)", listed) == list("abcde")[: len(badges)] and len(set(badges)) == len(badges) >= 3
    found = list(CLUE.finditer(clues))
    assert " ".join(clue[0] for clue in found) == clues, "every clue was understood"
    fitting = [[x for x in badges if fits(x, clue.groupdict())] for clue in found]
    assert all(len(some) < len(badges) for some in fitting), "an idle clue"
    (answer,) = set(badges).intersection(*fitting)
    return answer, f"logic {listed} {clues}", len(found)


def fits(x: int, clue: dict[str, str | None]) -> bool:
    word = "odd" if x % 2 else "even"
    if clue["given"]:
        return clue["given"] != word or x > int(clue["limit"])
    return bool(
        (clue["parity"] and clue["parity"] == word)
        or (clue["over"] and x > int(clue["over"]))
        or (clue["under"] and x < int(clue["under"]))
        or (clue["digits"] and sum(map(int, str(x))) > int(clue["digits"]))
    )


SOLVE = {"math": solve_math, "code": solve_code, "logic": solve_logic}


@cache
def drawn(domain: str) -> list[Problem]:
    rng = random.Random(f"tests/{domain}")
    return [generate(domain, level, "train", rng) for level in LEVELS[domain] for _ in range(150)]


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_answer_is_what_the_question_asks_for(domain):
    for p in drawn(domain):
        answer, content, level = SOLVE[domain](p.question)
        assert (str(answer), content, level) == (p.answer, p.content, p.level), p.question


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_equation_of_the_solution_holds(domain):
    for p in drawn(domain):
        equations = p.component.split("\n")[0].split(",")
        assert all(holds(equation) for equation in equations), p.component
        assert all(equation in p.thinking for equation in equations)


def holds(equation: str) -> bool:
    left, value = equation.split("=")
    if left.startswith("sum "):
        return sum(map(int, left[4:])) == int(value)
    a, sign, b = re.fullmatch(r"(\d{3})([-+*<>%])(\d+)", left).groups()
    a, b = int(a), int(b)
    if sign in "<>":
        return value == ("yes" if (a > b if sign == ">" else a < b) else "no")
    result = a % b if sign == "%" else {"+": a + b, "-": a - b, "*": a * b}[sign] % 1000
    return int(value) == result


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_solution_ends_in_the_right_box(domain):
    for p in drawn(domain):
        box = re.fullmatch(r".*\n\\boxed\{(\d+)\}", p.component, re.DOTALL)
        assert int(box[1]) == int(p.answer)
        output = f"<think>\n{p.thinking}\n</think>\n\n{p.component}"
        assert answer_component(output) == p.component
        assert equivalent(p.answer, extract(output)) and not equivalent(str(int(p.answer) + 1), extract(output))
        assert extract(f"<think>\n{p.thinking}") is None


def test_the_domains_of_a_draw():
    rng = random.Random(0)
    assert {draw("dev", rng, {"code": 1.0}).domain for _ in range(5)} == {"code"}
    assert {draw("dev", rng, dict.fromkeys(DOMAINS, 1.0)).domain for _ in range(60)} == set(DOMAINS)


def test_the_splits_share_the_whole_space():
    owned = [bucket for buckets in SPLITS.values() for bucket in buckets]
    assert sorted(owned) == list(range(100)) and list(SPLITS) == ["train", "rl", "dev", "test"]


@pytest.mark.parametrize(("domain", "draws"), [("math", 500), ("code", 500), ("logic", 60)])
def test_the_splits_never_overlap(domain, draws):
    """Of four streams that start from the same random state, none gives a problem of another's, in whatever wording."""
    contents = {}
    for split in SPLITS:
        rng = random.Random(1)
        problems = [generate(domain, LEVELS[domain][0], split, rng) for _ in range(draws)]
        contents[split] = {SOLVE[domain](p.question)[1] for p in problems}
        assert {split_of(content) for content in contents[split]} == {split}
    assert sum(map(len, contents.values())) == len(set().union(*contents.values()))


def test_the_wording_does_not_decide_the_split():
    """A question in its other wording is the same problem."""
    for p in drawn("math")[:100]:
        old, new = OPENINGS if p.question.startswith(OPENINGS[0]) else OPENINGS[::-1]
        reworded = p.question.replace(old, new)
        assert reworded != p.question and solve_math(reworded)[1] == p.content


def test_the_same_seed_draws_the_same_problems():
    for domain in DOMAINS:
        first, second = ([generate(domain, 3, "rl", random.Random(5)) for _ in range(2)] for _ in range(2))
        assert first == second


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_problems_are_of_their_split_and_right(path):
    """Those that are reported are of `test`; those that synthesizers are trained on are math problems of `rl`."""
    name = path.stem.removeprefix("nano-")
    domain, split = ("math", "rl") if name.startswith("rl") else (name, "test")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) >= 100 and {row["level"] for row in rows} == set(LEVELS[domain])
    for row in rows:
        answer, content, level = SOLVE[domain](row["question"])
        sha = hashlib.sha256(content.encode()).hexdigest()
        assert row["problem_id"] == f"{domain}-{level}-{sha[:10]}" and row["level"] == level
        assert row["answer"] == str(answer)
        assert [split for split, owned in SPLITS.items() if int(sha, 16) % 100 in owned] == [split]
    assert len({row["problem_id"] for row in rows}) == len({row["question"] for row in rows}) == len(rows)


def test_problems_are_shipped_for_every_domain_of_the_profile():
    from a2r import load_profile

    named = {ROOT / benchmark.path for benchmark in load_profile("nano").benchmarks}
    assert named and named <= set(SHIPPED)


@pytest.fixture(scope="module")
def tokenizer():
    return nano_tokenizer.build()


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


@settings(deadline=None, max_examples=300)
@given(text=st.text() | st.text("\n .,{}\\<>|/think0123456789ab\té🙂\u0301"))
def test_any_text_survives(tokenizer, text):
    assert tokenizer.decode(ids(tokenizer, text)) == text


def test_prompts_and_solutions_survive(tokenizer):
    for domain in DOMAINS:
        for p in drawn(domain)[::5]:
            prompt = synthesizer_messages(p.question, [p.component] * 3 + [""], seed=1)[0]["content"]
            for text in (p.question, p.thinking, p.component, explorer_messages(p.question)[0]["content"], prompt):
                assert tokenizer.decode(ids(tokenizer, text)) == text


def test_three_digits_are_one_token_and_fewer_are_one_each(tokenizer):
    numbers = ids(tokenizer, "082"), ids(tokenizer, "347")
    assert [len(n) for n in numbers] == [1, 1] and len(set(nano_tokenizer.NUMBERS)) == 1000
    digits = [ids(tokenizer, digit) for digit in "0123456789"]
    assert all(len(digit) == 1 for digit in digits) and len({digit[0] for digit in digits}) == 10
    assert ids(tokenizer, "347*16=082") == [*numbers[1], *ids(tokenizer, "*"), *digits[1], *digits[6], *ids(tokenizer, "="), *numbers[0]]


def test_the_sentences_of_the_prompts_are_single_tokens(tokenizer):
    question = "(a) Add 123."
    explorer, plain = (ids(tokenizer, text) for text in (explorer_messages(question)[0]["content"], question))
    assert explorer[:-1] == plain and tokenizer.decode(explorer[-1:]).endswith("answer within \\boxed{}.")
    synthesizer = ids(tokenizer, synthesizer_messages(question, ["x"])[0]["content"])
    shown = [tokenizer.decode(token) for token in synthesizer]
    assert [text[:10] for text in shown if len(text) > 40] == ["\n\nHere are", "\n\nWork out"]
    # the shipped family spells "Reference " in bytes; a next one may have it as a word
    assert len(synthesizer) - len(plain) <= 6 + len("Reference "), "two sentences, and 'Reference 1:' with its x"


def test_marks_and_words_are_single_tokens(tokenizer):
    for text in (
        "<think>",
        "</think>",
        "<|im_start|>",
        "<|im_end|>",
        "\\boxed{",
        "Multiply ",
        "Subtract ",
        "badges ",
        "(a) ",
        "\n\n",
    ):
        assert len(ids(tokenizer, text)) == 1, text
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"


def rendered(tokenizer, messages: list[dict], **options) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, **options)


CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nIt is 2."},
    {"role": "user", "content": "And 1 + 2?"},
]


def test_the_chat_template_has_the_form_of_qwen3(tokenizer):
    history = (
        "<|im_start|>system\nBe short.<|im_end|>\n"
        "<|im_start|>user\n1 + 1?<|im_end|>\n"
        "<|im_start|>assistant\nIt is 2.<|im_end|>\n"
        "<|im_start|>user\nAnd 1 + 2?<|im_end|>\n"
    )
    assert rendered(tokenizer, CHAT) == history
    assert rendered(tokenizer, CHAT, add_generation_prompt=True) == history + "<|im_start|>assistant\n"
    assert rendered(tokenizer, CHAT, add_generation_prompt=True, enable_thinking=True) == history + "<|im_start|>assistant\n"


def test_without_thinking_the_template_closes_an_empty_block(tokenizer):
    one = [{"role": "user", "content": "1 + 1?"}]
    expected = "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert rendered(tokenizer, one, add_generation_prompt=True, enable_thinking=False) == expected
    turned = tokenizer.apply_chat_template(one, add_generation_prompt=True, enable_thinking=False, return_dict=False)
    assert turned == ids(tokenizer, expected), "the marks are tokens, nothing is added"


@pytest.mark.skipif(not TOKENIZERS, reason="data/models IS NOT THERE, NO SHIPPED TOKENIZER WAS COMPARED: train them with `make nano`")
def test_the_shipped_tokenizers_are_this_one(tokenizer):
    from transformers import AutoTokenizer

    for path in TOKENIZERS:
        shipped = AutoTokenizer.from_pretrained(path.parent)
        assert shipped.get_vocab() == tokenizer.get_vocab(), path
        assert rendered(shipped, CHAT, add_generation_prompt=True) == rendered(tokenizer, CHAT, add_generation_prompt=True)
        assert shipped.eos_token == tokenizer.eos_token and shipped.model_max_length == tokenizer.model_max_length
