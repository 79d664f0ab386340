"""Training of the embedded family: it learns, it resumes where it stopped, and it teaches what it should."""

import random

import pandas as pd
import pytest
import torch
from test_nano_tasks import holds

from a2r import answers
from a2r.training.nano import model, tokenizer, train
from a2r.training.nano.tasks import draw


@pytest.fixture(scope="module")
def tok():
    return tokenizer.build(samples=300)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(train, "CHUNK", 24)
    monkeypatch.setattr(train, "SAVE_SECONDS", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def new(tok):
    return model.with_digits(model.build(64, tok, seed=1), tok)


def fitted(tok, folder, tokens=20_000, chunk=None):
    made = new(tok)
    chunk = chunk or train.explorer_chunk(tok, "test")
    return made, train.fit(made, tok, chunk, tokens, folder / "state.pt", 0, "test")


def test_a_short_training_changes_the_weights_and_lowers_the_loss(tok, tmp_path):
    before = new(tok)
    ids, labels = next(train.batches([train.explorer_example(draw("dev", random.Random(0)), tok)], tok, random.Random(0), 1024))
    untrained = train.loss_of(before, ids, labels).item()
    after, state = fitted(tok, tmp_path)
    assert state["seen"] >= 20_000 and state["steps"] >= 5
    assert train.loss_of(after, ids, labels).item() < untrained - 0.5
    assert not torch.equal(before.model.layers[0].mlp.up_proj.weight, after.model.layers[0].mlp.up_proj.weight)


def test_an_interrupted_training_ends_with_the_same_weights(tok, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole, state = fitted(tok, tmp_path / "whole")
    chunk, calls = train.explorer_chunk(tok, "test"), []

    def failing(number):
        calls.append(number)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return chunk(number)

    with pytest.raises(KeyboardInterrupt):
        fitted(tok, tmp_path / "broken", chunk=failing)
    resumed, again = fitted(tok, tmp_path / "broken", chunk=failing)
    assert calls[:4] == [0, 1, 2, 2]  # the chunk that failed, not the first one
    assert again["steps"] == state["steps"]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_only_completions_are_taught_and_of_facts_only_results(tok):
    problem = draw("train", random.Random(3))
    prompt, completion = train.explorer_example(problem, tok)
    ids, labels = next(train.batches([(prompt, completion)], tok, random.Random(0), 1024))
    assert tok.decode(ids[0]) == prompt + completion
    assert tok.decode(labels[0][labels[0] != -100]) == completion
    rows = train.facts_chunk(0)(0)
    assert {bool(asked) for asked, _ in rows} == {True, False}, "equations alone, and repetitions"
    facts = [row for row in rows if not row[0]][:4]
    ids, labels = next(train.batches(facts, tok, random.Random(0), 1024))
    taught = tok.decode(labels[0][labels[0] != -100])
    assert taught in ["".join(e.split("=")[1] for e in text.split(",") if e) for _, text in facts]


def test_a_repetition_puts_errors_right(tok):
    rng = random.Random(0)
    wrong = 0
    for given, right in (train.repetition(rng) for _ in range(100)):
        for a, b in zip(given.strip().split(","), right.strip().split(","), strict=True):
            assert holds(b) and a.startswith(b.split("=")[0] + "=")
            wrong += a != b
    assert wrong > 20


def test_lists_are_given_with_gaps_and_errors_and_put_right():
    rng, copies, kept, wrong, total = random.Random(0), set(), 0, 0, 0
    for _ in range(200):
        given, told = train.lists(rng)
        right = told.strip().split(",")
        assert all(holds(e) for e in right) and 3 <= len(right) <= 8
        lines = given.split("\n")[:-1]
        copies.add(len(lines))
        for line in lines:
            entries = [e for e in line.split(",") if e]
            kept, total = kept + len(entries), total + len(right)
            wrong += sum(e not in right for e in entries)
    assert copies == {1, 2, 3, 4}
    assert 0.85 < kept / total < 0.95 and 0.2 < wrong / kept < 0.4


def test_a_number_s_embedding_is_the_sum_of_its_digits_and_the_finished_model_computes_the_same(tok):
    made = new(tok)
    matrix = made.model.embed_tokens.weight
    at = {n: matrix[tok.convert_tokens_to_ids(n)] for n in ("000", "300", "040", "005", "345", "340")}
    torch.testing.assert_close(at["345"] - at["340"], at["005"] - at["000"])
    torch.testing.assert_close(at["345"] + 2 * at["000"], at["300"] + at["040"] + at["005"])
    ids = torch.tensor([tok("347*6=082").input_ids])
    hidden = made.model(ids).last_hidden_state
    finished = model.plain(made).float()
    torch.testing.assert_close(finished(ids).logits, hidden @ matrix.T, rtol=1e-2, atol=2e-3)  # float16 in between
    assert "parametrizations" not in str(finished.state_dict().keys())


def test_synthesizer_examples_show_sampled_references_and_teach_the_worked_solution(tok):
    rng = random.Random(0)
    problems = [draw("train", rng) for _ in range(8)]
    references = pd.DataFrame([vars(p) for p in problems]).assign(paths=[[f"wrong\n\\boxed{{{k}}}" for k in range(4)]] * 8)
    examples = train.both_chunk(tok, 0, references)(0)
    synthesizer = [(p, c) for p, c in examples if "Reference 1:" in p]
    assert 0 < len(synthesizer) < len(examples)
    by_question = {p.question: p for p in problems}
    for prompt, completion in synthesizer:
        problem = next(p for q, p in by_question.items() if q in prompt)
        assert answers.extract(completion) == answers.canonical(problem.answer).zfill(3)
        assert "wrong" in prompt and "wrong" not in completion


def test_muon_orthogonalises():
    made = model.orthogonalise(torch.randn(2, 48, 96, generator=torch.Generator().manual_seed(0)), steps=5)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.5 and values.max() < 1.5
