"""RL of the synthesizer: it trains, logs, resumes and refuses; its reward is the evaluation's grader. Trainings are
real, of nano-32."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch

from a2r import load_profile
from a2r.cli import main
from a2r.errors import UserError
from a2r.outcomes import grade
from a2r.pipeline import explore
from a2r.problems import allowed_tests, read
from a2r.profiles import Benchmark
from a2r.results import figures
from a2r.studies import claims, stability
from a2r.studies.rl import before_after, checked, with_kept, within_dial
from a2r.training import rl
from a2r.training.rl import Recipe

pytest.importorskip("trl", reason="TRL is not installed (pip install -e '.[rl]')")
SMALL = {
    **{
        "synthesizer": "nano-32",
        "explorers": ["nano-48"],
        "n_problems": 60,
        "held_out": 8,
        "n_sets": 2,
        "prompts": 4,
        "generations": 4,
    },
    **{"max_tokens": 120, "eval_steps": 10, "save_steps": 5, "learning_rate": 3e-4},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("rl-store"))


@pytest.fixture
def nano(store, monkeypatch, tmp_path):
    """The nano profile over a store of these tests' own; checkpoints go to tmp_path."""
    monkeypatch.setattr(rl, "WORK", tmp_path / "work")
    return replace(load_profile("nano"), store=store)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A training of 20 steps, in two runs: 10 steps, then the same call with 20. (record, folder, work of the first 10
    copied before)"""
    work = tmp_path_factory.mktemp("rl-work")
    lab = replace(load_profile("nano"), store=store)
    torch.manual_seed(0)
    sets, held_out = rl.training_sets(lab, rl.of(lab, **SMALL))
    rl.fit(lab, rl.of(lab, **SMALL, steps=10), sets, held_out, work)
    optimizer = torch.load(work / "checkpoint-10" / "optimizer.pt", weights_only=True)
    trainer, record = rl.fit(lab, rl.of(lab, **SMALL, steps=20), sets, held_out, work)
    return trainer.model, record, work, optimizer


def test_twenty_steps_change_the_weights_and_log_every_curve(trained):
    model, record, _, _ = trained
    from transformers import AutoModelForCausalLM

    before = AutoModelForCausalLM.from_pretrained(load_profile("nano").model("nano-32").location, dtype=torch.float32)
    moved = [not torch.equal(a, b) for a, b in zip(before.parameters(), model.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
    curve = pd.DataFrame(record["curve"]).set_index("step")
    assert list(curve.index) == list(range(21))
    for name in rl.CURVES:
        assert curve[name].loc[1:].notna().all(), name
    assert curve["held-out A2R"].dropna().index.tolist() == [0, 10, 20]
    assert (curve.loc[1:, "length"] > 0).all() and (curve.loc[1:, "entropy"] > 0).all()
    assert record["sets"]["held out"] == 8 and record["from"]["name"] == "nano-32"


def test_a_resumed_training_continues_step_count_and_optimizer_state(trained):
    _, record, work, before = trained
    assert record["curve"][-1]["step"] == 20
    state = json.loads((work / "checkpoint-20" / "trainer_state.json").read_text())
    assert state["global_step"] == 20
    after = torch.load(work / "checkpoint-20" / "optimizer.pt", weights_only=True)
    first = next(iter(after["state"]))
    assert before["state"][first]["step"] == 10 and after["state"][first]["step"] == 20
    # what it had seen before the stop is in its log still
    assert [e["step"] for e in state["log_history"] if "reward" in e] == list(range(1, 21))


def test_a_training_that_was_finished_but_not_saved_is_not_trained_on(trained, nano):
    model, record, work, _ = trained
    recipe = rl.of(nano, **SMALL, steps=20)
    again, repeated = rl.fit(nano, recipe, *rl.training_sets(nano, recipe), work)
    assert repeated["curve"] == record["curve"]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.model.parameters(), strict=True))


def test_checkpoints_of_another_recipe_are_not_taken_up(trained, nano):
    _, _, work, _ = trained
    base = nano.model(SMALL["synthesizer"]).identity
    with pytest.raises(UserError, match="differs in learning_rate; remove it, or train into another folder"):
        rl.same_training(work, rl.of(nano, **{**SMALL, "learning_rate": 1e-5}), base)
    with pytest.raises(UserError, match="differs in base; remove it"):  # a model of that name from another seed
        rl.same_training(work, rl.of(nano, **SMALL), nano.model("nano-64").identity)
    rl.same_training(work, rl.of(nano, **SMALL, steps=500), base)  # more steps are the same training
    with pytest.raises(UserError, match="holds checkpoints of 20 steps and 5 are asked for; remove the folder"):
        rl.fit(nano, rl.of(nano, **SMALL, steps=5), *rl.training_sets(nano, rl.of(nano, **SMALL)), work)


def test_a_trained_synthesizer_is_saved_loaded_and_not_trained_twice(nano, tmp_path, monkeypatch):
    recipe = rl.of(nano, **{**SMALL, "held_out": 0}, steps=1)
    record = rl.train_synthesizer(nano, recipe, tmp_path / "made")
    monkeypatch.setattr(rl, "fit", lambda *_: pytest.fail("trained again"))
    assert rl.train_synthesizer(nano, recipe, tmp_path / "made") == json.loads(json.dumps(record))
    with pytest.raises(UserError, match="holds a model of another recipe; remove it, or give another folder"):
        rl.train_synthesizer(nano, replace(recipe, steps=2), tmp_path / "made")
    assert "GRPO" in (tmp_path / "made" / "README.md").read_text()
    made = replace(nano.model("nano-48-rl"), name="made", path=str(tmp_path / "made"))
    lab = replace(nano, models=(*nano.models, made))
    problems = read(nano.benchmarks[0]).iloc[:2]
    assert len(grade(explore(lab, "made", problems, 2), problems)) == 4


def test_the_command_trains_and_leaves_a_profile_that_has_the_model(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rl, "WORK", tmp_path / "work")
    mine = tmp_path / "mine.yaml"
    mine.write_text(json.dumps({"extends": "nano", "store": store, "rl": {**SMALL, "held_out": 0}}))
    command = ["train-synthesizer", "--profile", str(mine)]
    assert main([*command, "--sets"]) == 0
    assert "no training problem is a reported one" in capsys.readouterr().out
    assert main([*command, "-p", "steps=1", "--out", str(tmp_path / "made")]) == 0
    said = capsys.readouterr().out
    assert "nano-48-rl: 1 steps" in said
    lab = load_profile(said.split("profile with it in place of data/models/nano-48-rl: ")[1].strip())
    assert lab.model("nano-48-rl").path == str(tmp_path / "made") and lab.trained == {"nano-48-rl": "nano-48"}
    assert main([*command, "-p", "steps=none"]) == 2
    assert "steps is 'none'; it has to be a whole number" in capsys.readouterr().err


def test_the_reward_is_the_grader_of_the_evaluation_on_a_thousand_outputs(nano):
    problems = read(Benchmark(**nano.rl["problems"])).iloc[:250]
    stored = explore(nano, "nano-48", problems, 4)
    graded = grade(stored, problems)
    gold = problems.set_index("problem_id").answer.loc[graded.problem_id].tolist()
    chats = [[{"role": "assistant", "content": text}] for text in graded.text]
    assert len(graded) == 1000 and 0 < graded.correct.sum() < 1000
    assert rl.correct(chats, gold) == graded.correct.astype(float).tolist()
    assert rl.correct(list(graded.text), gold) == rl.correct(chats, gold)


def test_right_counts_within_what_the_problem_allows_and_more_tests_cost():
    prompt = [
        {
            "role": "user",
            "content": "Parcels. You may test 2.\n\nReference 1:\nIt is a+c: 5.\nReference 2:\nIt is a+c: 5.",
        }
    ]
    tests = [f"<think>\n{'a+b=1+2=3:5 no' + chr(10)}{'a+c=1+4=5:5 yes' + chr(10)}{'b+c=2+4=6:5 no' + chr(10)}"]
    texts = [tests[0] + "</think>\n\n\\boxed{13}", tests[0] + "b+d=2+3=5:5 yes\n</think>\n\n\\boxed{13}"]
    assert allowed_tests(prompt[0]["content"]) == 3
    assert rl.within_dial(texts, ["13", "13"], [prompt, prompt]) == pytest.approx([1, -rl.EXCESS / 3])
    assert rl.within_dial(texts[:1], ["12"], [prompt]) == [0.0]
    loop = texts[1].replace("a+b=1+2=3:5 no\n", "a+b=1+2=3:5 no\n" * 20)
    assert rl.within_dial([loop], ["12"], [prompt]) == [-rl.EXCESS]  # and not less, however long
    undialled = [{"role": "user", "content": "How many?"}]
    assert rl.within_dial(texts[1:], ["13"], [undialled]) == rl.correct(texts[1:], ["13"]) == [1.0]


def test_a_reward_that_cannot_be_imported_is_refused(nano):
    for name in ("a2r.training.rl:absent", "nowhere.at.all:f", "1"):
        with pytest.raises(UserError, match=r"cannot be imported.*give module:function"):
            rl.of(nano, reward=name)


def test_a_reported_problem_among_the_training_problems_is_refused(nano, tmp_path):
    reported = read(nano.benchmarks[0])
    leaked = reported.iloc[[7]].assign(
        problem_id="mine", question=reported.question.iloc[7].replace(". ", ".  ").upper()
    )
    mine = pd.concat([read(Benchmark(**nano.rl["problems"])).iloc[:3], leaked])
    said = r"training problem 'mine' is problem 'numbers-.*' of nano-numbers, which is reported; take it out"
    with pytest.raises(UserError, match=said):
        rl.refuse_leaks(mine, nano)
    mine[["problem_id", "question", "answer"]].to_json(tmp_path / "mine.jsonl", orient="records", lines=True)
    recipe = rl.of(nano, **SMALL, problems={"name": "mine", "path": str(tmp_path / "mine.jsonl")})
    with pytest.raises(UserError, match="which is reported"):  # before anything is sampled
        rl.training_sets(nano, recipe)


def test_the_shipped_training_problems_are_none_of_the_reported_ones(nano):
    assert {b.name for b in nano.reported} == {"nano-numbers", "nano-code", "nano-logic"}
    for study in (None, "stability"):
        rl.refuse_leaks(read(Benchmark(**load_profile("nano", study).rl["problems"])), nano)


def test_sets_come_in_the_recipes_mix_and_held_out_problems_are_not_trained_on(nano):
    whole, _ = rl.training_sets(nano, rl.of(nano, **SMALL, screen=0))
    assert len(whole) == (60 - 8) * 2
    sets, held_out = rl.training_sets(nano, rl.of(nano, **SMALL))
    assert 0 < len(sets) < len(whole), "the screening leaves out what is always or never right"
    assert not sets.duplicated(["problem_id", "set", "explorer"]).any()
    sets, held_out = rl.training_sets(nano, rl.of(nano, **SMALL, screen=0, mix={"none": 0.4, "some": 0.6}))
    shares = sets.state.value_counts(normalize=True)
    assert (
        shares["some"] == pytest.approx(0.6, abs=0.05)
        and shares["none"] == pytest.approx(0.4, abs=0.05)
        and "all" not in shares
    )
    assert held_out.problem_id.nunique() == 8 and not set(held_out.problem_id) & set(sets.problem_id)
    assert not sets.duplicated(["problem_id", "set", "explorer"]).any()
    user = sets.prompt.iloc[0][-1]["content"]
    assert user.count("Reference ") == nano.n_paths


def test_a_prompt_that_does_not_fit_is_refused_before_training(nano):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(nano.model("nano-32").location)
    sets = pd.DataFrame({"prompt": [[{"role": "user", "content": "Add 123. " * 50}]]})
    rl.check_lengths(sets, tokenizer, 2048, rl.of(nano, **SMALL), {})
    with pytest.raises(
        UserError, match=r"the longest prompt has \d+ tokens and an output up to 120, but the context of nano-32 is 200"
    ):
        rl.check_lengths(sets, tokenizer, 200, rl.of(nano, **SMALL), {})


def test_a_constant_reward_ends_the_training_with_a_sentence(nano, monkeypatch, tmp_path):
    monkeypatch.setattr(rl, "nothing", lambda completions, **_: [0.0] * len(completions), raising=False)
    recipe = rl.of(nano, **{**SMALL, "held_out": 0}, steps=40, reward="a2r.training.rl:nothing")
    with pytest.raises(
        UserError, match=r"for 5 steps all outputs of each prompt had the same reward \(mean 0.00\): there is nothing"
    ):
        rl.fit(nano, recipe, *rl.training_sets(nano, recipe), tmp_path / "constant")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "steps is 0; it has to be at least 1"),
        ({"generations": 1}, "at least 2"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; it has to be a number"),
        ({"mix": {"few": 1.0}}, "give shares of none, some, all"),
        ({"mix": {"none": 0}}, "give shares of none, some, all"),
        ({"updates": 3}, "3 updates cannot share 8 prompts alike"),
        ({"synthesizer": "nano-7"}, r"model 'nano-7' .* is not in profile 'nano'"),
        ({"lr": 1}, "unknown key 'lr'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(nano, change, said):
    with pytest.raises(UserError, match=said):
        rl.of(nano, **change)


def test_a_profile_without_a_recipe_says_so(nano):
    with pytest.raises(UserError, match="profile 'nano' has no recipe 'rl'"):
        rl.of(replace(nano, rl={}))


def made(entropy, length, updates=1, temperature=0.7, seed=0):
    """A record with these curves."""
    recipe = {
        "updates": updates,
        "temperature": temperature,
        "seed": seed,
        "steps": len(entropy),
        "explorers": ["e"],
        "synthesizer": "s",
    }
    rows = [
        {"step": k + 1, "entropy": e, "length": n, "reward": 0.5, "gradient norm": 1.0, "clipped": 0.0}
        for k, (e, n) in enumerate(zip(entropy, length, strict=True))
    ]
    return {"recipe": recipe, "curve": rows, "seconds": 1.0}


@pytest.mark.parametrize(
    ("entropy", "length", "step"),
    [
        ([1.0] * 20, [100] * 20, None),
        ([1.0] * 10 + [3.0] * 10, [100] * 20, None),  # a spike without a collapse
        ([1.0] * 20, [100] * 10 + [20] * 10, None),  # a collapse without a spike
        ([1.0] * 10 + [3.0] * 10, [100] * 10 + [20] * 10, 13),  # the mean of steps 9 to 13 is 2.2 and 52
        ([1.0] * 10 + [30.0] + [1.0] * 9, [100] * 20, None),
    ],
)
def test_the_failures_signature_is_both_a_spike_and_a_collapse(entropy, length, step):
    assert stability.failure(made(entropy, length)) == step


def ablation(bad=()):
    """Three seeds of all four arms; the arms in `bad` fail."""
    runs = []
    for updates in (1, 8):
        for t in (0.7, 1.0):
            for seed in range(3):
                fails = (updates, t) in bad
                runs.append(
                    made(
                        [1.0] * 10 + [3.0 if fails else 1.0] * 10,
                        [100] * 10 + [20 if fails else 100] * 10,
                        updates,
                        t,
                        seed,
                    )
                )
    return runs


def test_claim_five_follows_the_failures_and_not_the_arm(nano):
    def verdict(records):
        return claims.scorecard({"stability": stability.outcomes(records)}, nano).set_index("id").verdict["C5"]

    assert verdict(ablation([(8, 0.7), (8, 1.0), (1, 1.0)])) == "supported"
    assert verdict(ablation([(1, 0.7)])) == "contradicted" and verdict(ablation()) == "not resolved"


def test_the_ablations_table_and_figure_have_every_arm(tmp_path):
    records = ablation([(8, 1.0)])
    table = stability.ablation_table(records)
    assert (
        len(table) == 12
        and table["failed at"].notna().sum() == 3
        and set(table.run) == {stability.arm(r) for r in records}
    )
    curves = pd.concat(pd.DataFrame(r["curve"]).assign(run=stability.arm(r), seed=r["recipe"]["seed"]) for r in records)
    figure = figures.training_curves(curves, smooth=1)
    drawn = {line.get_color(): line.get_ydata() for line in figure.axes[1].lines}  # entropy, after reward
    legend = {
        text.get_text(): handle.get_color()
        for text, handle in zip(*[figure.legends[0].get_texts(), figure.legends[0].legend_handles], strict=True)
    }
    assert drawn[legend["off-policy, T = 1"]][-1] == 3 and drawn[legend["on-policy, T = 0.7"]][-1] == 1
    assert {t.get_text() for t in figure.legends[0].get_texts()} == set(table.run)


def test_the_ablation_is_of_the_profiles_own_synthesizer(tmp_path):
    lab, record = load_profile("nano", "stability"), ablation()[0]
    base = lab.model("nano-48").identity
    for name, revision in (("nano-48-rl", base), ("another", base), ("nano-48-rl", "of another seed")):
        record["recipe"]["name"], record["from"] = name, {"name": "nano-48", "revision": revision}
        (tmp_path / f"updates=1_of={name}_{revision}.json").write_text(json.dumps(record))
    assert [(r["recipe"]["name"], r["from"]["revision"]) for r in stability.stored(lab, tmp_path)] == [
        ("nano-48-rl", base)
    ]
    assert len(stability.stored(lab)) == 8, "the shipped ones"
    with pytest.raises(UserError, match="holds no training of nano-48-rl for the ablation"):  # they are of seed 0
        stability.stored(load_profile("seed-1", "stability"))
    with pytest.raises(UserError, match="holds no training of Qwen3-8B-RL for the ablation; run `a2r run stability"):
        stability.stored(load_profile("paper-rl", "stability"))


def test_a_curve_has_one_row_a_step_however_many_updates_it_takes():
    log = [
        {"step": 0, "eval_rewards/correct/mean": 0.4},
        *({"step": s, "reward": float(s), "entropy": 1.0} for s in range(1, 5)),
        {"step": 4, "eval_rewards/correct/mean": 0.6},
    ]
    assert rl.curve(log, updates=2) == [
        {"step": 0, "held-out A2R": 0.4},
        {"step": 1, "reward": 1.5, "entropy": 1.0},
        {"step": 2, "reward": 3.5, "entropy": 1.0, "held-out A2R": 0.6},
    ]


def after(shift):
    """Outcomes of a base and its RL synthesizer on 40 problems of two explorers, the second right in `shift` more."""
    rows = [
        {
            "benchmark": "b",
            "problem_id": str(i),
            "explorer": e,
            "synthesizer": s,
            "method": "A2R@4",
            "correct": float(i < right),
        }
        for e in ("e", "f")
        for s, right in (("nano-48", 20), ("nano-48-rl", 20 + shift))
        for i in range(40)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("shift", "verdict"), [(10, "supported"), (0, "not resolved"), (-10, "contradicted")])
def test_claim_four_compares_the_rl_synthesizer_with_its_base(nano, shift, verdict):
    rows = after(shift)
    strict = after(0)  # where more tests than allowed are wrong, nothing is gained
    both = with_kept(rows, strict)
    card = claims.scorecard({"rl": both}, nano)
    gain, within, dial = card[card.id == "C4"].itertuples()
    assert dial.verdict == "not run (rl of nano-dial)"
    assert gain.verdict == verdict and gain.value.estimate == pytest.approx(shift / 40)
    assert within.verdict == "not resolved" and within.value.estimate == 0
    table = before_after(both, "nano-48", "nano-48-rl").set_index(["method", "explorer"]).difference
    assert table["A2R@4", "mean of all"].estimate == pytest.approx(shift / 40)
    assert table["A2R@4 within the dial", "mean of all"].estimate == 0 and len(table) == 6
    assert list(before_after(rows, "nano-48", "nano-48-rl").method.unique()) == ["A2R@4"]


def test_the_claim_of_another_profile_is_measured_on_its_models_and_stands_beside_its_training(nano):
    rows = after(10).replace({"nano-48": "nano-32", "nano-48-rl": "nano-32-dial"})
    card = claims.scorecard({"rl of nano-dial": with_kept(rows, rows)}, nano)
    paper, within, dial = card[card.id == "C4"].itertuples()
    assert (paper.verdict, within.verdict, dial.verdict) == ("not run (rl)", "not run (rl)", "supported")
    assert dial.value.estimate == pytest.approx(0.25) and "profile" not in dial.note
    seed = load_profile("seed-1")
    assert list(claims.beside(nano)) == ["rl of nano-dial"] and list(claims.beside(seed)) == ["rl of nano-dial-1"]
    assert not claims.beside(replace(seed, name="seed-77")) and not claims.beside(load_profile("nano-dial"))
    card = claims.scorecard({"rl of nano-dial-1": with_kept(rows, rows)}, seed)
    assert [*card[card.id == "C4"].verdict] == ["not run (rl)", "not run (rl)", "supported"]
    card = claims.scorecard({"rl": with_kept(rows, rows)}, load_profile("nano-dial"))
    assert [*card[card.id == "C4"].verdict] == ["supported"] * 3, "of its own"


def test_recipes_of_the_shipped_profiles_are_complete():
    from a2r.profiles import available

    # the one has the RL synthesizer in its study alone, the other none
    for name in set(available()) - {"smoke", "seed-1", "seed-2"}:
        lab = load_profile(name)
        assert isinstance(rl.of(lab), Recipe) and lab.base_of(rl.of(lab).name) == rl.of(lab).synthesizer


def test_what_a_synthesis_spends_is_counted_by_problem_and_held_against_what_it_may_test(nano):
    from a2r.studies.rl import tests_and_tokens as spent

    lab = nano.with_(n_paths=1, n_sets=1)
    question = "Which two? You may test 1."
    problems = pd.DataFrame({"benchmark": "b", "problem_id": ["p", "q"], "question": question, "answer": "1"})
    claim = "Not a+b.\nIt is b+c: 2.\n\\boxed{23}"
    pool = pd.DataFrame({"benchmark": "b", "problem_id": ["p", "q"], "model": "small", "index": 0, "text": claim})
    texts = [
        "<think>\na+b=1:2 no\na+b=1:2 no\nb+c=2:2 yes\n</think>\n\n\\boxed{23}",
        "<think>\nc=3:2 no\n</think>\n\n\\boxed{1}",
    ]
    frame = pd.DataFrame({"problem_id": ["p", "q"], "set": 0, "text": texts, "completion_tokens": [30, 10]})
    frame["correct"] = [True, False]
    (row,) = spent(lab, problems, {"small": pool}, {("small", "large"): frame}).itertuples()
    assert (row.explorer, row.synthesizer, row.n) == ("small", "large", 2)
    assert (row.tokens.estimate, row.tests.estimate, row.different.estimate) == (20, 2, 1.5)
    assert 10 <= row.tokens.low < row.tokens.high <= 30
    assert row.within.estimate == 0.5  # one claim and one more: three are too many, one is not
    graded = {("small", "large"): frame.assign(correct=True)}
    (strict,) = within_dial(lab, problems, {"small": pool}, graded).values()
    assert strict.correct.tolist() == [False, True]
    assert pd.isna([row.slips, row.found, row.told]).all()  # no problem of numbers
    undialled = problems.assign(question="Which two?")
    assert spent(lab, undialled, {"small": pool}, {("small", "large"): frame}).within.isna().all()


def test_where_a_synthesis_fails_is_told_by_its_tests(nano):
    from a2r.studies.rl import tests_and_tokens as spent

    lab = nano.with_(n_paths=1, n_sets=1)
    question = "Parcels weigh: (a) 100 (b) 200 (c) 150. Two of them weigh 350 together. You may test 4. Which are they?"
    ids = list(map(str, range(40)))
    problems = pd.DataFrame({"benchmark": "b", "problem_id": ids, "question": question, "answer": "23"})
    pool = pd.DataFrame({"benchmark": "b", "problem_id": ids, "model": "small", "index": 0, "text": ""})
    good, sum_, verdict, absent = (
        "b+c=200+150=350:350 yes",
        "a+b=100+200=400:350 no",
        "a+c=100+150=250:350 yes",
        "a+d=100+9=109:350 no",
    )
    texts = [f"<think>\n{good}\n</think>\n\n", f"<think>\n{sum_}\n{verdict}\n{absent}\n</think>\n\n"]
    assert [checked(question, "23", text) for text in texts] == [(0, 1), (3, 0)]
    frame = pd.DataFrame({"problem_id": ids, "set": 0, "text": texts * 20, "completion_tokens": 9, "correct": True})
    both = {("small", "large"): frame, ("other", "large"): frame.assign(correct=False)}
    table = spent(lab, problems, {"small": pool, "other": pool}, both).set_index("explorer")
    assert [v.estimate for v in table.slips] == [0.75] * 3 and [v.estimate for v in table.found] == [0.5] * 3
    assert {e: v.estimate for e, v in table.told.items()} == {"small": 1, "other": 0, "mean of all": 0.5}
