"""RL of the synthesizer: GRPO with DAPO's adaptations on TRL's GRPOTrainer (arXiv 2509.22044; DAPO: arXiv 2503.14476).

    recipe = of(lab)                         # the profile's `rl`
    record = train_synthesizer(lab, recipe)  # a model that any engine loads, and the curves of its training

Prompt and grader are those of the evaluation. Unless a recipe says otherwise, as in the paper: binary correctness
reward (`correct`), token-level policy gradient, on-policy updates, temperature 0.7; and as in DAPO: no KL term,
asymmetric clipping, overlong outputs masked. Other than in DAPO, groups without a signal are not replaced while
training goes on: before it, the synthesizer answers every set a few times, and sets that it always or never gets right
are left out.
"""

import itertools
import json
import os
import platform
import re
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

import pandas as pd

from a2r.answers import equivalent, extract
from a2r.engines import Request, Sampling
from a2r.errors import UserError
from a2r.outcomes import grade
from a2r.pipeline import cut_sets, explore, synthesize, synthesizer_asks
from a2r.problems import allowed_tests, made_tests, read, spaced
from a2r.profiles import ROOT, Benchmark, Model, Profile, build

# profiles of users' own models; in `checkpoints` those of trainings, by the folder of their model
WORK = ROOT / "runs" / "rl"
EXCESS = 0.25  # of a right output's reward, for twice as many tests as are allowed
SILENT_STEPS = 5  # steps in a row without any group that has right and wrong outputs: nothing can be learnt
STATES = ("none", "some", "all")  # of a set's references that are right
CURVES = {  # ours -> TRL's, of training and (with "held-out" before it) of the held-out sets
    "reward": "reward",
    "accuracy": "rewards/correct/mean",
    "entropy": "entropy",
    "gradient norm": "grad_norm",
    "length": "completions/mean_length",
    "cut off": "completions/clipped_ratio",
    "clipped": "clip_ratio/region_mean",
    "groups without signal": "frac_reward_zero_std",
}
HELD_OUT = {"held-out A2R": "eval_rewards/correct/mean", "held-out length": "eval_completions/mean_length"}


@dataclass(frozen=True)
class Recipe:
    """How a synthesizer is trained: `rl` in a profile, whose `name` is the profile's name for the model that comes out.

    A step is one batch of `prompts` x `generations` rollouts, learnt from in `updates` parts, one gradient step each: 1
    is on-policy, with more all parts but the first are off-policy. `problems` is a benchmark of training problems, of
    which `held_out` serve for the curve alone. Of the sets those are trained on that the synthesizer gets right in some
    but not all of `screen` outputs (0: no screening), in the shares `mix` by how many of their references are right
    (empty: as they come).
    """

    name: str
    synthesizer: str
    explorers: list
    problems: dict
    n_problems: int | None = None
    n_sets: int = 4
    held_out: int = 0
    steps: int = 200
    updates: int = 1
    temperature: float = 0.7
    learning_rate: float = 1e-6
    prompts: int = 16
    generations: int = 8
    micro_batch: int | None = None  # rollouts a device takes at a time; None: all of an update
    max_tokens: int = 1024
    epsilon: float = 0.2
    epsilon_high: float = 0.28
    screen: int = 8
    mix: dict = field(default_factory=dict)
    reward: str = "a2r.training.rl:correct"  # module:function, called as TRL calls reward functions
    seed: int = 0
    save_steps: int = 20
    eval_steps: int = 10
    trainer: dict = field(default_factory=dict)  # further arguments of TRL's GRPOConfig, as use_vllm


def of(lab: Profile, **changes) -> Recipe:
    """The profile's recipe, with other values for some of its keys. UserError where it has none or a value does not
    fit."""
    if not lab.rl:
        raise UserError(f"profile '{lab.name}' has no recipe 'rl'; see a2r/profiles/nano.yaml for the form.")
    recipe = build(Recipe, {**lab.rl, **changes}, f"'rl' of profile '{lab.name}'")
    if not set(recipe.mix) <= set(STATES) or (recipe.mix and not sum(recipe.mix.values()) > 0):
        raise UserError(
            f"'rl' of profile '{lab.name}' gives {recipe.mix} as its mix; give shares of {', '.join(STATES)}."
        )
    if recipe.prompts % recipe.updates:
        raise UserError(f"{recipe.updates} updates cannot share {recipe.prompts} prompts alike; choose a divisor.")
    for name in (recipe.name, recipe.synthesizer, *recipe.explorers):
        lab.model(name)
    try:
        resolve_name(recipe.reward)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"'rl' of profile '{lab.name}' has the reward {recipe.reward!r}, which cannot be imported ({error}); "
            "give module:function."
        ) from error
    return recipe


def words(question: str) -> str:
    """What a question is known by, whatever its spacing, case and punctuation."""
    return " ".join(re.findall(r"\w+", question.lower()))


def refuse_leaks(training: pd.DataFrame, lab: Profile) -> None:
    """UserError if a training problem is one of the profile's reported problems, by content."""
    for benchmark in lab.reported:
        reported = read(benchmark)
        known = dict(zip(reported.question.map(words), reported.problem_id, strict=True))
        for problem in training.itertuples():
            if (same := known.get(words(problem.question))) is not None:
                raise UserError(
                    f"training problem '{problem.problem_id}' is problem '{same}' of {benchmark.name}, which is "
                    "reported; "
                    "take it out of the training problems."
                )


def training_sets(lab: Profile, recipe: Recipe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sets to train on and held-out sets, one row each: prompt (chat messages), gold, state, problem_id, set, explorer.

    The explorers' paths on the training problems, and the outputs of the screening, are read from the store or sampled.
    The sets to train on are all that pass it, shuffled, or as many as the recipe's mix allows; the held-out ones are as
    they come, one a problem and explorer. Raises UserError for a leaked problem, where no set passes, or none of a
    state in the mix.
    """
    problems = spaced(read(Benchmark(**recipe.problems)), recipe.n_problems)
    refuse_leaks(problems, lab)
    kept = problems.problem_id.sample(min(recipe.held_out, len(problems) - 1), random_state=0)
    lab = lab.with_(n_sets=recipe.n_sets)
    table = pd.concat(
        [explorer_sets(lab, recipe, explorer, problems, kept) for explorer in recipe.explorers], ignore_index=True
    )
    held_out = table[table.problem_id.isin(kept) & (table.set == 0)].reset_index(drop=True)
    table = table[~table.problem_id.isin(kept) & table.passed]
    if table.empty:
        raise UserError(
            f"{recipe.synthesizer} gets every set of the training problems always or never right in "
            f"{recipe.screen} outputs: "
            "there is nothing to learn; take other problems or another temperature."
        )
    if recipe.mix:
        have = table.state.value_counts()
        if lacking := [state for state, share in recipe.mix.items() if share and state not in have]:
            raise UserError(
                f"no set of the training problems has {lacking[0]} of its references right; "
                "sample more or change the mix."
            )
        size = min(have[state] / share for state, share in recipe.mix.items() if share)
        parts = [
            table[table.state == s].sample(int(size * share), random_state=recipe.seed)
            for s, share in recipe.mix.items()
            if share
        ]
        table = pd.concat(parts)
    return table.sample(frac=1, random_state=recipe.seed, ignore_index=True), held_out


def explorer_sets(
    lab: Profile, recipe: Recipe, explorer: str, problems: pd.DataFrame, unscreened: pd.Series
) -> pd.DataFrame:
    """Every set of one explorer as `training_sets` has them, with `passed`: whether it passed the screening."""
    pool = grade(explore(lab, explorer, problems, lab.n_paths * lab.n_sets), problems)
    right = cut_sets(pool, lab.n_paths, lab.n_sets).groupby(["problem_id", "set"]).correct.mean()
    gold = problems.set_index("problem_id").answer
    rows = [
        {
            **{
                "prompt": list(ask.messages),
                "gold": gold[ask.problem_id],
                "problem_id": ask.problem_id,
                "set": ask.set,
            },
            **{
                "explorer": explorer,
                "state": {0.0: "none", 1.0: "all"}.get(right[ask.problem_id, ask.set], "some"),
                "passed": True,
            },
        }
        for ask in synthesizer_asks(lab, problems, pool)
    ]
    table = pd.DataFrame(rows)
    if recipe.screen:
        screening = lab.with_(n_syntheses=recipe.screen, synthesizer_temperature=recipe.temperature)
        seen = problems[~problems.problem_id.isin(unscreened)]
        graded = grade(
            synthesize(screening, recipe.synthesizer, seen, pool[pool.problem_id.isin(seen.problem_id)]), problems
        )
        share = graded.groupby(["problem_id", "set"]).correct.mean()
        passed = share.index[(share > 0) & (share < 1)]
        table["passed"] = pd.MultiIndex.from_frame(table[["problem_id", "set"]]).isin(passed)
    return table


def correct(completions: list, gold: list[str], **_) -> list[float]:
    """1 for a right final answer, else 0: the grader of the evaluation, on the whole output. The paper's reward."""
    answers = [extract(text) for text in map(said, completions)]
    return [float(a is not None and equivalent(g, a)) for g, a in zip(gold, answers, strict=True)]


def within_dial(completions: list, gold: list[str], prompts: list, **_) -> list[float]:
    """`correct` where the output tests no more than its problem allows (`allowed_tests`); else less than 0, by EXCESS
    times the share by which it tests more, at most 1, in the manner of DAPO's soft overlong punishment
    (arXiv 2503.14476, eq. 13).

    With `correct` alone the embedded family learns to test more, which no other model may. Without the punishment
    nothing keeps wrong outputs from testing the same candidates over and over; were it larger, sets that no output
    gets right would teach to test less.
    """
    allowed = [allowed_tests("\n".join(m["content"] for m in p)) for p in prompts]
    made = [made_tests(said(c)) for c in completions]
    over = [min(1.0, max(0, m - most) / most) if most else 0.0 for m, most in zip(made, allowed, strict=True)]
    right = correct(completions, gold)
    return [-EXCESS * excess if excess else one for one, excess in zip(right, over, strict=True)]


def said(completion: str | list[dict]) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]


def check_lengths(sets: pd.DataFrame, tokenizer, context: int, recipe: Recipe, template: dict) -> None:
    """UserError if a prompt and a longest output do not fit the context: nothing is cut in silence."""
    longest = max(
        len(tokenizer.apply_chat_template(p, add_generation_prompt=True, return_dict=False, **template))
        for p in sets.prompt
    )
    if longest + recipe.max_tokens > context:
        raise UserError(
            f"the longest prompt has {longest} tokens and an output up to {recipe.max_tokens}, but the context of "
            f"{recipe.synthesizer} "
            f"is {context}; lower max_tokens or n_paths."
        )


class Rollouts:
    """TRL's `rollout_func` over this repository's engine, which computes a group's prompt once: with it a step of the
    nano recipe takes 9 s instead of 12. Only for one process without vLLM.
    """

    def __init__(self, model: Model, recipe: Recipe):
        from a2r.engines.local import TransformersEngine

        self.engine, self.template = TransformersEngine(model.location, model.revision), model.template
        self.sampling = Sampling(recipe.temperature, max_tokens=recipe.max_tokens)

    def __call__(self, prompts: list[list[dict]], trainer) -> dict[str, list]:
        """Outputs of the policy as it is now, one a prompt, in order; equal neighbours are one group."""
        import torch

        self.engine.take_weights(trainer.model.state_dict())
        groups = [
            list(members) for _, members in itertools.groupby(range(len(prompts)), key=lambda i: json.dumps(prompts[i]))
        ]
        # from torch's generator, whose state is in every checkpoint, so that a resumed training draws on
        seeds = torch.randint(2**62, (len(prompts),)).tolist()
        requests = [
            Request(str(m[0]), tuple(prompts[m[0]]), self.sampling, tuple(m), tuple(seeds[i] for i in m), self.template)
            for m in groups
        ]
        rows = {row.index: row for row, _ in self.engine.finished(requests)}
        return {
            "prompt_ids": [rows[i].prompt for i in range(len(prompts))],
            "completion_ids": [rows[i].tokens for i in range(len(prompts))],
            "logprobs": None,
        }


def fit(lab: Profile, recipe: Recipe, sets: pd.DataFrame, held_out: pd.DataFrame, work: Path):
    """Train the recipe's synthesizer on `sets`; returns TRL's trainer and the record of the training.

    Checkpoints are in `work`, and the same call goes on from the newest. Raises UserError for lengths that do not fit,
    for checkpoints of another recipe, and for a reward that stays constant.
    """
    import torch  # here, as the rest of what trains: the notebooks that only read records start without it
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, ProgressCallback

    try:
        from trl import GRPOConfig, GRPOTrainer
    except ImportError as error:
        raise UserError(f"RL needs TRL ({error}); install it with `pip install 'a2r[rl]'`.") from error
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # of rollout_func
    model = lab.model(recipe.synthesizer)
    same_training(work, recipe, model.identity)
    tokenizer = AutoTokenizer.from_pretrained(model.location, revision=model.revision)
    last, finished = newest(work, recipe)
    path, revision = (last, None) if finished else (model.location, model.revision)
    policy = AutoModelForCausalLM.from_pretrained(path, revision=revision, dtype=torch.float32)
    check_lengths(pd.concat([sets, held_out]), tokenizer, policy.config.max_position_embeddings, recipe, model.template)
    torch.manual_seed(recipe.seed)
    settings = trainer_settings(recipe, model, work, len(held_out))
    rewards = list(dict.fromkeys([correct, resolve_name(recipe.reward)]))  # `correct` for the curves, the last to learn
    settings["reward_weights"] = [0.0, 1.0][-len(rewards) :]
    trainer = GRPOTrainer(
        model=policy,
        processing_class=tokenizer,
        reward_funcs=rewards,
        args=GRPOConfig(**settings),
        train_dataset=Dataset.from_pandas(sets[["prompt", "gold"]], preserve_index=False),
        eval_dataset=Dataset.from_pandas(held_out[["prompt", "gold"]], preserve_index=False) if len(held_out) else None,
        rollout_func=None if settings.get("use_vllm") or devices() > 1 else Rollouts(model, recipe),
    )
    for noisy in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(noisy)
    for callback in callbacks(recipe):
        trainer.add_callback(callback)
    started = time.monotonic()
    if not finished:  # resumed at its last step, TRL's trainer would make one more
        trainer.train(resume_from_checkpoint=last)
    record = {
        "recipe": asdict(recipe),
        "from": {"name": model.name, "revision": model.identity, "parameters": model.parameters},
        "sets": {"count": len(sets), **sets.state.value_counts().to_dict(), "held out": len(held_out)},
        "seconds": round(time.monotonic() - started, 1),
        "curve": curve((finished or trainer.state).log_history, recipe.updates),
        "made": {"date": time.strftime("%Y-%m-%d"), "python": platform.python_version()}
        | {"torch": torch.__version__, "trl": version("trl")},
    }
    return trainer, record


def newest(work: Path, recipe: Recipe) -> tuple[str | None, object]:
    """The newest checkpoint in `work`, and its state where the training is finished; None where there is none.

    Raises UserError for more steps than the recipe has.
    """
    from transformers import TrainerState
    from transformers.trainer_utils import get_last_checkpoint

    last = get_last_checkpoint(str(work))
    state = TrainerState.load_from_json(f"{last}/trainer_state.json") if last else None
    if state and state.global_step > recipe.steps * recipe.updates:
        done = state.global_step // recipe.updates
        raise UserError(
            f"{work} holds checkpoints of {done} steps and {recipe.steps} are asked for; "
            "remove the folder, or ask for more."
        )
    return last, state if state and state.global_step == recipe.steps * recipe.updates else None


def devices() -> int:
    """Processes that train together."""
    return max(1, int(os.environ.get("WORLD_SIZE", "1")))


def trainer_settings(recipe: Recipe, model: Model, work: Path, held_out: int) -> dict:
    """Arguments of TRL's GRPOConfig: DAPO's loss, no KL term, overlong outputs masked. Its steps are gradient steps."""
    import torch

    rollouts = recipe.prompts * recipe.generations // recipe.updates  # that a gradient step learns from
    micro = recipe.micro_batch or rollouts // devices()
    parts, gpu = max(1, rollouts // (micro * devices())), torch.cuda.is_available()
    return {
        **{"output_dir": str(work), "seed": recipe.seed, "max_steps": recipe.steps * recipe.updates},
        **{"save_steps": recipe.save_steps * recipe.updates, "save_total_limit": 2},
        **{"logging_steps": 1, "report_to": "none", "learning_rate": recipe.learning_rate},
        **{"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 5 * recipe.updates},
        **{"per_device_train_batch_size": micro, "gradient_accumulation_steps": parts},
        **{"steps_per_generation": parts * recipe.updates, "num_generations": recipe.generations},
        **{"temperature": recipe.temperature, "max_completion_length": recipe.max_tokens},
        **{"loss_type": "dapo", "beta": 0.0, "epsilon": recipe.epsilon, "epsilon_high": recipe.epsilon_high},
        **{"num_iterations": 1, "mask_truncated_completions": True, "max_grad_norm": 1.0},
        **{"gradient_checkpointing": False, "use_cpu": not gpu, "bf16": gpu, "chat_template_kwargs": model.template},
        **{"eval_strategy": "steps" if held_out else "no", "eval_steps": recipe.eval_steps * recipe.updates},
        **{"eval_on_start": held_out > 0, "num_generations_eval": 1},
        "per_device_eval_batch_size": recipe.micro_batch or held_out or 1,
        **recipe.trainer,
    }


def callbacks(recipe: Recipe) -> list:
    """What a trainer has beside TRL's own: the progress bar, and an end where nothing can be learnt."""
    from transformers import ProgressCallback, TrainerCallback

    class Watch(TrainerCallback):
        """Stops where nothing can be learnt."""

        silent = 0

        def on_log(self, args, state, control, logs=None, **_):
            if "frac_reward_zero_std" in (logs or {}):
                self.silent = self.silent + 1 if logs["frac_reward_zero_std"] == 1 else 0
                if self.silent >= SILENT_STEPS * recipe.updates:
                    raise UserError(
                        f"for {SILENT_STEPS} steps all outputs of each prompt had the same reward (mean "
                        f"{logs['reward']:.2f}): "
                        "there is nothing to learn; change the mix, the temperature or max_tokens."
                    )

    class Bar(ProgressCallback):
        """The progress bar, with the newest values beside it in place of a line for each."""

        def on_log(self, args, state, control, logs=None, **_):
            shown = {"reward": "reward", "entropy": "entropy", "held-out A2R": HELD_OUT["held-out A2R"]}
            values = {ours: f"{float(logs[theirs]):.3g}" for ours, theirs in shown.items() if theirs in (logs or {})}
            if self.training_bar is not None and values:
                self.training_bar.set_postfix(values)

        def on_prediction_step(self, *_, **__):
            """No bar for the held-out sets."""

    return [Watch(), Bar()]


def same_training(work: Path, recipe: Recipe, base: str) -> None:
    """Note the recipe, and the model `base` (its identity) that it begins with, beside its checkpoints; UserError if
    those that are there come from another one (more steps are the same)."""
    note, later = work / "recipe.json", ("steps", "save_steps", "eval_steps")
    mine = json.loads(json.dumps({k: v for k, v in asdict(recipe).items() if k not in later} | {"base": base}))
    theirs = json.loads(note.read_text()) if note.exists() else {}
    if other := ", ".join(k for k in mine if theirs.get(k, mine[k]) != mine[k]):
        raise UserError(
            f"{work} holds checkpoints of a training that differs in {other}; "
            "remove it, or train into another folder (--out)."
        )
    work.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(mine, indent=1) + "\n")


def curve(log: list[dict], updates: int = 1) -> list[dict]:
    """TRL's log as one row a step (of `updates` gradient steps: their mean); `CURVES`, and `HELD_OUT` where it was
    measured."""
    rows: dict[int, dict[str, list[float]]] = {}
    for entry in log:
        # a step's first update is 1, 1 + updates, ...; held-out sets are scored after a step's last, and before the
        # first
        step = -(-entry["step"] // updates)
        for ours, theirs in (CURVES | HELD_OUT).items():
            if theirs in entry:
                rows.setdefault(step, {}).setdefault(ours, []).append(entry[theirs])
    return [{"step": step, **{k: round(sum(v) / len(v), 6) for k, v in rows[step].items()}} for step in sorted(rows)]


def train_synthesizer(lab: Profile, recipe: Recipe, folder: Path | None = None) -> dict:
    """Train the recipe's synthesizer and leave model, record (training.json) and card in `folder`; returns the record.

    `folder` is by default where the profile says that the model `recipe.name` is. A training that is already there is
    read, not repeated. Raises UserError as `training_sets` and `fit` do, and where `folder` holds another training.
    """
    folder = Path(folder or ROOT / lab.model(recipe.name).path)
    if (folder / "training.json").exists():
        record = json.loads((folder / "training.json").read_text())
        if Recipe(**record["recipe"]) != recipe:
            raise UserError(f"{folder} holds a model of another recipe; remove it, or give another folder with --out.")
        return record
    sets, held_out = training_sets(lab, recipe)
    trainer, record = fit(lab, recipe, sets, held_out, WORK / "checkpoints" / folder.name)
    if trainer.accelerator.num_processes > 1:
        trainer.save_model(str(folder))  # gathers what is spread over the devices
    else:
        # in half precision as its base: nano's weights are float16, those of large models bfloat16
        small = (record["from"]["parameters"] or 1e9) < 1e8
        (trainer.model.half() if small else trainer.model.bfloat16()).save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)
    if not trainer.is_world_process_zero():
        return record
    (folder / "README.md").write_text(card(record))
    # last: it is what says that the folder is complete
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    return record


def read_record(lab: Profile) -> dict:
    """The training record of the profile's RL synthesizer. UserError if it was not trained yet."""
    path = ROOT / lab.model(of(lab).name).path / "training.json"
    if not path.exists():
        raise UserError(f"{lab.rl['name']} is not trained yet; run `a2r train-synthesizer --profile {lab.name}`.")
    return json.loads(path.read_text())


def card(record: dict) -> str:
    """The model card of an RL synthesizer."""
    r, s = record["recipe"], record["sets"]
    held = [row["held-out A2R"] for row in record["curve"] if "held-out A2R" in row]
    scored = f"{held[0]:.2f} before, {held[-1]:.2f} after ({s['held out']} sets)" if held else "not measured"
    rewards = [row["reward"] for row in record["curve"] if "reward" in row]
    policy = "on-policy" if r["updates"] == 1 else f"{r['updates']} updates a batch"
    states = ", ".join(f"{k}: {s[k]}" for k in STATES if k in s)
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# {r["name"]}

{record["from"]["name"]} (revision {record["from"]["revision"]}) after RL as the synthesizer of A2R,
by `a2r train-synthesizer`: GRPO with DAPO's loss on TRL {record["made"]["trl"]}, no KL term; the reward is
`{r["reward"]}`.

| | |
|---|---|
| sets | {s["count"]:,}, references by {", ".join(r["explorers"])} on training problems; right of them: {states} |
| steps | {r["steps"]}, each {r["prompts"]} prompts x {r["generations"]} outputs at T = {r["temperature"]:g}, {policy} |
| learning rate, clipping | {r["learning_rate"]:g}; {r["epsilon"]:g} below, {r["epsilon_high"]:g} above |
| time | {record["seconds"] / 60:.0f} minutes |
| reward | {rewards[0]:.2f} in the first step, {rewards[-1]:.2f} in the last |
| held-out training problems, A2R at the training temperature | {scored} |

Every curve is in `training.json`. How it does on the reported problems stands in the README of the repository.
"""
