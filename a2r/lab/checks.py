"""Whether a profile can run here, before it does: models, problems, prices, engine, GPUs, keys, disk.

Nothing is sampled or made.
"""

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import a2r.engines as engines
from a2r.errors import UserError, first_line
from a2r.lab.planning import grid_bytes
from a2r.lab.runner import find
from a2r.prices import read_prices
from a2r.problems import online, read
from a2r.profiles import ROOT, Benchmark, Model, Profile, check_folder, from_root, load_profile
from a2r.store import Store

MOST_ON_CPU = 2e9  # parameters, beyond which a sample takes minutes there


@dataclass(frozen=True)
class Check:
    """One thing that a profile needs: whether it is there, and what there is or what to do."""

    what: str
    ok: bool
    said: str


def tried(what: str, look: Callable[..., str], *about) -> Check:
    """A check by a function that says what there is, or raises UserError that says what to do."""
    try:
        return Check(what, True, look(*about))
    except UserError as error:
        return Check(what, False, str(error))


def check(lab: Profile) -> list[Check]:
    """Everything that a run of `lab` needs, in the order in which it would be needed."""
    for study in lab.studies:
        find(study)  # refuses a name that no study has
        load_profile(lab.source, study)  # refuses a value that does not fit
    found = [tried(f"problems {benchmark.name}", problems, benchmark) for benchmark in lab.benchmarks]
    found += [] if found else [Check("problems", False, f"{lab.source} names no benchmark; list one there.")]
    found.append(tried("results", results, lab))
    # one that has no role yet, as an RL synthesizer still to be trained, is not needed
    names = dict.fromkeys((*lab.explorers, *lab.synthesizers, *lab.symmetric, *lab.efficient))
    lab = replace(lab, models=tuple(lab.model(name) for name in names))
    engine = engines.automatic() if lab.engine == "auto" else lab.engine
    if engine != "replay":
        look = (lambda model: server(lab, model)) if engine == "openai" else weights
        found += [tried(f"model {model.name}", look, model) for model in lab.models]
    found.append(tried(f"engine {engine}", machine, engine, lab))
    if engine in ("vllm", "transformers"):
        found.append(tried("GPUs", gpus, lab, engine))
    found += [tried("prices", prices, lab), tried("store", store, lab)]
    counted = all(b.rows for b in lab.benchmarks) or all(c.ok for c in found if c.what.startswith("problems"))
    return [*found, tried("disk", disk, lab)] if counted else found


def problems(benchmark: Benchmark) -> str:
    found = read(benchmark)
    twice = found.question.duplicated().sum()
    same = f"; {twice} of them ask what another one asks, and share its samples" if twice else ""
    return f"{len(found)} from {benchmark.path}{same}"


def results(lab: Profile) -> str:
    """Whether the figures' folder is this profile's."""
    check_folder(lab)
    return from_root(ROOT / lab.figures / lab.name)


def weights(model: Model) -> str:
    """A model's files: a local folder, or on the hub (asked for without downloading), or in the hub's cache."""
    _ = model.location  # refuses a folder that is not there
    if (folder := model.folder) is not None:
        wanted = ("config.json", "tokenizer_config.json", "*.safetensors")
        if lacking := [name for name in wanted if not list(folder.glob(name))]:
            raise UserError(f"{folder} lacks {', '.join(lacking)}; copy the whole model.")
        if (opens := opens_thinking(model)) != model.opened:
            ends = "ends" if opens else "does not end"
            what = f"say `opened: {str(opens).lower()}` for it"
            raise UserError(f"its chat template {ends} a prompt with <think>; {what}.")
        return str(folder)
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        if isinstance(try_to_load_from_cache(model.path, "config.json", revision=model.revision), str):
            return f"{model.path} in the hub's cache"
        if not online():
            raise OSError("it cannot be reached from here")
        info = HfApi().model_info(model.path, revision=model.revision, timeout=20, files_metadata=True)
    except Exception as error:  # the hub client raises a dozen kinds; the user needs one sentence
        lack = f"as a hub id it is neither cached nor given by the hub ({first_line(error)})"
        what = f"is no folder beside the profile or in the repository, and {lack}; correct the path, or download it"
        raise UserError(f"{model.path} {what}.") from error
    size = sum(f.size or 0 for f in info.siblings if f.rfilename.endswith(".safetensors"))
    return f"{model.path} on the hub, {size / 1e9:.1f} GB to download"


def opens_thinking(model: Model) -> bool:
    """Whether the chat template of a local model ends a prompt inside of the thinking."""
    from transformers import AutoTokenizer

    options = {"add_generation_prompt": True, "tokenize": False, **model.template}
    tokenizer = AutoTokenizer.from_pretrained(model.location)
    return tokenizer.apply_chat_template([{"role": "user", "content": "?"}], **options).rstrip().endswith("<think>")


def server(lab: Profile, model: Model) -> str:
    """Whether the server answers, takes the key and serves the model."""
    engine = engines.open_engine("openai", model.location, model.revision, lab.engine_options_of(model.name, "openai"))
    return f"{engine.model} at {', '.join(engine.urls)}"


def machine(engine: str, lab: Profile) -> str:
    """What the engine needs to run here at all, and that it has the options that the profile gives."""
    for model in lab.models if engine in engines.GENERATING else ():
        engines.check_options(engine, lab.engine_options_of(model.name, engine))
    if engine != "vllm":
        return {"replay": "the store alone", "openai": "see the models"}.get(engine, "installed")
    if not engines.installed():
        raise UserError("vLLM is not installed; install it with `pip install 'a2r[vllm]'`.")
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        reason = f"({error.strerror}); allow local connections"
        raise UserError(f"no port of 127.0.0.1 can be opened for a server {reason}.") from error
    return engines.installed()


def gpus(lab: Profile, engine: str) -> str:
    """Whether there are as many as the servers take, or the models are small enough for a CPU."""
    if engine == "vllm" and lab.server.get("distributed_executor_backend") == "ray":
        return "those of the Ray cluster, not looked at"
    import torch

    here = 0 if engine == "vllm" and engines.on_cpu() else torch.cuda.device_count()
    if not here:
        if large := [m.name for m in lab.models if (m.parameters or 0) > MOST_ON_CPU]:
            size = f"for more than {MOST_ON_CPU / 1e9:g} billion parameters ({', '.join(large)})"
            what = "run on a machine with GPUs, or ask a server (engine openai)"
            raise UserError(f"none that {engine} can use, which is too slow {size}; {what}.")
        return f"none that {engine} can use: on the CPU, {os.cpu_count()} cores"
    options = [{**lab.server, **m.server} for m in lab.models if engine == "vllm"]
    needed = max((o.get("tensor_parallel_size", 1) * o.get("data_parallel_size", 1) for o in options), default=1)
    if here < needed:
        raise UserError(f"a model of the profile wants {needed} GPUs and there are {here}; lower tensor_parallel_size.")
    return f"{here}, {needed} needed"


def prices(lab: Profile) -> str:
    lacking = [m.name for m in lab.models if m.name not in read_prices(lab.prices).index]
    return lab.prices + (f"; it has no row for {', '.join(lacking)}, whose costs stay blank" if lacking else "")


def store(lab: Profile) -> str:
    if not (there := _there(lab.store_path)).is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"the store {lab.store_path} cannot be written; free the folder or set another 'store'.")
    return f"{lab.store_path}, {len(Store(lab.store_path, writable=False).read()):,} samples"


def disk(lab: Profile) -> str:
    """Room for a whole grid, twice over."""
    needed, free = grid_bytes(lab) / 1e9, shutil.disk_usage(_there(lab.store_path)).free / 1e9
    said = f"{free:.0f} GB free at {lab.store_path}, about {needed:.2g} GB needed for a whole grid"
    if free <= 2 * needed:
        raise UserError(f"{said}; make room or set another 'store'.")
    return said


def _there(folder: Path) -> Path:
    """A folder, or the first above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())
