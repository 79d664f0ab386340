"""The command line, `a2r --help`: studies, their plans, reports and samples."""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from a2r.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    made = argparse.ArgumentParser(
        prog="a2r", description="Experiments with A2R: explorers sample, a synthesizer re-reasons."
    )
    commands = made.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute a study's notebook and leave tables and figures")
    run.add_argument("study", nargs="*", help="names of studies, see `a2r list`; none: all of them")
    run.add_argument("--profile", default="nano", help="a profile's name or the path of a YAML file (default: nano)")
    run.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="KNOB=VALUE",
        help="a parameter of the study, as often as needed",
    )
    run.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="KNOB=V1,V2",
        help="run for every value (of lists: KNOB=a,b;c,d); several sweeps: for every combination",
    )
    run.add_argument("--again", action="store_true", help="execute also what is up to date")
    run.add_argument(
        "--figures", choices=["column", "text", "slides"], help="how wide: 3.3, 6.75 (the default) or 10 inches"
    )
    plan = commands.add_parser(
        "plan", help="how many generations a profile's studies still need, with tokens and cost; samples nothing"
    )
    plan.add_argument("--profile", default="nano")
    plan.add_argument("-p", "--parameter", action="append", default=[], metavar="KNOB=VALUE", help="of all studies")
    check = commands.add_parser(
        "check", help="whether a profile's models, problems, engine, keys and disk are there; samples nothing"
    )
    check.add_argument("--profile", default="nano")
    store = commands.add_parser(
        "store", help="what a profile's store of samples holds; verify, compact, export or import it"
    )
    store.add_argument("action", nargs="?", default="show", choices=["show", "verify", "compact", "export", "import"])
    store.add_argument("file", nargs="?", help="of export and import: one Parquet file")
    store.add_argument("--profile", default="nano")
    theirs = commands.add_parser("import", help="take generations of others into the store; writes a profile over them")
    theirs.add_argument("what", choices=["paths"])
    theirs.add_argument("files", nargs="+", metavar="FILE")
    theirs.add_argument("--format", required=True, help="matharena, nemo-skills, lighteval, inspect or jsonl")
    theirs.add_argument("--as", dest="name", help="the name of the profile (default: that of the first file)")
    theirs.add_argument("--model", help="whose they are, where the files do not say")
    theirs.add_argument("--profile", default="nano", help="the profile whose models may read them (default: nano)")
    train = commands.add_parser(
        "train-synthesizer", help="RL of the profile's synthesizer, by its recipe `rl`; goes on where it stopped"
    )
    train.add_argument("--profile", default="nano")
    train.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="KEY=VALUE", help="another value in the recipe"
    )
    train.add_argument(
        "--sets", action="store_true", help="only sample, check and count the sets to train on; train nothing"
    )
    train.add_argument("--out", help="where the model goes (default: the folder that the profile gives it)")
    report = commands.add_parser("report", help="one HTML page from the studies that have been run")
    report.add_argument("--profile", default="nano")
    report.add_argument(
        "--against", metavar="PROFILE", help="another profile beside it, paired where problems are the same"
    )
    report.add_argument("--again", action="store_true", help="write it also where it is up to date")
    view = commands.add_parser(
        "view", help="one page in which every sample of a study can be read, searched and filtered"
    )
    view.add_argument("study", nargs="?", default="symmetric")
    view.add_argument("--profile", default="nano")
    view.add_argument("--pairs", help="explorer>synthesizer, separated by commas (default: every model in both roles)")
    compare = commands.add_parser(
        "compare", help="two profiles, runs or folders of results; or one and what is committed"
    )
    compare.add_argument("one", help="a profile's name, a folder below figures/, or any folder of results")
    compare.add_argument(
        "other", nargs="?", default="committed", help="the same, or `committed` (default): what git has"
    )
    new = commands.add_parser(
        "new-study", help="a notebook and a module of a study of your own, from one that is there"
    )
    new.add_argument("name")
    new.add_argument("--from", dest="source", default="symmetric", help="the study to start from (default: symmetric)")
    commands.add_parser("pages", help="docs/executed from the last runs, README.md and docs/ from templates and tables")
    commands.add_parser("list", help="studies with their parameters, and profiles")
    lab = commands.add_parser("lab", help="open JupyterLab, the first notebook in view")
    lab.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to jupyter lab")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 where a study failed, 2 for what a user can put right."""
    args = parser().parse_args(argv)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        code = COMMANDS[args.command](args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who read has had enough, as in `a2r store | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes at its end
        return 0
    except UserError as error:
        print(f"a2r: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("a2r: interrupted; what was sampled is kept, and the same command goes on from there.", file=sys.stderr)
        return 130


def run_studies(args: argparse.Namespace) -> int:
    from a2r.lab import runner
    from a2r.profiles import from_root, load_profile

    parameters = dict(pair(text, "-p") for text in args.parameter)
    profile = parameters.pop("profile", args.profile)
    sweeps = {name: listed(values) for name, values in (pair(text, "--sweep") for text in args.sweep)}
    if args.figures:
        os.environ["A2R_FIGURES"] = args.figures
    combinations = [dict(zip(sweeps, values, strict=True)) for values in itertools.product(*sweeps.values())]
    chosen = args.study or runner.runnable(profile)
    # refuse all before running any, and learn how long each took the last time
    before = {
        (study, i): runner.seconds(study, profile, {**parameters, **swept})
        for study in chosen
        for i, swept in enumerate(combinations)
    }
    took: list[float] = []
    for study in chosen:
        runs = []
        for i, swept in enumerate(combinations):
            values = {**parameters, **swept}
            expected = before.pop((study, i))
            said = "as asked" if args.again else runner.stale(study, profile, values)
            if said is None:
                executed = runner.planned(study, profile, values)[2]
                made = runner.results(executed)
                print(f"{study}: up to date ({_common([*made['tables'], *made['figures']])})", flush=True)
            else:
                usual = sum(took) / len(took) if took else None
                left = [seconds or usual for seconds in (expected, *before.values())]
                about = "" if None in left else f", about {max(1, round(sum(left) / 60))} min left"
                total = len(chosen) * len(combinations)
                print(f"[{total - len(before)} of {total}{about}] {study}: {said}", file=sys.stderr, flush=True)
                started = time.monotonic()
                try:
                    executed = runner.run(study, profile, values)
                except runner.StudyFailed as failure:
                    print(f"a2r: {failure}", file=sys.stderr)
                    return 1
                took.append(time.monotonic() - started)
                where = "; ".join(
                    f"{kind} {_common(paths)}" for kind, paths in runner.results(executed).items() if paths
                )
                print(f"{study}: notebook {from_root(executed)}; {where}", flush=True)
            runs.append((swept, executed))
        if sweeps:
            from a2r.lab import sweeps as lab_sweeps

            for path in lab_sweeps.collect(load_profile(profile), runs):
                print(f"{study}: all runs in {from_root(path)}", flush=True)
    return 0


def pair(text: str, option: str) -> tuple[str, str]:
    """KNOB=VALUE as (knob, value)."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"'{option} {text}' is not of the form KNOB=VALUE.")
    return name, value


def listed(text: str) -> list[str]:
    """The values of `--sweep KNOB=...`: separated by commas, or by semicolons where a value is itself a list."""
    return text.split(";" if ";" in text else ",")


def plan_studies(args: argparse.Namespace) -> int:
    import yaml

    from a2r import profiles
    from a2r.lab import planning

    knobs = {name: yaml.safe_load(value) for name, value in (pair(text, "-p") for text in args.parameter)}
    print(planning.described(profiles.load_profile(args.profile), knobs))
    return 0


def check_profile(args: argparse.Namespace) -> int:
    from a2r import profiles
    from a2r.lab import checks

    found = checks.check(profiles.load_profile(args.profile))
    print("\n".join(f"{'ok  ' if c.ok else 'LACK'}  {c.what:24} {c.said}" for c in found))
    return 0 if all(c.ok for c in found) else 1


def keep_store(args: argparse.Namespace) -> int:
    from a2r.profiles import load_profile
    from a2r.store import Store

    folder = load_profile(args.profile).store_path
    if (args.action in ("export", "import")) != (args.file is not None):
        raise UserError(f"'a2r store {args.action}' takes {'no' if args.file else 'a'} file.")
    if args.action not in ("import", "compact") and not folder.exists():
        raise UserError(f"there is no store {folder} yet; run a study or import one.")
    with Store(folder, writable=args.action in ("import", "compact")) as store:
        if args.action == "export":
            print(f"{store.export(args.file):,} samples in {args.file}")
        elif args.action == "import":
            print("{:,} of {:,} samples are new here".format(*store.bring_in(args.file)))
        elif args.action == "compact":
            print("{:,} part files are one now, with {:,} samples".format(*store.compact()))
        else:
            if args.action == "show":
                print(store.contents().to_string(index=False, float_format="%.2f"))
            count = store.verify() if args.action == "verify" else len(store.read())
            sizes, damaged = (
                [part.stat().st_size for part in folder.glob("*.parquet")],
                sorted(folder.glob("*.damaged")),
            )
            size = f"{len(sizes)} part files, {sum(sizes) / 1e6:.1f} MB"
            print(f"{folder}: {size}, {count:,} samples, {len(damaged)} damaged files")
            for file in damaged:
                print(f"damaged: {file} (its samples are asked for again; remove it when it is of no use any more)")
            return int(args.action == "verify" and bool(damaged))
    return 0


def write_report(args: argparse.Namespace) -> int:
    from a2r.lab import runner
    from a2r.profiles import ROOT, from_root, load_profile

    profiles = [load_profile(name) for name in (args.profile, args.against) if name]
    stamp = runner.RUNS / f"report__{'__'.join(lab.name for lab in profiles)}.json"
    shown = [file for file in (ROOT / "a2r").rglob("*.*") if file.suffix != ".pyc"]
    for lab in profiles:
        shown += [*runner.RUNS.glob(f"*__{lab.name}*.ipynb"), *(ROOT / lab.figures / lab.name).rglob("*.*")]
    before = json.loads(stamp.read_text()) if stamp.exists() else {}
    if not args.again and before.get("files") == runner.digests([*shown, Path(before.get("page", ""))]):
        print(f"report: up to date ({from_root(Path(before['page']))})")
        return 0
    from a2r.lab import report

    page = report.write(args.profile, args.against)
    stamp.write_text(json.dumps({"page": str(page), "files": runner.digests([*shown, page])}))
    print(f"report: {from_root(page)}")
    return 0


def view_samples(args: argparse.Namespace) -> int:
    from a2r.lab import view
    from a2r.profiles import from_root

    print(f"view: {from_root(view.write(args.profile, args.study, args.pairs and args.pairs.split(',')))}")
    return 0


def compare_results(args: argparse.Namespace) -> int:
    from a2r.lab import compare

    said, equal = compare.described(args.one, args.other)
    print(said)
    return 0 if equal or compare.COMMITTED not in (args.one, args.other) else 1


def new_study(args: argparse.Namespace) -> int:
    from a2r.lab import scaffold
    from a2r.profiles import from_root

    for path in scaffold.new_study(args.name, args.source):
        print(f"{from_root(path)}: look for {scaffold.MARK}")
    return 0


def write_pages(args: argparse.Namespace) -> int:
    from a2r.lab import pages
    from a2r.profiles import from_root

    print(
        "\n".join(map(from_root, [*pages.keep_executed(), *pages.write()]))
        or "every page is as its template and tables give it"
    )
    return 0


def import_paths(args: argparse.Namespace) -> int:
    from a2r.lab import imports
    from a2r.results.study import from_root

    files = [Path(file) for file in args.files]
    made = imports.bring(files, args.format, args.profile, args.name or files[0].stem, args.model)
    for line in made.bad:
        print(f"left out: {line}", file=sys.stderr)
    counts = "; ".join(f"{n:,} paths of {model}" for model, n in made.paths.items())
    print(f"{counts}; {made.problems:,} problems; profile {from_root(made.profile)}")
    return 0


def train_synthesizer(args: argparse.Namespace) -> int:
    import yaml

    from a2r.profiles import ROOT, from_root, load_profile, registered
    from a2r.training import rl

    lab = load_profile(args.profile)
    recipe = rl.of(
        lab, **{name: yaml.safe_load(value) for name, value in (pair(text, "-p") for text in args.parameter)}
    )
    if args.sets:
        sets, held_out = rl.training_sets(lab, recipe)
        counts = ", ".join(f"{state} right: {count:,}" for state, count in sets.state.value_counts().items())
        print(
            f"{len(sets):,} sets to train on ({counts}), {len(held_out):,} held out; "
            "no training problem is a reported one."
        )
        return 0
    own = ROOT / lab.model(recipe.name).path
    folder = Path(args.out).resolve() if args.out else own
    record = rl.train_synthesizer(lab, recipe, folder)
    print(
        f"{recipe.name}: {recipe.steps} steps, {record['seconds'] / 60:.1f} minutes; "
        f"model and curves in {from_root(folder)}"
    )
    if folder != own:
        path = registered(args.profile, recipe.name, folder, rl.WORK)
        print(f"profile with it in place of {lab.model(recipe.name).path}: {from_root(path)}")
    return 0


def _common(paths: list[str]) -> str:
    """One path as it is; several as what their names begin with and a star."""
    return paths[0] if len(paths) == 1 else os.path.commonprefix(paths) + "*"  # noqa: RUF071 - the beginning of the names counts too


def list_studies(args: argparse.Namespace) -> int:
    from a2r import profiles
    from a2r.lab import runner

    for name, notebook in runner.available().items():
        knobs = ", ".join(f"{k}={v!r}" for k, v in runner.parameters_of(notebook).items())
        print(f"{name:12} {notebook.name}\n{'':12} {knobs}")
    print(f"{'profiles':12} {', '.join(profiles.available())}")
    return 0


def open_lab(args: argparse.Namespace) -> int:
    from a2r.lab.runner import available
    from a2r.profiles import ROOT, from_root

    first = from_root(next(path for path in available().values() if path.name.startswith("01")))
    command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={ROOT}", f"--LabApp.default_url=/lab/tree/{first}"]
    return subprocess.call([*command, *args.arguments])


COMMANDS = {
    **{"run": run_studies, "list": list_studies, "plan": plan_studies, "check": check_profile, "store": keep_store},
    **{"import": import_paths, "train-synthesizer": train_synthesizer, "report": write_report, "view": view_samples},
    **{"compare": compare_results, "new-study": new_study, "pages": write_pages, "lab": open_lab},
}

if __name__ == "__main__":
    sys.exit(main())
