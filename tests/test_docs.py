"""The documentation says what is: commands, examples, figures, links and reference pages.

A fenced block is ``bash``, ``yaml``, ``python`` or ``text``. Each command of ``bash`` is run in a fresh copy of the
project if it is in CHEAP or OWN; of any other, program, options, targets and keys must exist. ``yaml`` begins with a
comment that names its file, and is valid there. ``python`` imports what there is; that of docs/python.md runs, in
tests/api. ``text`` has a test of its own.
"""

import ast
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from dvc.cli import parse_args
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
from filelock import FileLock
from gto.cli import app as gto
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from quadrat.cli import app
from quadrat.errors import CatalogError
from quadrat.evaluation.score_tables import read_scores
from quadrat.params import Params, check_params
from quadrat.runtime.formats.yaml import check
from quadrat.runtime.run import Paths
from quadrat.scenes.catalog import Catalog
from tests.ground import pixel_box, smooth, write_areas, write_raster
from tests.project import clone, here, script_module

ROOT = Path(__file__).parents[1]
OTHERS = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])
PAGES = ["README.md", "CHANGELOG.md", *(str(file.relative_to(ROOT)) for file in OTHERS)]
CHEAP = {
    "quadrat --help",
    "dvc dag",
    "dvc status",
    "dvc metrics show",
    "dvc metrics diff",
    "dvc exp show --only-changed",
}
OWN = ["dvc add data/raw/town", "quadrat check", "dvc repro analyze"]
"""The commands of the README's example of your own data that are run with its catalog and parameters."""


class Block(NamedTuple):
    page: str
    language: str
    heading: str
    content: str


def blocks(language: str, page: str | None = None) -> Iterator[Block]:
    for name in PAGES if page is None else [page]:
        heading, fence, lines = "", None, list[str]()
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("```") and fence is None:
                fence, lines = line[3:], []
            elif line == "```":
                assert fence in {"bash", "yaml", "python", "text"}, f"{name}: nothing checks a block '{fence}'"
                if fence == language:
                    yield Block(name, fence, heading, "\n".join(lines))
                fence = None
            elif fence is not None:
                lines.append(line)
            elif line.startswith("#"):
                heading = line.lstrip("# ")


COMMANDS = [
    (block, shlex.join(words))
    for block in blocks("bash")
    for line in block.content.splitlines()
    if (words := shlex.split(line, comments=True))
]


def read(file: Path) -> Any:
    return YAML(typ="safe", pure=True).load(file)


def pipeline() -> dict[str, Any]:
    return read(ROOT / "dvc.yaml")["stages"]


def outs(stage: dict[str, Any]) -> list[str]:
    entries = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def run(command: str, folder: Path) -> str:
    """Run a command of the docs as a user does, with the environment that the tests run in."""
    words = shlex.split(command)
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": here, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": "src", "COLUMNS": "200"}
    words = [sys.executable, "-m", *words] if words[0] in {"quadrat", "dvc"} else words
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, shared: Path, landuse: Path, trees: Path) -> Path:
    """Return the project as git sees it, elsewhere, with the samples fetched."""
    made = shared / "with-samples"
    with FileLock(shared / "with-samples.lock"):  # workers make it once
        if not made.exists():
            clone(shared / "with-samples.part", landuse, trees).rename(made)
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("project"), symlinks=True, dirs_exist_ok=True))


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return script_module("reference")


@pytest.mark.parametrize("page", ["parameters", "catalog"])
def test_reference_pages_are_what_the_models_say(reference: ModuleType, page: str) -> None:
    written = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    assert written == getattr(reference, page)(), "run: PYTHONPATH=src python scripts/reference.py"


@pytest.mark.parametrize("page", ["parameters", "catalog"])
def test_every_key_has_a_meaning(page: str) -> None:
    rows = [line for line in (ROOT / f"docs/{page}.md").read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    assert [row for row in rows if row.split(" | ")[2].strip(" |") == ""] == [], "give these fields docstrings"


@pytest.mark.parametrize("command", sorted({command for _, command in COMMANDS} & CHEAP))
def test_commands_run(copy: Path, command: str) -> None:
    assert run(command, copy) or command == "dvc metrics diff"


SETTINGS = ("QUADRAT_", "PYTHONPATH=")
"""How variables begin that are set before commands."""


def _without_settings(command: str) -> list[str]:
    words = [word for word in shlex.split(command) if word != "&"]
    while "=" in words[0]:
        assert words.pop(0).startswith(SETTINGS)
    return words


@pytest.mark.parametrize("command", sorted({command for _, command in COMMANDS} - {*CHEAP, *OWN}))
def test_costly_commands_have_what_they_name(copy: Path, command: str, tmp_path: Path) -> None:
    program, *words = _without_settings(command)
    match program:
        case "dask":
            (found,) = entry_points(group="dask_cli", name=words[0])
            found.load().make_context(words[0], words[1:])
        case "export":
            assert words[0].startswith(SETTINGS)
        case "make":
            assert run(f"make --dry-run {shlex.join(words)}", copy)
        case "quadrat":
            group: Any = typer.main.get_command(app)
            name, taken, rest = group.resolve_command(group.make_context("quadrat", list(words)), list(words))
            taken.make_context(name, rest)
        case "torchrun":
            from torch.distributed.run import get_args_parser

            given = get_args_parser().parse_args(words)
            assert (given.module, given.training_script, given.training_script_args) == (True, "quadrat", ["train"])
        case "dvc":
            arguments = parse_args(words)
            _check_dvc(arguments, tmp_path)
        case "gto":
            name, taken, rest = gto.resolve_command(gto.make_context("gto", list(words)), list(words))
            taken.make_context(name, rest)
            assert name == "show" or words[1] in read(ROOT / "dvc.yaml")["artifacts"]
        case "cp":
            assert (copy / words[0]).is_file() or words[0] in {o for stage in pipeline().values() for o in outs(stage)}
            assert (copy / words[1]).parent.is_dir()
        case "git":
            assert words[0] == "checkout"
            assert all(name == "HEAD" or (copy / name).exists() for name in words[1:])
        case _:
            assert command == ". .venv/bin/activate", "say in this test how this command is checked"
            assert ".venv" in (ROOT / "scripts/setup").read_text(encoding="utf-8")


def _check_dvc(arguments: Any, folder: Path) -> None:
    if arguments.cmd == "repro":
        assert set(arguments.targets) <= set(pipeline())
    settings = getattr(arguments, "set_param", None) or []
    for choice in get_hydra_sweeps({"params.yaml": settings}):
        shutil.copy(ROOT / "params.yaml", folder)
        apply_overrides(folder / "params.yaml", choice["params.yaml"])
        check_params(read(folder / "params.yaml"), Path("params.yaml"))


@pytest.mark.parametrize(
    "block", [*blocks("yaml")], ids=lambda block: f"{block.page} {block.content.partition('.')[0]}"
)
def test_yaml_examples_are_valid(block: Block) -> None:
    first = block.content.splitlines()[0]
    assert re.fullmatch(r"# \S+\.yaml", first), "an example begins with a comment that names its file"
    file, content = Path(first[2:]), YAML(typ="safe", pure=True).load(block.content)
    if file == Path("params.yaml"):
        check_params({**read(ROOT / "params.yaml"), **content}, file)
    elif {"images", "scenes"} <= set(content):
        check(content, Catalog, CatalogError, file)
    else:  # a part of a catalog
        for key, value in content.items():
            adapter: TypeAdapter[Any] = TypeAdapter(Catalog.model_fields[key].annotation)
            adapter.validate_json(json.dumps(value, default=str))  # dates are text


@pytest.mark.parametrize("block", [b for b in blocks("python") if b.page != "docs/python.md"], ids=lambda b: b.page)
def test_python_examples_import_what_there_is(block: Block) -> None:
    imports = [node for node in ast.walk(ast.parse(block.content)) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, name.name) for name in node.names)


@pytest.mark.slow
def test_the_example_of_your_own_data_works(copy: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(copy, tmp_path / "project"))
    for block in blocks("yaml", "README.md"):
        file = project / block.content.splitlines()[0][2:]
        before = read(file) if file.exists() else {}
        file.write_text(json.dumps({**before, **YAML(typ="safe").load(block.content)}))  # JSON is YAML
    _make_town(project)
    assert [command for block, command in COMMANDS if block.heading == "Your own data"] == [*OWN, "dvc repro"]
    for command in OWN:
        here(command.removeprefix("quadrat "), project) if command.startswith("quadrat") else run(command, project)
    found = json.loads((project / "metrics/analyze.json").read_text())
    assert [*found] == ["train", "validation", "test"]
    assert (project / "data/analysis/warnings.txt").read_text() == "no warnings\n"


def _make_town(project: Path) -> None:
    pixels = np.stack([smooth((90, 60), seed) * 5000 + 1 for seed in range(4)]).astype(np.uint16)
    write_raster(project / "data/raw/town/image.tif", pixels, nodata=0)
    uses = ["house", "garden", "road", "meadow"]
    stripes = [pixel_box(15 * n, 0, 15 * n + 15, 90) for n in range(4)]
    write_areas(project / "data/raw/town/parcels.gpkg", stripes, {"use": uses})
    for name, top in (("north", 0), ("middle", 32), ("south", 64)):
        area = pixel_box(0, top, 60, top + 26)
        write_areas(project / f"data/aoi/town/{name}.geojson", [area], to_crs="EPSG:4326")


def test_the_dag_of_the_readme_is_that_of_the_pipeline() -> None:
    (table,) = (block.content for block in blocks("text", "README.md") if block.heading == "The pipeline")
    rows = [re.split(r" {2,}", line) for line in table.splitlines()[1:]]
    stages = {name: stage for name, stage in pipeline().items() if name != "params"}  # which computes nothing
    assert [row[0] for row in rows] == [*stages]
    for name, reads, writes in rows:
        deps = stages[name]["deps"]
        made = [one for one, other in stages.items() if set(outs(other)) & set(deps)]
        data = ["data"] * any(dep in deps for dep in ("${scenes}", "${raw}", "${aoi}"))
        assert reads.split(", ") == data + made
        known = {parent for out in outs(stages[name]) for parent in (out, str(Path(out).parent))}
        assert set(writes.split(", ")) <= known


def test_paths_that_are_named_exist(copy: Path) -> None:
    made = [out for stage in pipeline().values() for out in outs(stage)]
    made += map(str, (Paths.checkpoints, Paths.kept_baseline, Paths.hashes, Paths.lock, Paths.timing))
    (tree,) = (block.content for block in blocks("text", "README.md") if block.heading == "What is where")
    named = {("README.md", line.split()[0]) for line in tree.splitlines()}
    for page in PAGES:
        spans = re.findall(r"`([^`\s]+)`", (ROOT / page).read_text(encoding="utf-8"))
        named |= {(page, span) for span in spans if re.match(r"(src|tests|scripts|docs|data|metrics|models)/", span)}
    for page, name in sorted(named):
        if "town" in name or re.search(r"[<{$]", name):
            continue  # an example's, or a pattern
        assert (copy / name).exists() or any(f"{name}/".startswith(f"{out}/") for out in made), f"{page}: {name}"


def test_environment_variables_that_are_named_are_read() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    for page in PAGES:
        for name in re.findall(r"QUADRAT_[A-Z]+", (ROOT / page).read_text(encoding="utf-8")):
            assert f'"{name}"' in code, f"{page}: {name}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(reference: ModuleType, page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {reference.slug(title) for title in titles}, f"{page}: {link}"


def test_the_figures_of_the_readme_are_those_of_the_committed_metrics() -> None:
    names = ("metrics/eval.json", "metrics/plots/class_scores.csv", "metrics/intervals.json")
    committed = [
        subprocess.run(["git", "show", f"HEAD:{name}"], cwd=ROOT, capture_output=True, text=True, check=False)
        for name in names
    ]
    if any(one.returncode for one in committed):
        pytest.skip("no metrics are committed")
    metrics, per_class = json.loads(committed[0].stdout), read_scores(committed[1].stdout)
    tables = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- results: metrics/eval.json -->")[2]
    totals, classes = re.findall(r"(?:^\|.*\n)+", tables, flags=re.MULTILINE)[:2]
    overall = _with_intervals(metrics, json.loads(committed[2].stdout))
    _check_table(totals, overall, ["accuracy", "macro_f1", "macro_f1 within"])
    _check_table(classes, per_class, ["precision", "recall", "f1", "iou", "support"])


def test_the_figures_of_examples_are_those_of_their_runs() -> None:
    classes = ["precision", "recall", "f1", "iou", "support"]
    intervals = ["accuracy", "accuracy within", "macro_f1", "macro_f1 within"]
    for name, total, parts, part in (
        (
            "trees",
            ["map50", "map50 within", "macro_f1", "macro_f1 within"],
            "scene_scores",
            ["map50", "macro_f1", "support"],
        ),
        ("landuse-cells", intervals, "class_scores", classes),
        ("clouds", intervals, "class_scores", classes),
    ):
        folder = ROOT / "examples" / name
        read = [_of_example(one) for one in (folder, folder / "published") if one.is_dir()]
        tables = (folder / "README.md").read_text(encoding="utf-8").partition("<!-- results: eval.json -->")[2]
        totals, each = re.findall(r"(?:^\|.*\n)+", tables, flags=re.MULTILINE)[:2]
        told = dict(read[0])
        for one in read[1:]:
            told["as published"] = one["network"]
        _check_table(totals, told, total)
        _check_table(each, read_scores((folder / f"{parts}.csv").read_text(encoding="utf-8")), part)


def _of_example(folder: Path) -> dict[str, dict[str, Any]]:
    metrics, intervals = (json.loads((folder / f).read_text(encoding="utf-8")) for f in ("eval.json", "intervals.json"))
    return _with_intervals(metrics, intervals)


def _with_intervals(metrics: dict[str, Any], intervals: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the metrics of the network and of its rivals, each with its interval as text."""
    overall: dict[str, dict[str, Any]] = {"network": metrics["overall"], **metrics["baseline"]}
    for name, metric in overall.items():
        bounds = intervals["predictions"]["model" if name == "network" else name]["overall"]
        metric |= {f"{one} within": f"{low:.2f} to {high:.2f}" for one, (low, high) in bounds.items()}
    return overall


def _check_table(table: str, metrics: dict[str, dict[str, Any]], names: list[str]) -> None:
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == [*metrics]
    for row in rows:
        for shown, name in zip(row[1:], names, strict=True):
            value = metrics[row[0]][name]
            digits = len(shown.partition(".")[2])
            if isinstance(value, str):
                assert shown == value, f"{row[0]}: {name}"
                continue
            assert shown == ("–" if value is None else f"{value:,.{digits}f}"), f"{row[0]}: {name}"


def test_the_parity_page_names_keys_that_there_are() -> None:
    """The second column of its tables; ``*`` stands for a name, and lists and kinds are looked through."""
    lines = (ROOT / "docs/raster-vision.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split(" | ")[1] for line in lines if line.startswith("| ")]
    keys = {key for cell in cells for key in re.findall(r"`([a-z_]+(?:\.[a-z_*]+)*)`", cell)}
    schemas = [Params.model_json_schema(), Catalog.model_json_schema()]
    assert len(keys) > 60
    assert {key for key in keys if not any(_known(schema, key.split(".")) for schema in schemas)} == set()


def _known(schema: Any, key: list[str]) -> bool:
    nodes = [schema]
    for part in key:
        options = [option for node in nodes for option in _options(node, schema)]
        found = [o["additionalProperties"] for o in options if isinstance(o.get("additionalProperties"), dict)]
        nodes = found if part == "*" else [o["properties"][part] for o in options if part in o.get("properties", {})]
    return bool(nodes)


def _options(node: Any, schema: Any) -> Iterator[Any]:
    """Give all that a node may be: what it refers to, each of its kinds, and the items of lists."""
    yield node
    references = [schema["$defs"][node["$ref"].rsplit("/", 1)[1]]] if "$ref" in node else []
    items = [node["items"]] if isinstance(node.get("items"), dict) else []
    for child in (*references, *items, *node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _options(child, schema)
