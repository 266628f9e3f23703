"""Trains a model on the chips of a project, into a folder of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadrat.errors import OutputError, ParamsError
from quadrat.params import Params, check_params, written
from quadrat.pipeline import train as stage
from quadrat.runtime.files import replaced
from quadrat.runtime.formats.yaml import read
from quadrat.runtime.run import Paths, Run, subset

if TYPE_CHECKING:
    import pandas as pd


MARK = b"# Written by quadrat.train\n"
"""How the parameters in a folder of a training begin; earlier versions did not write it."""

REPLACED = PARAMS, METRICS, CURVES = "params.yaml", "train.json", "training.csv"
"""Files that a training replaces, beside the folders of model and baseline, which the stage checks."""


@dataclass(frozen=True)
class Trained:
    """A folder that ``train`` has written."""

    folder: Path
    params: Params
    """The parameters, with the changes; ``params.yaml`` of the folder holds them."""

    @property
    def model(self) -> Path:
        """The model folder: weights and model card. ``baseline`` beside it is that of the baseline."""
        return self.folder / "model"

    @property
    def metrics(self) -> dict[str, dict[str, float | int | None]]:
        """Metrics on the validation chips: of ``model`` and, if there is one, of ``baseline``."""
        found: dict[str, dict[str, float | int | None]] = json.loads((self.folder / METRICS).read_bytes())
        return found

    @property
    def curves(self) -> "pd.DataFrame":
        """A row for each epoch; none for a model that doesn't learn by epochs."""
        import pandas as pd

        return pd.read_csv(self.folder / CURVES)


def train(
    out: str | Path,
    params: str | Path = "params.yaml",
    *,
    changes: Mapping[str, Any] | None = None,
    chips: str | Path = Paths.chips,
    analysis: str | Path = Paths.stats.parent,
) -> Trained:
    """Train the model and the baseline of ``params`` as the stage train does, and write them to the folder ``out``.

    Nothing that DVC tracks is touched: what the pipeline is to know, ``dvc repro`` or ``dvc exp run`` trains.

    Args:
        out: The folder. An interrupted training of the same chips and parameters goes on where it was.
        params: The parameters.
        changes: Other values by dotted key, e.g. ``{"lr": 0.001, "model.dropout": 0.2}``.
        chips: The chips, which the stage chip writes.
        analysis: The folder of the statistics, which the stage analyze writes.

    Raises:
        ChipError: There are no chips, or they were cut for other classes or bands.
        ModelError: The network can't be built, or can't take the chips.
        OutputError: The folder holds files that are not of an earlier training, and would be replaced.
        ParamsError: The parameters or changes are not valid.

    """
    folder, analysis = Path(out), Path(analysis)
    made = check_params(_changed(read(Path(params), ParamsError), changes or {}, Path(params)), Path(params))
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replaced(folder / PARAMS) as part:
        part.write_bytes(MARK + written(made))
    paths = replace(
        Paths(),
        chips=Path(chips),
        stats=analysis / Paths.stats.name,
        table=analysis / Paths.table.name,
        model_folder=folder / "model",
        baseline_folder=folder / "baseline",
        train_metrics=folder / METRICS,
        curves=folder / CURVES,
        checkpoints=folder / ".checkpoints",
        hashes=folder / ".hashes.json",
    )
    stage.train(subset(stage.TrainParams, made), paths, Run())
    return Trained(folder, made)


def _check_folder(folder: Path) -> None:
    """Raise OutputError if a training would replace files that are not of an earlier one."""
    there = [name for name in REPLACED if (folder / name).exists()]
    params = folder / PARAMS
    own = params.is_file() and (params.read_bytes().startswith(MARK) or (folder / "model/model.json").is_file())
    if there and not own:
        raise OutputError(
            "the folder holds files that are not of an earlier training, and would be replaced",
            file=folder,
            got=", ".join(there),
            hint="name another folder",
        )


def _changed(content: Any, changes: Mapping[str, Any], path: Path) -> Any:
    """Return the content of parameters with the values of dotted keys set; sections that are left out are made."""
    for key, value in changes.items():
        *parents, last = key.split(".")
        node = content
        for parent in parents:
            if not isinstance(node, dict):
                raise ParamsError("a changed key is in no section", file=path, got=key)
            node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ParamsError("a changed key is in no section", file=path, got=key)
        node[last] = value
    return content
