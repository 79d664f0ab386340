"""Profiles: small YAML files that say which models, problems and sampling a study uses."""

import hashlib
import json
import math
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin, get_type_hints

import yaml

from a2r import prompts
from a2r.engines import ENGINES, Sampling
from a2r.errors import UserError, first_line, nearest

ROOT = Path(__file__).resolve().parent.parent
IMPORTED = "imported:"  # begins the path of a model that is not there, only its paths
PROFILES = Path(__file__).resolve().parent / "profiles"

ROLES = ("explorers", "synthesizers", "symmetric")
# What studies vary by `with_`; in `changes` where a value differs from the profile's.
KNOBS = ("n_paths", "n_sets", "n_syntheses", "n_problems", "seed", "temperature", "synthesizer_temperature")


def short(name: str, most: int = 150) -> str:
    """A name for a file: as it is, or where it has more than `most` characters cut, with a hash of all of it."""
    return name if len(name) <= most else f"{name[: most - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def from_root(path: Path) -> str:
    """A path as it is shown: from the repository's root where it is in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


@dataclass(frozen=True)
class Model:
    """A language model as a profile names it.

    `path` is a hub id or a local folder (relative ones from the repository's root); `parameters` is
    the number of active parameters (FLOPs, and the price where the price table has none). `opened`: its chat template
    ends a prompt with the mark that opens the thinking, so that an output cut off in its thinking shows no mark at all.
    """

    name: str
    path: str
    revision: str | None = None
    parameters: float | None = None
    sampling: Sampling | None = None
    template: dict = field(default_factory=dict)
    opened: bool = False
    engine_options: dict = field(default_factory=dict)  # over the profile's
    server: dict = field(default_factory=dict)  # over the profile's
    base: str | None = None  # the profile's model that this one was trained from by RL
    tokens_per_second: float | None = None  # what one server of it writes, all requests together; for plans
    gpus: int = 1  # that such a server takes
    # the folder of the user's own profile that names it, where a relative path is looked for first
    beside: str = field(default="", compare=False)

    @property
    def folder(self) -> Path | None:
        """Where it lies on this machine, if it does."""
        places = (Path(self.beside or ROOT) / self.path, ROOT / self.path)
        return next((place for place in places if place.is_dir()), None)

    @property
    def location(self) -> str:
        """The local folder if there is one, else the hub id. UserError for a path that is no hub id and not there."""
        if self.folder is None and (self.path.count("/") > 1 or self.path.startswith((".", "~"))):
            looked = " and ".join(dict.fromkeys(str(Path(place) / self.path) for place in (self.beside or ROOT, ROOT)))
            raise UserError(f"the folder of model '{self.name}' is not there: looked for {looked}; correct its path.")
        return str(self.folder or self.path)

    @property
    def large(self) -> bool:
        """Whether it has a machine without a GPU for itself when it samples, as a model of unknown size does."""
        return not self.parameters or self.parameters > 1e8

    @property
    def imported(self) -> bool:
        """Whether its samples were drawn by somebody else, so that there can be no more (`lab.imports`)."""
        return self.path.startswith(IMPORTED)

    @property
    def identity(self) -> str:
        """What tells this model's samples from another's: the revision, or a hash of a local model's files."""
        if self.folder is None:  # on the hub, or still to be trained: who has a use for it is told by `location`
            return self.revision or "main"
        whole = hashlib.sha256()
        for file in sorted(file for kind in ("json", "jinja", "safetensors") for file in self.folder.glob(f"*.{kind}")):
            whole.update(file.name.encode() + bytes.fromhex(digest(file)))
        return whole.hexdigest()[:12]


def digest(file: Path) -> str:
    """A hash of a file's content, computed once for each state of it."""
    return _digest(file, file.stat().st_mtime_ns, file.stat().st_size)


@cache
def _digest(file: Path, *_) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@dataclass(frozen=True)
class Benchmark:
    """Where problems come from: a local file (parquet, jsonl, csv) or a hub data set with a pinned revision."""

    name: str
    path: str
    revision: str | None = None
    split: str = "train"
    columns: dict = field(default_factory=dict)  # ours -> theirs
    rows: int | None = None
    n_problems: int | None = None  # evenly spaced, where a profile does not ask for fewer
    sha256: str | None = None  # of `problems.content`
    integer_answers: bool = False


@dataclass(frozen=True)
class Profile:
    """Everything that a study needs besides its own knobs."""

    name: str
    models: tuple[Model, ...]
    benchmarks: tuple[Benchmark, ...]
    explorers: tuple[str, ...]
    synthesizers: tuple[str, ...]
    symmetric: tuple[str, ...]
    efficient: tuple[str, ...]  # explorer, synthesizer, and the large model that claim C3 compares the pair with
    sampling: Sampling = field(default_factory=Sampling)
    synthesis: dict = field(default_factory=dict)  # what of the sampling is otherwise when a model synthesizes
    n_paths: int = 4
    n_sets: int = 4
    n_syntheses: int = 1
    n_problems: int | None = None
    seed: int = 0
    engine: str = "transformers"
    engine_options: dict = field(default_factory=dict)
    server: dict = field(default_factory=dict)  # vLLM's engine arguments, where the engine is vllm
    prices: str = "data/prices.csv"
    store: str = "runs/samples"
    figures: str = "figures"  # tables and figures go into a folder in it, by the profile's name
    forms: tuple[str, ...] = tuple(prompts.FORMS)  # the prompts that the models know what to do with
    prompts: dict = field(default_factory=dict)  # texts in place of those of `prompts.FORMS`, by form
    rl: dict = field(default_factory=dict)  # how the RL synthesizer is trained: a `rl.Recipe`
    reported: tuple[Benchmark, ...] = ()  # every benchmark of the profile and of its studies: what RL must not train on
    studies: tuple[str, ...] = ()  # to which the profile gives other values
    source: str = ""  # the file that it is from
    changes: tuple = ()  # what `with_` changed, as (name, value) pairs; runs that differ keep their results apart by it

    @property
    def shipped(self) -> bool:
        """Whether it comes with the repository."""
        return Path(self.source).parent == PROFILES

    @property
    def store_path(self) -> Path:
        return ROOT / self.store

    @property
    def trained(self) -> dict[str, str]:
        """Models that RL made from others of the profile: name -> base."""
        return {m.name: m.base for m in self.models if m.base}

    def base_of(self, name: str) -> str:
        """The model itself, or the one that RL made it from."""
        return self.trained.get(name, name)

    def model(self, name: str) -> Model:
        models = {model.name: model for model in self.models}
        if name not in models:
            near, has = nearest(name, models), ", ".join(models)
            raise UserError(f"model '{name}'{near} is not in profile '{self.name}'; it has {has}.")
        return models[name]

    def by_size(self, names) -> list[str]:
        """Those of the profile's models that are among `names`, smallest first (as listed where sizes are unknown).

        What RL made of one is left out, unless nothing else is among them.
        """
        among = set(names)
        ordered = [m for m in sorted(self.models, key=lambda m: m.parameters or 0) if m.name in among]
        return [m.name for m in ordered if not m.base] or [m.name for m in ordered]

    def sampling_of(self, name: str, role: str = "explorer") -> Sampling:
        """How model `name` samples in a role: its own way or the profile's, as a synthesizer with `synthesis` over it.

        A scorer writes nothing, so that it does not matter there.
        """
        if role == "scorer":
            return Sampling(temperature=1.0, max_tokens=1)
        return replace(self.model(name).sampling or self.sampling, **(self.synthesis if role == "synthesizer" else {}))

    def prompt(self, form: str) -> str:
        """The text of a prompt form: the profile's own, or the one in `prompts`."""
        return self.prompts.get(form, prompts.FORMS[form])

    def engine_options_of(self, name: str, engine: str) -> dict:
        """What `engine` is opened with for model `name`."""
        model = self.model(name)
        server = {"server": {**self.server, **model.server}} if engine == "vllm" else {}
        return {**self.engine_options, **model.engine_options, **server}

    def with_(self, **changes) -> "Profile":
        """A copy with other values; `temperature` is that of every model in both roles, `synthesizer_temperature` of
        the second alone."""
        changes = {key: value for key, value in changes.items() if value is not None}
        before, where = dict(vars(self)), f"profile '{self.name}'"
        before["synthesizer_temperature"] = self.synthesis.get("temperature", self.sampling.temperature)
        if before["synthesizer_temperature"] == self.sampling.temperature:
            before["temperature"] = self.sampling.temperature
        differing = {key: value for key, value in changes.items() if before.get(key) != value}
        hot, of_syntheses = ({"temperature": changes.pop(k)} if k in changes else {} for k in KNOBS[-2:])
        if unknown := changes.keys() - vars(self):
            near, has = nearest(min(unknown), vars(self)), ", ".join(vars(self))
            raise UserError(f"a profile has no '{min(unknown)}'{near} to change; it has {has}.")
        profile = replace(self, **changes, changes=tuple(sorted({**dict(self.changes), **differing}.items())))
        models = tuple(replace(m, sampling=m.sampling and replace(m.sampling, **hot)) for m in profile.models)
        synthesis = {k: v for k, v in profile.synthesis.items() if k not in hot} | of_syntheses
        profile = replace(profile, models=models, sampling=replace(profile.sampling, **hot), synthesis=synthesis)
        for sampling in (profile.sampling, replace(profile.sampling, **synthesis)):
            _check(sampling, where)
        return _check(profile, where)


def available() -> list[str]:
    """Names of the profiles that come with the repository."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml"))


def check_folder(lab: Profile) -> None:
    """UserError where the profile's folder of results holds those of another profile that is still there: its file has
    the same name, and they would overwrite each other's."""
    folder = ROOT / lab.figures / lab.name
    for path in folder.rglob("*.json"):
        note = json.loads(path.read_text())
        source = note.get("source") or PROFILES / f"{note.get('profile')}.yaml"
        if (ROOT / source).exists() and not (ROOT / source).samefile(lab.source):
            other = f"{from_root(folder)} holds results of the profile {from_root(ROOT / source)}"
            raise UserError(
                f"{other}, which {from_root(Path(lab.source))} would overwrite; rename one of the two files."
            )


def load_profile(name: str, study: str | None = None) -> Profile:
    """Load a profile by name, or from a path to a YAML file of the user's own, as it is for `study`.

    Under `studies` a profile may give single studies other values, as in `controls: {n_problems: 100}`. Raises
    UserError for an unknown name, a file that is not YAML, an unknown or missing key, or a role that names a model the
    profile does not have.
    """
    path = _path(name)
    raw, where = {**raw_profile(name), "name": path.stem, "source": str(path.resolve())}, f"profile {path}"
    studies = raw.pop("studies", {})
    if not isinstance(studies, dict) or not all(isinstance(own, dict) for own in studies.values()):
        raise UserError(f"{where} gives {studies!r} as its studies; give a mapping of studies to their values.")
    reported = [raw.get("benchmarks"), *(own.get("benchmarks") for own in studies.values())]
    for its, own in studies.items():
        if strange := [key for key in own if key not in Profile.__dataclass_fields__ or key in ("name", "source")]:
            near = nearest(str(strange[0]), Profile.__dataclass_fields__)
            raise UserError(f"{where} has an unknown key '{strange[0]}'{near} under studies, {its}.")
    raw |= {**studies.get(study, {}), "studies": tuple(studies)}
    raw.setdefault("forms", list(prompts.FORMS))
    for key in (*ROLES, "models", "benchmarks", "efficient", "forms"):
        if not isinstance(raw.setdefault(key, []), list):
            raise UserError(f"{where} gives {raw[key]!r} as its {key}, which has to be a list.")
    if not raw["models"]:
        raise UserError(f"{where} names no model; list at least one under 'models'.")
    sampling = raw.get("sampling", {})
    raw["sampling"] = build(Sampling, sampling, where)
    if isinstance(raw.setdefault("synthesis", {}), dict):
        build(Sampling, {**sampling, **raw["synthesis"]}, where)
    raw["benchmarks"] = tuple(build(Benchmark, b, where) for b in raw["benchmarks"])
    listed = [build(Benchmark, b, where) for some in reported if isinstance(some, list) for b in some]
    raw["reported"] = tuple({b.path: b for b in listed}.values())
    raw["models"] = tuple(_model(m, sampling, where) for m in raw["models"])
    for kind in ("models", "benchmarks"):
        names = [item.name for item in raw[kind]]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise UserError(f"{where} has '{min(repeated)}' twice among its {kind}; make the names unique.")
    names = [m.name for m in raw["models"]]
    raw["efficient"] = raw["efficient"] or [names[max(0, len(names) - back)] for back in (3, 2, 1)]
    if len(raw["efficient"]) != 3:
        three = "three models: an explorer, a synthesizer, and the large model they are compared with"
        raise UserError(f"{where} gives {', '.join(map(str, raw['efficient']))} as 'efficient'; give {three}.")
    for role in ROLES:  # one that RL made a synthesizer of is that alone, unless the profile says otherwise
        raw[role] = raw[role] or [m.name for m in raw["models"] if role == "synthesizers" or not m.base]
    used = {**{role: raw[role] for role in (*ROLES, "efficient")}, "bases": [m.base for m in raw["models"] if m.base]}
    given = [(key, one, names, "models") for key in used for one in used[key]]
    given += [("forms", form, list(prompts.FORMS), "forms") for form in raw["forms"]]
    for key, one, known, what in given:
        if one not in known:
            near, but = nearest(str(one), known), f"but its {what} are {', '.join(known)}"
            raise UserError(f"{where} gives '{one}'{near} as one of its {key}, {but}.")
    made = build(Profile, raw | {key: tuple(raw[key]) for key in (*ROLES, "efficient", "forms")}, where)
    if made.engine not in ENGINES:
        near = nearest(made.engine, ENGINES)
        raise UserError(f"{where} names the engine '{made.engine}'{near}; choose {', '.join(ENGINES)}.")
    for form, text in made.prompts.items():
        prompts.check(form, str(text), where)
    return made


def registered(profile: str, name: str, model: Path, folder: Path) -> Path:
    """Write `folder`/<profile>-<folder of the model>.yaml: the profile with its model `name` taken from `model`;
    returns its path."""
    path, raw = _path(profile), raw_profile(profile)
    raw["models"] = [{**m, "path": str(model)} if m["name"] == name else m for m in raw["models"]]
    raw |= {key: str(ROOT / raw[key]) for key in ("store", "figures") if key in raw}  # not beside the new file
    made = folder / f"{path.stem}-{model.name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    made.write_text(f"# Made by a2r train-synthesizer from {path.name}.\n" + yaml.safe_dump(raw, sort_keys=False))
    return made


def raw_profile(name: str) -> dict:
    """The keys of a profile as its file and those that it extends have them; UserError as `load_profile`."""
    if not (path := _path(name)).exists():
        near, choice = nearest(name, available()), ", ".join(available())
        raise UserError(f"there is no profile '{name}'{near}; choose {choice} or give the path of a YAML file.")
    return _read(path)


def _path(name: str) -> Path:
    return Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"


class _Once(yaml.SafeLoader):
    """YAML in which a key that is given twice, of which the first would be lost, is an error."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.composer.ComposerError(None, None, f"the key '{key.value}' is there twice", key.start_mark)
            seen.add(str(key.value))
        return node


def _read(path: Path, heirs: tuple[str, ...] = ()) -> dict:
    """The keys of a profile's file, over those of the profile that it `extends`."""
    form = "see a2r/profiles/nano.yaml for the form"
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Once)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"profile {path} is not valid YAML ({line}{error.problem}); {form}.") from error
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"profile {path} cannot be read ({first_line(error)}); give a YAML file.") from error
    if not isinstance(raw, dict):
        raise UserError(f"profile {path} holds no keys; {form}.")
    if path.parent.resolve() != PROFILES:
        _beside(raw, path.parent.resolve())
    if "extends" not in raw:
        return raw
    base = str(raw.pop("extends"))
    file = next((f for f in (PROFILES / f"{base}.yaml", path.parent / base) if f.is_file()), None)
    if not file or base in heirs:
        wrong = "extends itself" if base in heirs else "does not exist"
        near = nearest(base, available()) if base not in heirs else ""
        choice = f"choose {', '.join(available())} or a file beside it"
        raise UserError(f"profile {path} extends '{base}'{near}, which {wrong}; {choice}.")
    parent = _read(file, (*heirs, base))
    both = [key for key in parent.keys() & raw.keys() if isinstance(parent[key], dict) and isinstance(raw[key], dict)]
    return {**parent, **raw, **{key: {**parent[key], **raw[key]} for key in both}}


def _beside(raw: dict, folder: Path) -> None:
    """Take the relative paths of a user's own profile from where that lies; what is not there is left as it is: the
    repository's, or on the hub."""
    own = raw["studies"].values() if isinstance(raw.get("studies"), dict) else ()
    for keys in (raw, *(keys for keys in own if isinstance(keys, dict))):
        for key in ("store", "figures"):  # may still have to be made
            if isinstance(keys.get(key), str):
                keys[key] = str(folder / keys[key])
        for item in [keys, *(keys.get("benchmarks") or [])]:
            for key in ("path", "prices"):
                if isinstance(item, dict) and isinstance(item.get(key), str) and (folder / item[key]).exists():
                    item[key] = str(folder / item[key])
        for model in keys.get("models") or []:
            if isinstance(model, dict):
                model.setdefault("beside", str(folder))


def _model(values: dict, sampling: dict, where: str) -> Model:
    """A model whose own `sampling` says only how it differs from the profile's."""
    if isinstance(values, dict) and isinstance(values.get("sampling"), dict):
        values = {**values, "sampling": build(Sampling, {**sampling, **values["sampling"]}, where)}
    return build(Model, values, where)


def build(kind: type, values: dict, where: str):
    """The dataclass `kind` from a mapping, its types and limits checked; UserError that begins with `where`."""
    what, known = kind.__name__.lower(), [f.name for f in fields(kind)]
    if not isinstance(values, dict):
        raise UserError(f"{where} gives {values!r} for a {what}, which has to be a mapping of keys to values.")
    for key in values:
        if key not in known:
            near = nearest(key, known)
            raise UserError(f"{where} has an unknown key '{key}'{near} for a {what}; known are {', '.join(known)}.")
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    if lacking := [key for key in needed if key not in values]:
        of = f" '{values['name']}'" if "name" in values else ""
        raise UserError(f"{where} gives the {what}{of} no '{lacking[0]}', which it needs.")
    return _check(kind(**values), where)


KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "a mapping"}
COUNTS = "n_paths n_sets n_syntheses n_problems rows max_tokens parameters gpus tokens_per_second steps updates prompts"
LIMITS = {
    **dict.fromkeys(f"{COUNTS} micro_batch save_steps eval_steps".split(), (lambda v: v >= 1, "at least 1")),
    "generations": (lambda v: v >= 2, "at least 2: a group is compared with itself"),
    **dict.fromkeys(("learning_rate", "epsilon", "epsilon_high"), (lambda v: 0 < v < math.inf, "above 0")),
    "held_out": (lambda v: v >= 0, "0 or more"),
    "temperature": (lambda v: 0 <= v < math.inf, "0 (greedy) or more"),
    "top_p": (lambda v: 0 < v <= 1, "above 0 and at most 1"),
    "top_k": (lambda v: v >= 0, "0 (off) or more"),
}


def _check(made, where: str):
    """`made` itself if each of its values is of the annotated type and within its limits; UserError if not."""
    for name, hint in get_type_hints(type(made)).items():
        value, hints = getattr(made, name), get_args(hint) if isinstance(hint, UnionType) else [hint]
        kinds = [get_origin(kind) or kind for kind in hints]
        within, words = LIMITS.get(name, (lambda _: True, ""))
        if not any(isinstance(value, (int, float) if k is float else k) for k in kinds) or (
            isinstance(value, bool) and bool not in kinds
        ):
            words = KINDS.get(kinds[0], f"a {kinds[0].__name__.lower()}")
        elif value is None or isinstance(value, dict) or within(value):
            continue
        raise UserError(f"{where} says that {name} is {value!r}; it has to be {words}.")
    return made
