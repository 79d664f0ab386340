"""The two prompts, letter by letter: a changed prompt is another experiment, and asks for every sample anew."""

import json
from pathlib import Path

import pandas as pd
import pytest
from fakes import FakeServer, completion, small_profile
from hypothesis import given
from hypothesis import strategies as st

from a2r import UserError, explore, grade, load_problems, prompts
from a2r.prompts import (
    FORMS,
    INSTRUCTION,
    NO_ANSWER,
    check,
    explorer_messages,
    messages,
    synthesizer_messages,
)
from a2r.schedules import Round, play
from a2r.scores import chosen, sets_of, verified

GOLDEN = Path(__file__).parent / "golden"
QUESTION = "A counter keeps the last three digits. It starts at 347. Multiply by 6. What is shown at the end?"
COMPONENTS = ["347*6=082\n\\boxed{082}", "  347*6=482\n\\boxed{482}\n", "347*6=182\n\\boxed{182}", ""]


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def text(messages: list[dict]) -> str:
    (message,) = messages
    assert message["role"] == "user" and list(message) == ["role", "content"]
    return message["content"]


def references(prompt: str) -> list[str]:
    """The components that a prompt shows, checking that they are numbered from 1."""
    parts = prompt.split("\n\nWork out the problem")[0].split("\n\nReference ")[1:]
    assert [part.split(":\n", 1)[0] for part in parts] == [str(k + 1) for k in range(len(parts))]
    return [part.split(":\n", 1)[1] for part in parts]


def test_explorer():
    assert text(explorer_messages(QUESTION)) == golden("explorer")


def test_synthesizer():
    assert text(synthesizer_messages(QUESTION, COMPONENTS, seed=7)) == golden("synthesizer")


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("explorer", "synthesizer")])
def test_the_forms_beside_them(form):
    shown = COMPONENTS[:1] if form == "verifier" else COMPONENTS
    own, shown = (shown[0], shown[1:]) if form == "debate" else ("", shown)
    made = messages(form, QUESTION, shown, own)
    assert transcript(made) == golden(form)


@pytest.mark.parametrize("form", FORMS)
def test_over_http_every_form_arrives_as_it_stands_and_its_answer_is_read(form, tmp_path, monkeypatch):
    """One set of the golden paths, in the golden order, asked of a server in each form's own way."""
    drawn = prompts.order
    monkeypatch.setattr(prompts, "order", lambda n, seed: drawn(n, 7 if seed and form == "synthesizer" else None))
    whole = golden(form) if form not in ("explorer", "synthesizer") else f"user:\n{golden(form)}"

    def behave(body, before):
        verdict = {"verifier": "yes" if transcript(body["messages"]) == whole else "no"}
        said = dict.fromkeys(("chooser", "genselect", "consistent"), 3) | verdict
        return completion(body, [{"content": f"<think>\nhm\n</think>\n\n\\boxed{{{said.get(form, '482')}}}"}])

    server = FakeServer(behave)
    problem = {"problem_id": "one", "question": QUESTION, "answer": "482"}
    (tmp_path / "one.jsonl").write_text(json.dumps(problem))
    benchmarks = [{"name": "one", "path": str(tmp_path / "one.jsonl")}]
    options = {"base_url": server.url, "concurrency": 1}
    keys = {"models": [{"name": "a", "path": "m"}], "benchmarks": benchmarks}
    lab = small_profile(tmp_path, **keys, engine="openai", engine_options=options)
    problems = load_problems(lab)
    texts = [f"<think>\nhm\n</think>\n\n{component}" if component else "" for component in COMPONENTS]
    rows = {"benchmark": "one", "problem_id": "one", "model": "a", "text": texts, "error": "", "index": range(4)}
    pool = grade(pd.DataFrame(rows), problems)
    sets = sets_of(problems, pool, 4, 1)
    if form == "explorer":
        assert grade(explore(lab, "a", problems, 1), problems).correct.all()
    elif form in ("chooser", "genselect", "consistent"):
        assert chosen(lab, "a", sets, form).values.tolist() == [0, 0, 1, 0]
    elif form == "verifier":
        assert verified(lab, "a", sets).values.tolist() == [1, 0, 0, 0]
    else:
        made = play(
            lab.with_(n_paths=4, n_sets=1), "a", problems, pool, [Round(4 if form == "debate" else 1, form=form)]
        )
        assert grade(made, problems).correct.all()
    assert whole in [transcript(body["messages"]) for body in server.bodies]
    server.close()


def transcript(messages: list[dict]) -> str:
    return "\n=====\n".join(f"{m['role']}:\n{m['content']}" for m in messages)


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("explorer", "Solve it.", "without the placeholder {question}"),
        ("synthesizer", "{question} Go.", "without the placeholder {references}"),
        ("verifier", "{references}?", "without the placeholder {question}"),
        ("mixture", "{question} {references}", "the placeholder {question}, which nothing fills"),
        ("explorer", "{question} in \\boxed{}", "the placeholder {}, which nothing fills"),
        ("explorer", "{question} {", "whose braces do not pair"),
        ("judge", "{question}", "which no method asks with; known are explorer, synthesizer, chooser"),
    ],
)
def test_a_prompt_that_cannot_be_filled_is_refused(form, text, said):
    with pytest.raises(UserError) as refused:
        check(form, text, "profile x")
    assert said in str(refused.value) and str(refused.value).startswith("profile x gives a prompt")


def test_every_form_can_be_filled_and_set_anew():
    for form, text in FORMS.items():
        check(form, text, "here")
    assert all(INSTRUCTION in FORMS[form] for form in ("explorer", "synthesizer", "gensynthesis", "debate"))


def test_a_path_without_an_answer_is_still_a_reference():
    shown = references(text(synthesizer_messages(QUESTION, COMPONENTS)))
    assert shown == ["347*6=082\n\\boxed{082}", "347*6=482\n\\boxed{482}", "347*6=182\n\\boxed{182}", NO_ANSWER]


@given(st.integers(0, 2**63 - 1), st.integers(0, 16))
def test_the_shuffle_is_a_permutation_and_follows_its_seed(seed, n):
    components = [f"component {i}" for i in range(n)]
    prompt = text(synthesizer_messages(QUESTION, components, seed))
    assert sorted(references(prompt)) == sorted(components)
    assert prompt == text(synthesizer_messages(QUESTION, list(components), seed))
    assert components == [f"component {i}" for i in range(n)], "the caller's list stays as it is"


def test_no_position_is_favoured():
    """Over many seeds each of 4 components comes first about as often: 250 ± 5 standard deviations of 13.7."""
    firsts = [references(text(synthesizer_messages(QUESTION, list("abcd"), seed)))[0] for seed in range(1000)]
    assert all(181 < firsts.count(c) < 319 for c in "abcd")


def test_without_a_seed_the_order_stays():
    assert references(text(synthesizer_messages(QUESTION, list("dbca")))) == list("dbca")


@pytest.mark.parametrize(
    "odd", ["{x}", "{}", "{{x}}", "{question}", "{references}", "{0}", r"\frac{1}{2}", "a % b %s", "{number:03d}"]
)
def test_braces_survive(odd):
    assert text(explorer_messages(odd)).startswith(odd + "\n\nPlease")
    prompt = text(synthesizer_messages(f"What is {odd}?", [odd, f"It is {odd}."], seed=1))
    assert prompt.startswith(f"What is {odd}?\n\n") and sorted(references(prompt)) == sorted([odd, f"It is {odd}."])
    assert prompt.endswith(r"final answer within \boxed{}.")
