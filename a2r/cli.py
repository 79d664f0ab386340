"""The command line: `a2r run`, `a2r list`, `a2r lab`."""

import argparse
import os
import subprocess
import sys

from a2r.errors import UserError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="a2r", description="Experiments with A2R: explorers sample, a synthesizer re-reasons.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute a study's notebook and leave tables and figures")
    run.add_argument("study", nargs="+", help="names of studies, see `a2r list`")
    run.add_argument("--profile", default="nano", help="a profile's name or the path of a YAML file (default: nano)")
    run.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="KNOB=VALUE", help="a parameter of the study, as often as needed"
    )
    commands.add_parser("list", help="studies with their parameters, and profiles")
    lab = commands.add_parser("lab", help="open JupyterLab on the notebooks")
    lab.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to jupyter lab")
    args = parser.parse_args(argv)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        return {"run": run_studies, "list": list_studies, "lab": open_lab}[args.command](args)
    except UserError as error:
        print(f"a2r: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("a2r: interrupted; what was sampled is kept, and the same command goes on from there.", file=sys.stderr)
        return 130


def run_studies(args: argparse.Namespace) -> int:
    from a2r import studies
    from a2r.study import from_root

    parameters = {}
    for pair in args.parameter:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"'-p {pair}' is not of the form KNOB=VALUE.")
        parameters[name] = value
    profile = parameters.pop("profile", args.profile)
    for study in args.study:  # refuse all before running any
        studies.check_parameters(studies.find(study), parameters)
    for study in args.study:
        try:
            executed = studies.run(study, profile, parameters)
        except studies.StudyFailed as failure:
            print(f"a2r: {failure}", file=sys.stderr)
            return 1
        made = studies.results(executed)
        where = "; ".join(f"{kind} {_common(paths)}" for kind, paths in made.items() if paths)
        print(f"{study}: notebook {from_root(executed)}; {where}", flush=True)
    return 0


def _common(paths: list[str]) -> str:
    """One path as it is; several as what their names begin with and a star."""
    return paths[0] if len(paths) == 1 else os.path.commonprefix(paths) + "*"  # noqa: RUF071 - the beginning of the names counts too


def list_studies(args: argparse.Namespace) -> int:
    from a2r import profiles, studies

    for name, notebook in studies.available().items():
        knobs = ", ".join(f"{k}={v!r}" for k, v in studies.parameters_of(notebook).items())
        print(f"{name:12} {notebook.name}\n{'':12} {knobs}")
    print(f"{'profiles':12} {', '.join(profiles.available())}")
    return 0


def open_lab(args: argparse.Namespace) -> int:
    from a2r.studies import NOTEBOOKS

    return subprocess.call([sys.executable, "-m", "jupyterlab", str(NOTEBOOKS), *args.arguments])


if __name__ == "__main__":
    sys.exit(main())
