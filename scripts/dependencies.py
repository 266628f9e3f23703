"""Write into dvc.yaml which modules of src/quadrat each stage depends on: those that it imports, and they import.

Run it after a change of imports: `PYTHONPATH=src:. python scripts/dependencies.py`. A test holds the file against it.
"""  # noqa: INP001 (a script)

from pathlib import Path

from ruamel.yaml import YAML

from tests.test_dvc import STAGES, modules

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Replace the lines of each stage's modules; all others stay as they are, comments too."""
    path = ROOT / "dvc.yaml"
    content = path.read_text(encoding="utf-8")
    for stage in STAGES:
        listed = YAML(typ="safe").load(content)["stages"][stage]["deps"]
        old = [entry for entry in listed if entry.startswith("src/quadrat/")]
        new = sorted(modules(ROOT, stage), key=lambda name: (name.count("/"), name.rpartition("/")[0], name))
        begin = content.index(f"\n  {stage}:\n")
        before, after = (_lines(names) for names in (old, new))
        content = content[:begin] + content[begin:].replace(before, after, 1)
    path.write_text(content, encoding="utf-8")


def _lines(names: list[str]) -> str:
    return "".join(f"      - {name}\n" for name in names)


if __name__ == "__main__":
    main()
