"""The command line, `a2r --help`: studies, their plans, reports and samples."""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from a2r.errors import StudyFailed, UserError
from a2r.profiles import ROOT, available, from_root, load_profile, registered


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments; `do` is the function of a command."""
    made = argparse.ArgumentParser(
        prog="a2r", description="Experiments with A2R: explorers sample, a synthesizer re-reasons."
    )
    commands = made.add_subparsers(required=True)

    def command(do: Callable, name: str, help: str, profile: bool = True, knobs: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help)
        added.set_defaults(do=do, usage=added)
        if profile:
            added.add_argument("--profile", default="nano", help="a name or the path of a YAML file (default: nano)")
        if knobs:
            more = {"action": "append", "default": [], "metavar": "KNOB=VALUE", "help": knobs}
            added.add_argument("-p", "--parameter", **more)
        return added

    run = command(
        *(run_studies, "run", "execute a study's notebook and leave tables and figures"),
        knobs="a parameter of the study, as often as needed",
    )
    run.add_argument("study", nargs="*", help="names of studies, see `a2r list`; none: all of them")
    lists = "run for every value (of lists: KNOB=a,b;c,d); several sweeps: for every combination"
    run.add_argument("--sweep", action="append", default=[], metavar="KNOB=V1,V2", help=lists)
    run.add_argument("--again", action="store_true", help="execute also what is up to date")
    widths = "how wide: 3.3, 6.75 (the default) or 10 inches"
    run.add_argument("--figures", choices=["column", "text", "slides"], help=widths)

    needs = "how many generations a profile's studies still need, with tokens and cost; samples nothing"
    command(plan_studies, "plan", needs, knobs="of all studies")
    command(check_profile, "check", "whether a profile's models, problems, engine, keys and disk are there")

    store = command(
        keep_store, "store", "what a profile's store of samples holds; verify, compact, export or import it"
    )
    store.add_argument("action", nargs="?", default="show", choices=["show", "verify", "compact", "export", "import"])
    store.add_argument("file", nargs="?", help="of export and import: one Parquet file")

    theirs = command(import_paths, "import", "take generations of others into the store; writes a profile over them")
    theirs.add_argument("what", choices=["paths"])
    theirs.add_argument("files", nargs="+", metavar="FILE")
    theirs.add_argument("--format", required=True, help="matharena, nemo-skills, lighteval, inspect or jsonl")
    theirs.add_argument("--as", dest="name", help="the name of the profile (default: that of the first file)")
    theirs.add_argument("--model", help="whose they are, where the files do not say")

    train = command(
        *(train_synthesizer, "train-synthesizer"),
        "RL of the profile's synthesizer, by its recipe `rl`; goes on where it stopped",
        knobs="another value in the recipe",
    )
    train.add_argument("--sets", action="store_true", help="only sample, check and count the sets to train on")
    train.add_argument("--out", help="where the model goes (default: the folder that the profile gives it)")

    report = command(write_report, "report", "one HTML page from the studies that have been run")
    report.add_argument("--against", metavar="PROFILE", help="another one beside it, paired over common problems")
    report.add_argument("--again", action="store_true", help="write it also where it is up to date")

    page = "one page in which every sample of a study can be read, searched and filtered"
    view = command(view_samples, "view", page, knobs="as the run had it: n_problems, n_paths, models, ...")
    view.add_argument("study", nargs="?", default="symmetric")
    view.add_argument("--pairs", help="explorer>synthesizer, separated by commas (default: every model in both roles)")

    compare = command(compare_results, "compare", "two results; or one and what is committed", profile=False)
    compare.add_argument("one", help="a profile's name, a folder below figures/, or any folder of results")
    compare.add_argument("other", nargs="?", default="committed", help="the same, or `committed` (default)")

    new = command(new_study, "new-study", "a notebook and a module of a study of your own", profile=False)
    new.add_argument("name")
    new.add_argument("--from", dest="source", default="symmetric", help="the study to start from (default: symmetric)")
    pages = "docs/executed from the last runs, README.md and docs/ from templates and tables"
    command(write_pages, "pages", pages, profile=False)
    command(list_studies, "list", "studies with their parameters, and profiles", profile=False)
    lab = command(open_lab, "lab", "open JupyterLab, the first notebook in view", profile=False)
    lab.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to jupyter lab")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 where a study failed, 2 for what a user can put right."""
    args, unknown = parser().parse_known_args(argv)
    if unknown:  # said with the usage of the command; `parse_args` would show that of `a2r`
        args.usage.error(f"unrecognized arguments: {' '.join(unknown)}")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        code = args.do(args)
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:  # who read has had enough, as in `a2r store | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes at its end
        return 0
    except (UserError, StudyFailed) as error:
        print(f"a2r: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print("a2r: interrupted; what was sampled is kept, and the same command goes on from there.", file=sys.stderr)
        return 130


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """KNOB=VALUE texts by knob."""
    for text in texts:
        if "=" not in text:
            raise UserError(f"'{option} {text}' is not of the form KNOB=VALUE.")
    return dict(text.split("=", 1) for text in texts)


def typed(texts: list[str]) -> dict:
    """KNOB=VALUE texts by knob, the values as YAML reads them."""
    import yaml

    return {name: yaml.safe_load(value) for name, value in pairs(texts, "-p").items()}


def listed(text: str) -> list[str]:
    """The values of `--sweep KNOB=...`: separated by commas, or by semicolons where a value is itself a list."""
    return text.split(";" if ";" in text else ",")


def run_studies(args: argparse.Namespace) -> None:
    """Refuses all before running any. How long is left is told by what the committed runs took, at this run's pace."""
    from a2r.lab import runner

    given, sweeps = pairs(args.parameter, "-p"), pairs(args.sweep, "--sweep")
    profile = given.pop("profile", args.profile)
    if args.figures:
        os.environ["A2R_FIGURES"] = args.figures
    combinations = [dict(zip(sweeps, v, strict=True)) for v in itertools.product(*map(listed, sweeps.values()))]
    todo = list(itertools.product(args.study or runner.runnable(profile), combinations))
    arguments = [(study, profile, {**given, **swept}) for study, swept in todo]
    why = ["as asked" if args.again else runner.stale(*each) for each in arguments]
    needed = [each for each, reason in zip(arguments, why, strict=True) if reason]
    for each in needed:
        runner.ready(*each)
    usual = [runner.minutes(each[0]) * (each in needed) for each in arguments]
    executed, took = [], 0.0
    with runner.side_by_side([each for each in needed if not runner.waits(each[0])]) as run:
        for i, each in enumerate(arguments):
            study, left = each[0], took and took / 60 / sum(usual[:i]) * sum(usual[i:])
            if reason := why[i] or (runner.stale(*each) if any(why[:i]) else None):
                about = f", about {max(1, round(left))} min left" if left else ""
                print(f"[{i + 1} of {len(todo)}{about}] {study}: {reason}", file=sys.stderr, flush=True)
                started = time.monotonic()
                executed.append(run(*each))
                took += (time.monotonic() - started) * (usual[i] > 0)
                made = runner.results(executed[-1])
                places = {"notebook": [from_root(executed[-1])], **made, "says": [], "failed": []}
                said = "; ".join(f"{kind} {_common(paths)}" for kind, paths in places.items() if paths)
                said = "\n  ".join([*made.get("says", [])[:1], *made.get("failed", []), said])
            else:
                executed.append(runner.planned(*each)[2])
                made = runner.results(executed[-1])
                said = f"up to date ({_common([*made['tables'], *made['figures']])})"
            print(f"{study}: {said}", flush=True)
    if sweeps:
        from a2r.lab.sweeps import collect

        for study in dict.fromkeys(study for study, _ in todo):
            runs = [(swept, run) for (name, swept), run in zip(todo, executed, strict=True) if name == study]
            for path in collect(load_profile(profile), runs, given):
                print(f"{study}: all runs in {from_root(path)}", flush=True)


def _common(paths: list[str]) -> str:
    """One path as it is; several as what their names begin with and a star."""
    return paths[0] if len(paths) == 1 else os.path.commonprefix(paths) + "*"  # noqa: RUF071 - the beginning of the names counts too


def plan_studies(args: argparse.Namespace) -> None:
    from a2r.lab import planning

    print(planning.described(load_profile(args.profile), typed(args.parameter)))


def check_profile(args: argparse.Namespace) -> int:
    from a2r.lab import checks

    found = checks.check(load_profile(args.profile))
    print("\n".join(f"{'ok  ' if c.ok else 'LACK'}  {c.what:24} {c.said}" for c in found))
    return int(not all(c.ok for c in found))


def keep_store(args: argparse.Namespace) -> int:
    from a2r.store import Store

    folder, writes = load_profile(args.profile).store_path, args.action in ("import", "compact")
    if (args.action in ("export", "import")) != (args.file is not None):
        raise UserError(f"'a2r store {args.action}' takes {'no' if args.file else 'a'} file.")
    if not writes and not folder.exists():
        raise UserError(f"there is no store {folder} yet; run a study or import one.")
    with Store(folder, writable=writes) as store:
        if args.action == "export":
            print(f"{store.export(args.file):,} samples in {args.file}")
        elif args.action == "import":
            print("{:,} of {:,} samples are new here".format(*store.bring_in(args.file)))
        elif args.action == "compact":
            print("{:,} part files are one now, with {:,} samples".format(*store.compact()))
        if args.action not in ("show", "verify"):
            return 0
        if args.action == "show" and len(store.read()):
            print(store.contents().to_string(index=False, float_format="%.2f"))
        count = store.verify() if args.action == "verify" else len(store.read())
    sizes, damaged = [part.stat().st_size for part in folder.glob("*.parquet")], sorted(folder.glob("*.damaged"))
    size = f"{len(sizes)} part files, {sum(sizes) / 1e6:.1f} MB"
    print(f"{folder}: {size}, {count:,} samples, {len(damaged)} damaged files")
    for file in damaged:
        print(f"damaged: {file} (its samples are asked for again; remove it when it is of no use any more)")
    return int(args.action == "verify" and bool(damaged))


def write_report(args: argparse.Namespace) -> None:
    from a2r.lab import runner

    labs = [load_profile(name) for name in (args.profile, args.against) if name]

    def write() -> list[Path]:
        from a2r.lab import report

        return [report.write(args.profile, args.against)]

    name = f"report__{'__'.join(lab.name for lab in labs)}"
    shown = [file for lab in labs for file in runner.RUNS.glob(f"*__{lab.name}*.ipynb")]
    places = [ROOT / "a2r", *(ROOT / lab.figures / lab.name for lab in labs), *shown]
    (page,), new = runner.once(name, places, write, args.again)
    print(f"report: {from_root(page) if new else f'up to date ({from_root(page)})'}")


def write_pages(args: argparse.Namespace) -> None:
    from a2r.lab import runner

    def write() -> list[Path]:
        from a2r.lab import pages

        return [*pages.keep_executed(), *pages.write()]

    shown = [ROOT / place for place in ("a2r", "docs", "figures", "notebooks", "data", "README.md")]
    made, new = runner.once("pages", [*shown, *runner.RUNS.glob("*.ipynb")], write)
    print("\n".join(map(from_root, made if new else [])) or "every page is as its template and tables give it")


def view_samples(args: argparse.Namespace) -> None:
    from a2r.lab import view

    given = pairs(args.parameter, "-p")
    profile = given.pop("profile", args.profile)
    print(f"view: {from_root(view.write(profile, args.study, args.pairs and args.pairs.split(','), given))}")


def compare_results(args: argparse.Namespace) -> int:
    from a2r.lab import compare

    said, equal = compare.described(args.one, args.other)
    print(said)
    return int(not equal and compare.COMMITTED in (args.one, args.other))


def new_study(args: argparse.Namespace) -> None:
    from a2r.lab import scaffold

    for path in scaffold.new_study(args.name, args.source):
        print(f"{from_root(path)}: look for {scaffold.MARK}")


def import_paths(args: argparse.Namespace) -> None:
    from a2r.lab import imports

    files = [Path(file) for file in args.files]
    made = imports.bring(files, args.format, args.profile, args.name or files[0].stem, args.model)
    for line in made.bad:
        print(f"left out: {line}", file=sys.stderr)
    counts = "; ".join(f"{n:,} paths of {model}" for model, n in made.paths.items())
    print(f"{counts}; {made.problems:,} problems; profile {from_root(made.profile)}")


def train_synthesizer(args: argparse.Namespace) -> None:
    from a2r.training import rl

    lab = load_profile(args.profile)
    recipe = rl.of(lab, **typed(args.parameter))
    if args.sets:
        sets, held_out = rl.training_sets(lab, recipe)
        counts = ", ".join(f"{state} right: {count:,}" for state, count in sets.state.value_counts().items())
        print(f"{len(sets):,} sets to train on ({counts}), {len(held_out):,} held out;", end=" ")
        print("no training problem is a reported one.")
        return
    own = ROOT / lab.model(recipe.name).path
    folder = Path(args.out).resolve() if args.out else own
    record = rl.train_synthesizer(lab, recipe, folder)
    minutes = record["seconds"] / 60
    print(f"{recipe.name}: {recipe.steps} steps, {minutes:.1f} minutes; model and curves in {from_root(folder)}")
    if folder != own:
        path = registered(args.profile, recipe.name, folder, rl.WORK)
        print(f"profile with it in place of {lab.model(recipe.name).path}: {from_root(path)}")


def list_studies(args: argparse.Namespace) -> None:
    from a2r.lab import runner

    for name, notebook in runner.available().items():
        knobs = ", ".join(f"{k}={v!r}" for k, v in runner.parameters_of(notebook).items())
        print(f"{name:12} {notebook.name}\n{'':12} {knobs}")
    print(f"{'profiles':12} {', '.join(available())}")


def open_lab(args: argparse.Namespace) -> int:
    from a2r.lab import runner

    first = from_root(next(path for path in runner.available().values() if path.name.startswith("01")))
    command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={ROOT}", f"--LabApp.default_url=/lab/tree/{first}"]
    return subprocess.call([*command, *args.arguments])


if __name__ == "__main__":
    sys.exit(main())
