"""One self-contained HTML page from the executed notebooks of a profile: scorecard first, provenance last."""

import json
import re
from pathlib import Path

import nbformat

from a2r.errors import UserError
from a2r.lab.runner import RUNS, available, results
from a2r.profiles import ROOT, load_profile

REPORTS = ROOT / "runs" / "reports"
FIRST = "claims"


def executed(profile: str) -> dict[str, Path]:
    """Finished runs of the profile's studies with their own knobs, by study, the scorecard first."""
    found = {name: RUNS / f"{notebook.stem}__{Path(profile).stem}.ipynb" for name, notebook in available().items()}
    finished = {name: path for name, path in found.items() if path.exists() and results(path)}
    return dict(sorted(finished.items(), key=lambda item: item[0] != FIRST))


def write(profile: str) -> Path:
    """Write runs/reports/<profile>.html from whatever studies have been run; returns its path.

    Raises UserError if none has. The page needs no network: figures, styles and tables are inside it.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    lab = load_profile(profile)
    runs = executed(profile)
    if not runs:
        raise UserError(
            f"no study of profile '{lab.name}' has been run to its end; "
            f"run one first, as in `a2r run symmetric --profile {profile}`."
        )
    cells = [nbformat.v4.new_markdown_cell(_opening(lab, runs))]
    for name, path in runs.items():
        notebook = nbformat.read(path, as_version=4)
        cells.append(nbformat.v4.new_markdown_cell(f'<a id="{name}"></a>\n\n---'))
        cells += [cell for cell in map(_shown, notebook.cells) if cell is not None]
    cells.append(nbformat.v4.new_markdown_cell(_provenance(lab, runs)))
    config = Config()
    config.HTMLExporter.exclude_input = config.HTMLExporter.exclude_output_prompt = (
        config.HTMLExporter.exclude_anchor_links
    ) = True
    config.HTMLExporter.mathjax_url = config.HTMLExporter.require_js_url = config.HTMLExporter.jquery_url = ""
    merged = nbformat.v4.new_notebook(
        cells=cells, metadata={"title": f"A2R report: {lab.name}", "language_info": {"name": "python"}}
    )
    page, _ = HTMLExporter(config=config).from_notebook_node(merged)
    # nbconvert asks for MathJax, mermaid and the like from the network even where nothing uses them
    page = _offline(page)
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = REPORTS / f"{lab.name}.html"
    path.write_text(page, encoding="utf-8")
    return path


def _opening(lab, runs: dict[str, Path]) -> str:
    listed = "\n".join(
        f"- [{nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].lstrip('# ')}](#{name})"
        for name, path in runs.items()
    )
    missing = ", ".join(name for name in available() if name not in runs)
    note = f"\n\nNot run on this profile yet: {missing}." if missing else ""
    return f"# A2R on profile `{lab.name}`\n\n{listed}\n- [Provenance](#provenance){note}"


def _shown(cell):
    """A cell as the report shows it: text, and outputs without progress bars; None if nothing is left."""
    if cell.cell_type == "markdown":
        return nbformat.v4.new_markdown_cell(cell.source)  # with an id of its own: the notebooks' would repeat
    outputs = [o for o in cell.get("outputs", []) if not (o.output_type == "stream" and o.name == "stderr")]
    if (
        "parameters" in cell.metadata.get("tags", [])
        or "injected-parameters" in cell.metadata.get("tags", [])
        or not outputs
    ):
        return None
    if any("application/vnd.a2r+json" in o.get("data", {}) for o in outputs):
        return None  # where files were saved
    return nbformat.v4.new_code_cell(outputs=outputs)


def _provenance(lab, runs: dict[str, Path]) -> str:
    lines = ['<a id="provenance"></a>\n\n---\n\n# Provenance\n']
    for name in runs:
        path = ROOT / lab.figures / lab.name / f"{name}.json"
        if path.exists():
            lines.append(f"**{name}**\n\n```json\n{json.dumps(json.loads(path.read_text()), indent=1)}\n```\n")
    return "\n".join(lines)


def _offline(page: str) -> str:
    """The page without scripts and links that point to the network."""
    page = re.sub(r"<script[^>]*>(?:(?!</script>).)*https?://(?:(?!</script>).)*</script>", "", page, flags=re.DOTALL)
    page = re.sub(r"<script[^>]*src=\"https?://[^>]*></script>", "", page)
    return re.sub(r"<link[^>]*href=\"https?://[^>]*>", "", page)
