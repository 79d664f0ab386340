"""Whether a profile can run here, before it does: models, problems, prices, engine, keys, disk. Samples nothing."""

import os
import shutil
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from a2r.engines import automatic, open_engine
from a2r.errors import UserError
from a2r.lab.planning import grid_bytes
from a2r.prices import read_prices
from a2r.problems import online, read
from a2r.profiles import Benchmark, Model, Profile, load_profile
from a2r.store import Store


@dataclass(frozen=True)
class Check:
    """One thing that a profile needs: whether it is there, and what there is or what to do."""

    what: str
    ok: bool
    said: str


def check(lab: Profile) -> list[Check]:
    """Everything that a run of `lab` needs, in the order in which it would be needed."""
    for study in lab.studies:
        load_profile(lab.source, study)  # refuses a value that does not fit
    found = [problems(benchmark) for benchmark in lab.benchmarks]
    # one that has no role yet, as an RL synthesizer still to be trained, is not needed
    names = dict.fromkeys((*lab.explorers, *lab.synthesizers, *lab.symmetric, *lab.efficient))
    lab = replace(lab, models=tuple(lab.model(name) for name in names))
    engine = automatic() if lab.engine == "auto" else lab.engine
    if engine == "openai":
        found += [server(lab, model) for model in lab.models]
    elif engine != "replay":
        found += [weights(model) for model in lab.models]
    found += [machine(lab, engine), prices(lab), store(lab)]
    if all(c.ok for c in found):
        found.append(disk(lab))
    return found


def problems(benchmark: Benchmark) -> Check:
    try:
        frame = read(benchmark)
    except UserError as error:
        return Check(f"problems {benchmark.name}", False, str(error))
    return Check(f"problems {benchmark.name}", True, f"{len(frame)} from {benchmark.path}")


def weights(model: Model) -> Check:
    """A model's files: a local folder, or on the hub (asked for without downloading), or in the hub's cache."""
    what = f"model {model.name}"
    try:
        folder = Path(model.location)
    except UserError as error:
        return Check(what, False, str(error))
    if folder.is_dir():
        lacking = [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).exists()]
        if not [*folder.glob("*.safetensors")]:
            lacking.append("*.safetensors")
        if lacking:
            return Check(what, False, f"{folder} lacks {', '.join(lacking)}; copy the whole model.")
        opens = opens_thinking(model)
        wrong = (
            f"its chat template {'ends' if opens else 'does not end'} a prompt with <think>; say `opened: "
            f"{str(opens).lower()}` for it."
        )
        return Check(what, opens == model.opened, str(folder) if opens == model.opened else wrong)
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        if isinstance(try_to_load_from_cache(model.path, "config.json", revision=model.revision), str):
            return Check(what, True, f"{model.path} in the hub's cache")
        if not online():
            raise OSError("it cannot be reached from here")
        info = HfApi().model_info(model.path, revision=model.revision, timeout=20, files_metadata=True)
    except Exception as error:  # the hub client raises a dozen kinds; the user needs one sentence
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Check(
            what,
            False,
            f"{model.path} is neither a folder nor cached, and the hub does not give it ({reason}); download it.",
        )
    size = sum(f.size or 0 for f in info.siblings if f.rfilename.endswith(".safetensors"))
    return Check(what, True, f"{model.path} on the hub, {size / 1e9:.1f} GB to download")


def opens_thinking(model: Model) -> bool:
    """Whether the chat template of a local model ends a prompt inside of the thinking."""
    from transformers import AutoTokenizer

    messages = [{"role": "user", "content": "?"}]
    tokenizer = AutoTokenizer.from_pretrained(model.location)
    return (
        tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **model.template)
        .rstrip()
        .endswith("<think>")
    )


def server(lab: Profile, model: Model) -> Check:
    """Whether the server answers, takes the key and serves the model."""
    try:
        engine = open_engine("openai", model.location, model.revision, lab.engine_options_of(model.name, "openai"))
    except UserError as error:
        return Check(f"model {model.name}", False, str(error))
    return Check(f"model {model.name}", True, f"{engine.model} at {', '.join(engine.urls)}")


def machine(lab: Profile, engine: str) -> Check:
    """What the engine needs of this machine."""
    what = f"engine {engine}"
    if engine == "vllm":
        import torch

        from a2r.engines.vllm import installed, on_cpu

        if not installed():
            return Check(what, False, "vLLM is not installed; install it with `pip install 'a2r[vllm]'`.")
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
        except OSError as error:
            return Check(
                what,
                False,
                f"no port of 127.0.0.1 can be opened for a server ({error.strerror}); allow local connections.",
            )
        if on_cpu():
            return Check(what, True, f"{installed()}, on the CPU: for tests, not for large models")
        gpus = torch.cuda.device_count()
        options = [{**lab.server, **m.server} for m in lab.models]
        needed = max(o.get("tensor_parallel_size", 1) * o.get("data_parallel_size", 1) for o in options)
        if gpus < needed and lab.server.get("distributed_executor_backend") != "ray":
            return Check(
                what,
                False,
                f"a model of the profile wants {needed} GPUs and there are {gpus}; lower tensor_parallel_size.",
            )
        return Check(what, True, f"{installed()}, {gpus} GPUs")
    if engine == "transformers":
        import torch

        return Check(what, True, "on a GPU" if torch.cuda.is_available() else f"on the CPU, {os.cpu_count()} cores")
    return Check(what, True, "the store alone" if engine == "replay" else "see the models")


def prices(lab: Profile) -> Check:
    try:
        table = read_prices(lab.prices)
    except UserError as error:
        return Check("prices", False, str(error))
    lacking = [m.name for m in lab.models if m.name not in table.index]
    blank = f"; it has no row for {', '.join(lacking)}, whose costs stay blank" if lacking else ""
    return Check("prices", True, lab.prices + blank)


def store(lab: Profile) -> Check:
    try:
        with Store(lab.store_path) as made:
            count = len(made.read())
    except UserError as error:
        return Check("store", False, str(error))
    return Check("store", True, f"{lab.store_path}, {count:,} samples")


def disk(lab: Profile) -> Check:
    """Room for a whole grid, twice over."""
    needed, free = grid_bytes(lab) / 1e9, shutil.disk_usage(lab.store_path).free / 1e9
    said = f"{free:.0f} GB free at {lab.store_path}, about {needed:.2g} GB needed for a whole grid"
    return Check("disk", free > 2 * needed, said if free > 2 * needed else f"{said}; make room or set another 'store'.")
