"""Profiles: small YAML files that say which models, problems and sampling a study uses."""

import hashlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import yaml

from a2r.engines import Sampling
from a2r.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
PROFILES = Path(__file__).resolve().parent / "profiles"


@dataclass(frozen=True)
class Model:
    """A language model as a profile names it.

    `path` is a hub id or a local folder (relative ones from the repository's root); `parameters` is
    the number of active parameters (FLOPs, and the price where the price table has none).
    """

    name: str
    path: str
    revision: str | None = None
    parameters: float | None = None
    sampling: Sampling | None = None
    template: dict = field(default_factory=dict)

    @property
    def location(self) -> str:
        """The local folder if there is one, else the hub id."""
        local = ROOT / self.path
        return str(local) if local.exists() else self.path

    @property
    def identity(self) -> str:
        """What tells this model's samples from another's: the revision, or a hash of a local model's files."""
        folder = Path(self.location)
        if not folder.is_dir():
            return self.revision or "main"
        digest = hashlib.sha256()
        for file in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*.safetensors")]):
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Benchmark:
    """Where problems come from: a local file (parquet, jsonl, csv) or a hub data set with a pinned revision."""

    name: str
    path: str
    revision: str | None = None
    split: str = "train"
    columns: dict = field(default_factory=dict)  # ours -> theirs
    rows: int | None = None
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
    sampling: Sampling = Sampling()
    n_paths: int = 4
    n_sets: int = 4
    n_syntheses: int = 1
    n_problems: int | None = None
    seed: int = 0
    engine: str = "transformers"
    engine_options: dict = field(default_factory=dict)
    prices: str = "data/prices.csv"
    store: str = "runs/samples"

    @property
    def store_path(self) -> Path:
        return ROOT / self.store

    def model(self, name: str) -> Model:
        for model in self.models:
            if model.name == name:
                return model
        raise UserError(f"model '{name}' is not in profile '{self.name}'; it has {', '.join(m.name for m in self.models)}.")

    def sampling_of(self, name: str) -> Sampling:
        return self.model(name).sampling or self.sampling

    def with_(self, **changes) -> "Profile":
        """A copy with other values; a `temperature` changes the sampling of every model."""
        changes = {key: value for key, value in changes.items() if value is not None}
        temperature = changes.pop("temperature", None)
        profile = replace(self, **changes)
        if temperature is None:
            return profile
        if temperature < 0:
            raise UserError(f"temperature is {temperature}; it has to be 0 (greedy) or more.")
        models = tuple(replace(m, sampling=m.sampling and replace(m.sampling, temperature=temperature)) for m in self.models)
        return replace(profile, models=models, sampling=replace(self.sampling, temperature=temperature))


def available() -> list[str]:
    """Names of the profiles that come with the repository."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Load a profile by name, or from a path to a YAML file of the user's own.

    Raises UserError for an unknown name, a file that is not YAML, an unknown or missing key, or a role
    that names a model the profile does not have.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"there is no profile '{name}'; choose {', '.join(available())} or give the path of a YAML file.")
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"profile {path} is not valid YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(raw, dict):
        raise UserError(f"profile {path} holds no keys; see a2r/profiles/nano.yaml for the form.")
    if "extends" in raw:  # a profile may state only how it differs from another
        base = str(raw.pop("extends"))
        parent = yaml.safe_load((PROFILES / f"{base}.yaml").read_text()) if base in available() else None
        if parent is None:
            raise UserError(f"profile {path} extends '{base}', which does not exist; choose {', '.join(available())}.")
        raw = {**parent, **raw}
    raw["name"] = path.stem
    where = f"profile {path}"
    raw["models"] = tuple(_build(Model, {**m, "sampling": m.get("sampling") and _build(Sampling, m["sampling"], where)}, where) for m in raw.get("models", []))
    raw["benchmarks"] = tuple(_build(Benchmark, b, where) for b in raw.get("benchmarks", []))
    names = [m.name for m in raw["models"]]
    for role in ("explorers", "synthesizers", "symmetric"):
        raw[role] = tuple(raw.get(role, names))
        for model in raw[role]:
            if model not in names:
                raise UserError(f"{where} gives '{model}' as one of its {role}, but its models are {', '.join(names) or 'none'}.")
    if "sampling" in raw:
        raw["sampling"] = _build(Sampling, raw["sampling"], where)
    return _build(Profile, raw, where)


def _build(kind: type, values: dict, where: str):
    known = [f.name for f in fields(kind)]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise UserError(f"{where} has an unknown key '{unknown[0]}' for a {kind.__name__.lower()}; known are {', '.join(known)}.")
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"{where} lacks something a {kind.__name__.lower()} needs: {error}.") from error
