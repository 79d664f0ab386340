"""Training of the embedded family: it learns, it resumes where it stopped, and it teaches what it should."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from a2r import answers
from a2r.prompts import CHOOSER, SYNTHESIZER, VERIFIER
from a2r.training.nano import frame, model, puzzles, tokenizer, train


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
    chunk = chunk or train.chunks("explorer", tok, 0)
    return made, train.fit(made, tok, chunk, tokens, folder / "state.pt", 0, "test")


def test_a_short_training_changes_the_weights_and_lowers_the_loss(tok, tmp_path):
    before = new(tok)
    ids, labels = next(train.batches([train.explorer_example(tok, random.Random(0))], tok, random.Random(0), 1024))
    untrained = train.loss_of(before, ids, labels).item()
    after, state = fitted(tok, tmp_path)
    assert state["seen"] >= 20_000 and state["steps"] >= 5
    assert train.loss_of(after, ids, labels).item() < untrained - 0.5
    assert not torch.equal(before.model.layers[0].mlp.up_proj.weight, after.model.layers[0].mlp.up_proj.weight)


def test_an_interrupted_training_ends_with_the_same_weights(tok, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole, state = fitted(tok, tmp_path / "whole")
    chunk, calls = train.chunks("explorer", tok, 0), []

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


def taught(tok, example) -> str:
    """What of an example is taught, gaps as "_"."""
    ids, labels = next(train.batches([example], tok, random.Random(0), 4096))
    assert tok.decode(ids[0]) == example[0] + example[1]
    return "".join(
        "_" if known == -100 else tok.decode([token]) for token, known in zip(ids[0], labels[0], strict=True)
    )


def test_completions_are_taught_and_of_facts_what_can_be_known(tok):
    prompt, completion = train.explorer_example(tok, random.Random(3))
    assert taught(tok, (prompt, completion)).lstrip("_") == completion
    for line, known in (
        ("047+005=052\n", ["=052\n"]),
        ("a+c=192+240=432:888 no\n", ["=192+240=432:", " no\n"]),
        ("c=583<900 yes,583 even no\n", ["=583", " yes,583 ", " no\n"]),
    ):
        assert [part for part in taught(tok, ("\n", line)).split("_") if part] == known


def test_plain_equations_hold_and_many_are_short():
    rng, short = random.Random(0), 0
    for _ in range(300):
        left, result = train.equation(rng).split("=")
        a, b = left.replace("-", "+").split("+")
        assert len(a) == len(b) == len(result) == 3
        assert int(result) == (int(a) + int(b) if "+" in left else int(a) - int(b))
        short += int(a) < 100 and int(b) < 100
    assert 100 < short < 220


def test_the_last_stage_teaches_every_role_on_sampled_and_on_written_references(tok, monkeypatch):
    monkeypatch.setattr(train, "CHUNK", 600)
    rng = random.Random(0)
    drawn = [puzzles.draw("train", rng, train.DOMAIN_SHARES) for _ in range(20)]
    marked = [(p, [frame.path(p, rng) + "\nsampled" for _ in range(8)]) for p in drawn]
    examples = train.chunks("both", tok, 0, marked)(0)
    ends = {
        form: form.rsplit("{references}", 1)[1].replace("{{", "{").replace("}}", "}")
        for form in (SYNTHESIZER, CHOOSER, VERIFIER)
    }
    counts = {form: sum(end in prompt for prompt, _ in examples) for form, end in ends.items()}
    assert counts[SYNTHESIZER] > 300 and counts[CHOOSER] > 15 and counts[VERIFIER] > 15
    assert sum("sampled" in prompt for prompt, _ in examples) > 100
    questions = {p.question: p for p in drawn}
    for prompt, completion in examples:
        puzzle = next((p for question, p in questions.items() if question in prompt), None)
        if puzzle and ends[SYNTHESIZER] in prompt and "yes\n</think>" in completion:
            assert answers.equivalent(puzzle.answer, answers.extract(completion.removesuffix(train.END)))


def test_a_number_s_embedding_is_the_sum_of_its_digits_and_the_finished_model_computes_the_same(tok):
    made = new(tok)
    matrix = made.model.embed_tokens.weight
    at = {n: matrix[tok.convert_tokens_to_ids(n)] for n in ("000", "300", "040", "005", "345", "340")}
    torch.testing.assert_close(at["345"] - at["340"], at["005"] - at["000"])
    torch.testing.assert_close(at["345"] + 2 * at["000"], at["300"] + at["040"] + at["005"])
    ids = torch.tensor([tok("347+100=447").input_ids])
    hidden = made.model(ids).last_hidden_state
    finished = model.plain(made).float()
    torch.testing.assert_close(finished(ids).logits, hidden @ matrix.T, rtol=1e-2, atol=2e-3)  # float16 in between
    assert "parametrizations" not in str(finished.state_dict().keys())


def test_muon_orthogonalises():
    made = model.orthogonalise(torch.randn(2, 48, 96, generator=torch.Generator().manual_seed(0)), steps=5)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.5 and values.max() < 1.5


def test_workers_end_with_the_run_that_started_them(tmp_path):
    """Killed without a chance to tidy up, a training leaves no worker behind."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "from a2r.training.nano.family import end_with\n"
        "if len(sys.argv) > 1:\n"
        "    end_with(int(sys.argv[1]))\n"
        "    time.sleep(120)\n"
        "worker = subprocess.Popen([sys.executable, __file__, str(os.getpid())])\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(120)\n"
    )
    run = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker = int(run.stdout.readline())
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    for _ in range(600):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        os.kill(worker, signal.SIGKILL)
        pytest.fail("the worker went on")
