"""The embedded problems, solved again from their text alone; the work that is taught; the tokenizer that reads both."""

import contextlib
import hashlib
import io
import json
import random
import re
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2r.answers import answer_component, equivalent, extract
from a2r.problems import dial_of, made_tests, with_tests
from a2r.prompts import CHOOSER, VERIFIER, explorer_messages, synthesizer_messages
from a2r.training.nano import frame
from a2r.training.nano import tokenizer as nano_tokenizer
from a2r.training.nano.puzzles import LEVELS, PARCELS, SPLITS, Puzzle, draw, drill, generate, split_of

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "data" / "problems").glob("*.jsonl"))
TOKENIZERS = sorted((ROOT / "data" / "models").glob("**/tokenizer.json"))
DOMAINS = tuple(LEVELS)
LISTED = re.compile(r"\(([a-l])\) (\d+)")


def solve(question: str) -> tuple[dict[str, int], list[str], str]:
    """Every candidate's answer by name, the names that fit, and the content, from a question's text alone."""
    given = {letter: int(n) for letter, n in LISTED.findall(question)}
    assert list(given) == list("abcdefghijkl")[: len(given)] and len(set(given.values())) == len(given)
    if found := re.search(r"(Two|Three) of them weigh (\d+) together", question):
        taken, total = {"Two": 2, "Three": 3}[found[1]], int(found[2])
        names = {"+".join(c): int("".join(str("_abcdefgh".index(x)) for x in c)) for c in combinations(given, taken)}
        fitting = [name for name in names if sum(given[x] for x in name.split("+")) == total]
        return names, fitting, f"{total} {sorted(given.values())} {taken}"
    if found := re.search(r"print (\d+)\?", question):
        program = question.split("\nInputs")[0]
        fitting = [name for name, x in given.items() if run(program, x) == int(found[1])]
        return given, fitting, f"{program} {found[1]} {sorted(given.values())}"
    said = re.search(r"One of them is (.+)\. You may", question)[1]
    clues = [clue(part) for part in said.split(", ")]
    return (
        given,
        [n for n, x in given.items() if all(test(x) for test, _ in clues)],
        f"{sorted(c for _, c in clues)} {sorted(given.values())}",
    )


def run(program: str, x: int) -> int:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {"x": x})
    return int(printed.getvalue())


def clue(part: str):
    """A clue's test, and its canonical form."""
    *_, last = part.split()
    number = int(last) if last.isdigit() else 0
    if part.startswith("more"):
        return lambda x: x > number, (">", number)
    if part.startswith("less"):
        return lambda x: x < number, ("<", number)
    if part.startswith("without a"):
        return lambda x: last not in str(x), ("no", number)
    assert part in ("even", "odd")
    return lambda x: (x % 2 == 0) == (part == "even"), (part, 0)


@cache
def drawn(domain: str) -> list[Puzzle]:
    rng = random.Random(f"tests/{domain}")
    return [generate(domain, level, "train", rng) for level in LEVELS[domain] for _ in range(60)]


@pytest.mark.parametrize("domain", DOMAINS)
def test_one_candidate_fits_and_is_the_answer(domain):
    for p in drawn(domain):
        names, fitting, content = solve(p.question)
        assert [p.right.name] == fitting and content == p.content
        assert {c.name: int(c.answer) for c in p.candidates} == names and p.level == len(names)
        assert p.chance == pytest.approx(1 / len(names)), "no two candidates share an answer"


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_check_is_right_and_says_whether_the_candidate_fits(domain):
    for p in drawn(domain)[::3]:
        for c in p.candidates:
            name, work = c.line.split("=", 1)
            assert name == c.name and work.endswith(" yes" if c.fits else " no")
            assert holds(work, p.question), c.line


def holds(work: str, question: str) -> bool:
    """Whether every equation, comparison and verdict of a written check is right."""
    if "=" not in work and ":" not in work:  # clues, to the first that does not hold
        said = [part.rsplit(" ", 1) for part in work.split(",")]
        words = {">": "more than ", "<": "less than "}
        right = []
        for part, verdict in said:
            x, kind, n = re.fullmatch(r"(\d+) ?([<>]|even|odd|no)? ?(\d+)?", part).groups()
            text = words[kind] + n if kind in words else f"without a {n}" if kind == "no" else kind
            right.append(clue(text)[0](int(x)) == (verdict == "yes"))
        return all(right) and all(v == "yes" for _, v in said[:-1])
    trace, last = work.rsplit(":", 1)
    total, verdict = last.split(" ")
    values = [trace.split("+")[0].split("-")[0].split(">")[0]]
    x = int(values[0])
    for piece in re.findall(r">\d+ (?:yes|no)|[+-]\d+=\d+", trace):
        if piece[0] == ">":
            limit, said = piece[1:].split(" ")
            if (x > int(limit)) != (said == "yes"):
                return False
            continue
        n, result = piece[1:].split("=")
        x = x + int(n) if piece[0] == "+" else x - int(n)
        if x != int(result) or not 100 <= x <= 999:
            return False
    return (x == int(total)) == (verdict == "yes")


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_path_tests_as_many_as_it_may_and_stops_at_the_first_that_fits(domain):
    rng = random.Random(0)
    for p in drawn(domain)[::3]:
        text = frame.path(p, rng)
        lines = text.split("</think>")[0].removeprefix("<think>\n").splitlines()
        assert 1 <= made_tests(text) == len(lines) <= dial_of(p.question) == p.tests
        assert all(line.endswith(" no") for line in lines[:-1]) and len(set(lines)) == len(lines)
        found = lines[-1].endswith(" yes")
        assert found or len(lines) == min(p.tests, len(p.candidates))
        assert not found or equivalent(p.answer, extract(text))
        claims, ruled_out = frame.read(p, [answer_component(text)])
        assert [c.name for c in ruled_out] == [line.split("=")[0] for line in lines if line.endswith(" no")]
        assert len(claims) == 1 and claims[0] not in ruled_out


def test_paths_of_one_problem_differ_and_succeed_by_luck():
    p = next(p for p in drawn("numbers") if p.level == 15)
    rng = random.Random(1)
    right = [equivalent(p.answer, extract(frame.path(p, rng))) for _ in range(400)]
    assert 4 / 15 - 0.1 < sum(right) / 400 < 4 / 15 + 0.25


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_synthesis_knows_a_right_claim_and_goes_on_where_nobody_has_been(domain):
    rng = random.Random(2)
    for p in drawn(domain)[::4]:
        right = frame.output([], frame.component([], p.right))
        wrong = [c for c in p.candidates if not c.fits]
        claimed, out = wrong[0], wrong[1:3]
        other = frame.component(out, claimed)
        text = frame.synthesis(p, [other, answer_component(right)], rng)
        assert equivalent(p.answer, extract(text)) and made_tests(text) == 2  # the wrong claim, then the right one
        tested = [line.split("=")[0] for line in frame.synthesis(p, [other], rng).split("</think>")[0].splitlines()[1:]]
        assert tested[0] == claimed.name and len(tested) <= 1 + p.tests
        fresh = len(p.candidates) - 1 - len(out)
        assert not {c.name for c in out} & set(tested[: 1 + min(fresh, p.tests)]), "what is ruled out is tested last"


def test_a_chooser_gives_the_number_of_the_first_right_reference_and_a_verifier_yes_or_no():
    for p in drawn("numbers")[::9]:
        right, wrong = (frame.component([], next(c for c in p.candidates if c.fits == fits)) for fits in (True, False))
        assert (
            extract(frame.choice(p, [wrong, right, right])) == "2" and extract(frame.choice(p, [wrong, wrong])) == "0"
        )
        assert extract(frame.verification(p, right)) == "yes" and extract(frame.verification(p, wrong)) == "no"


def test_references_in_every_form_are_read_alike():
    p, rng = drawn("code")[0], random.Random(0)
    outputs = [frame.path(p, rng, slips=0.3) for _ in range(6)]
    components, finals, traces = (frame.forms(rng, outputs, {form: 1}) for form in ("component", "final", "trace"))
    claimed = [frame.read(p, [text])[0] for text in components]
    assert [frame.read(p, [text])[0] for text in finals] == claimed and "think" not in "".join(traces)
    assert all(set(claim) <= set(frame.read(p, [text])[0]) for claim, text in zip(claimed, traces, strict=True))
    assert frame.forms(rng, outputs, {"repeated": 1}) == components[:1] * 6


def test_slips_turn_verdicts():
    p, rng = drawn("numbers")[-1], random.Random(0)
    said = [line for _ in range(300) for line in frame.path(p, rng, slips=0.3).split("</think>")[0].splitlines()[1:]]
    wrong = sum(line not in {c.line for c in p.candidates} for line in said)
    assert 0.24 < wrong / len(said) < 0.36


def test_the_dial_is_1_to_8_in_training_and_4_in_what_is_reported():
    rng = random.Random(0)
    puzzles = [draw("train", rng, dict.fromkeys(DOMAINS, 1.0)) for _ in range(300)]
    assert {p.tests for p in puzzles} == set(range(1, 9)) and {p.domain for p in puzzles} == set(DOMAINS)
    assert all(
        dial_of(p.question) == p.tests and with_tests(p.question, 4).count("You may test 4.") == 1 for p in puzzles
    )
    assert {dial_of(json.loads(line)["question"]) for path in SHIPPED for line in path.read_text().splitlines()} == {4}


@pytest.mark.parametrize("domain", DOMAINS)
def test_drilled_checks_are_right_and_half_of_them_fit(domain):
    rng, verdicts = random.Random(0), Counter()
    for _ in range(200):
        _, lines = drill(rng, {domain: 1})
        for line in lines:
            assert holds(line.split("=", 1)[1], ""), line
            verdicts[line.rsplit(" ", 1)[1]] += 1
    assert 0.35 < verdicts["yes"] / verdicts.total() < 0.65


def test_the_splits_share_the_whole_space():
    owned = [bucket for buckets in SPLITS.values() for bucket in buckets]
    assert sorted(owned) == list(range(100)) and list(SPLITS) == ["train", "rl", "dev", "test"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_splits_never_overlap(domain):
    """Of four streams that start from the same random state, none gives a problem of another's, in whatever order."""
    contents = {}
    for split in SPLITS:
        rng = random.Random(1)
        contents[split] = {solve(generate(domain, LEVELS[domain][1], split, rng).question)[2] for _ in range(100)}
        assert {split_of(content) for content in contents[split]} == {split}
    assert sum(map(len, contents.values())) == len(set().union(*contents.values()))


def test_the_same_seed_draws_the_same_problems():
    for domain in DOMAINS:
        first, second = (
            [generate(domain, LEVELS[domain][0], "rl", random.Random(5)) for _ in range(2)] for _ in range(2)
        )
        assert first == second


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_problems_are_of_their_split_and_right(path):
    """Those that are reported are of `test`, protocols are chosen on `dev`, RL is on numbers of `rl`."""
    domain, _, split = path.stem.removeprefix("nano-").partition("-")
    domain, split = ("numbers", "rl") if domain == "rl" else (domain, split or "test")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    levels = set(PARCELS.values()) if domain == "numbers" else set(LEVELS[domain])
    assert len(rows) >= (400 if split == "test" else 200) and {row["level"] for row in rows} == levels
    for row in rows:
        names, (right,), content = solve(row["question"])
        sha = hashlib.sha256(content.encode()).hexdigest()
        assert row["problem_id"] == f"{domain}-{row['level']}-{sha[:10]}" and row["level"] == len(names)
        assert row["answer"] == str(names[right])
        assert row["chance"] == pytest.approx(Counter(names.values())[names[right]] / len(names), abs=1e-4)
        assert [name for name, owned in SPLITS.items() if int(sha, 16) % 100 in owned] == [split]
    assert len({row["problem_id"] for row in rows}) == len({row["question"] for row in rows}) == len(rows)


def test_no_problem_of_one_file_is_in_another():
    contents = [solve(json.loads(line)["question"])[2] for path in SHIPPED for line in path.read_text().splitlines()]
    assert len(set(contents)) == len(contents) > 3000


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
    rng = random.Random(0)
    for domain in DOMAINS:
        for p in drawn(domain)[::5]:
            text = frame.path(p, rng)
            shown = [answer_component(text)] * 3 + [""]
            prompts = [
                synthesizer_messages(p.question, shown, seed=1, form=form)[0]["content"] for form in (CHOOSER, VERIFIER)
            ]
            for said in (p.question, text, explorer_messages(p.question)[0]["content"], *prompts):
                assert tokenizer.decode(ids(tokenizer, said)) == said


def test_three_digits_are_one_token_and_fewer_are_one_each(tokenizer):
    numbers = ids(tokenizer, "082"), ids(tokenizer, "347")
    assert [len(n) for n in numbers] == [1, 1] and len(set(nano_tokenizer.NUMBERS)) == 1000
    digits = [ids(tokenizer, digit) for digit in "0123456789"]
    assert all(len(digit) == 1 for digit in digits) and len({digit[0] for digit in digits}) == 10
    equals = ids(tokenizer, "=")
    assert ids(tokenizer, "347+16=082") == [
        *numbers[1],
        *ids(tokenizer, "+"),
        *digits[1],
        *digits[6],
        *equals,
        *numbers[0],
    ]


def test_the_sentences_of_the_prompts_are_single_tokens(tokenizer):
    question = "Parcels weigh: (a) 123."
    explorer, plain = (ids(tokenizer, text) for text in (explorer_messages(question)[0]["content"], question))
    assert explorer[:-1] == plain and tokenizer.decode(explorer[-1:]).endswith("answer within \\boxed{}.")
    for form, sentences in (("", ["\n\nHere are", "\n\nWork out"]), (CHOOSER, ["\n\nHere are", "\n\nCheck ea"])):
        options = {"form": form} if form else {}
        asked = ids(tokenizer, synthesizer_messages(question, ["x"], **options)[0]["content"])
        shown = [tokenizer.decode(token) for token in asked]
        assert [text[:10] for text in shown if len(text) > 40] == sentences
        assert len(asked) - len(plain) <= 8, "two sentences, and 'Reference 1:' with its x"


@pytest.mark.parametrize(
    "text", ["<think>", "</think>", "<|im_start|>", "<|im_end|>", "\\boxed{", "Parcels ", " (b) ", " yes"]
)
def test_marks_and_words_are_single_tokens(tokenizer, text):
    assert len(ids(tokenizer, text)) == 1
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
    assert (
        rendered(tokenizer, CHAT, add_generation_prompt=True, enable_thinking=True)
        == history + "<|im_start|>assistant\n"
    )


def test_without_thinking_the_template_closes_an_empty_block(tokenizer):
    one = [{"role": "user", "content": "1 + 1?"}]
    expected = "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert rendered(tokenizer, one, add_generation_prompt=True, enable_thinking=False) == expected
    turned = tokenizer.apply_chat_template(one, add_generation_prompt=True, enable_thinking=False, return_dict=False)
    assert turned == ids(tokenizer, expected), "the marks are tokens, nothing is added"


@pytest.mark.skipif(
    not TOKENIZERS, reason="data/models IS NOT THERE, NO SHIPPED TOKENIZER WAS COMPARED: train them with `make nano`"
)
def test_the_shipped_tokenizers_are_this_one(tokenizer):
    from transformers import AutoTokenizer

    for path in TOKENIZERS:
        shipped = AutoTokenizer.from_pretrained(path.parent)
        assert shipped.get_vocab() == tokenizer.get_vocab(), path
        assert rendered(shipped, CHAT, add_generation_prompt=True) == rendered(
            tokenizer, CHAT, add_generation_prompt=True
        )
        assert shipped.eos_token == tokenizer.eos_token and shipped.model_max_length == tokenizer.model_max_length
