"""The README in a bundle: describes the model, and how to run it without this package."""

from quadrat.geo.sources.bands import Band, dates_of
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models.model_folder import ModelCard
from quadrat.plugins.section import plugins_in
from quadrat.runtime.formats.markdown import escaped, table
from quadrat.runtime.provenance.origin import Commit
from quadrat.tasks.common.parts import loss_of

TEXT = """\
# {title}

A model of the kind {kind}, trained with quadrat {version}. It takes windows of {takes}, raw values as
stored, and gives {says}.

With quadrat, which no package index has: `pip install "quadrat[predict] @ git+URL"`, where URL is the address of the
git repository of the project that made this bundle{commit}; or `pip install ".[predict]"` in a clone of it. That is
without the pipeline's own packages; without `[predict]`, it is without torch too, and onnxruntime runs the model. Then,
in any folder:

    quadrat verify bundle.zip
    quadrat apply bundle.zip image.tif --out out

or in Python `quadrat.load("bundle.zip").predict("image.tif")`, which takes arrays, too.
{plugins}
Without quadrat: unpack it (`sha256sum --check SHA256SUMS` checks the files) and `pip install numpy onnxruntime`:

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
pixels = np.load("sample/pixels.npy")  # (window, band, y, x)
{names} = session.run([{quoted}], {{"pixels": pixels.astype(np.float32)}})
{decide}
assert np.abs({first} - np.load("sample/{first}.npy")).max() < 1e-3
```

A window may have any height and width that are multiples of {divisor} px. The model learnt from windows of {size} px,
of {gsd:.3g} m each on the ground; its normalisation is inside. {windows}

## Input: `pixels`, float32

{bands}
If a pixel has no value in a band, give the nodata value, or NaN.
{dates}
## Outputs, float32

{outputs}{calibrated}
{title_of_classes}:

{classes}{qgis}
## The other files

`model.safetensors` and `model.json` are the same model for quadrat; `params.yaml`: the parameters that made it;
`metrics.json`: its scores; `provenance.json`: its origin; `stac.json`: the model as a STAC Item (extension MLM);
`sample/`: an input and its expected output.
"""

PLUGIN = """
Torch needs the plugin `{name}`, version `{version}`, which built the network and is not in this file; without it,
onnxruntime runs the model.
"""

CALIBRATED = """
Scores are probabilities: the graph's last step calibrates them, as fitted to validation images. On images of other
regions or dates they may be off.
"""

DATES = """\

These are the bands of a date; `pixels` holds all of the first date, then all of the next, {count} dates: the band with
the number b of the date d, both from 0, is number d × {bands} + b. A date that lacks a band at a pixel does not
count there. It learnt from {first} to {last}; other images may have other dates.
"""

QGIS = """\

## In QGIS

The plugin Deepness, 0.6 or newer, wants a graph for tiles of one size; it finds its other settings in the graph. With
quadrat: `quadrat deepness bundle.zip deepness.onnx`; without it:

```python
import onnx

model = onnx.load("model.onnx")
for value in (model.graph.input[0], model.graph.output[0]):
    for axis in (2, 3):
        value.type.tensor_type.shape.dim[axis].dim_value = {tile}
onnx.save(model, "deepness.onnx")
```

Its layer must hold the bands above in this order, with the same raw values. The resolution in the graph is that on the
ground; in a CRS whose metres are not the ground's, such as Web Mercator, set that of the layer's own pixels instead.
"""


def readme(title: str, card: ModelCard, tile: int, git: Commit | None) -> str:
    """Return the README of a bundle; ``tile`` is the height and width of predict's windows, px.

    ``git`` is the state of the project. The README has no address of the repository, because each clone has another.
    """
    loss = loss_of(card.task)
    signature = loss.signature()
    names = list(signature.outputs)
    count, dates = len(card.statistics), dates_of(card.bands)
    takes = f"{count} bands on {len(dates)} dates" if dates else f"{count} bands"
    return TEXT.format(
        title=escaped(title),
        commit="" if git is None else f", at commit {git.commit}" + ", with changes that it lacks" * git.dirty,
        says=signature.says,
        names=", ".join(names) if len(names) > 1 else f"({names[0]},)",
        quoted=", ".join(f'"{name}"' for name in names),
        first=names[0],
        decide=signature.decide,
        title_of_classes=signature.classes,
        windows=signature.windows,
        outputs=_table(("output", "axes and meaning"), [(f"`{n}`", text) for n, text in signature.outputs.items()]),
        calibrated=CALIBRATED if card.calibration else "",
        qgis=QGIS.format(tile=tile) if loss.deepness else "",
        kind=card.model.kind,
        plugins="".join(
            PLUGIN.format(name=escaped(one.name), version=escaped(card.versions.get(one.name, "?")))
            for one in plugins_in(card.model)
        ),
        version=escaped(card.versions.get("quadrat", "?")),
        takes=takes,
        dates=_dates(dates, count),
        divisor=card.model.divisor,
        size=card.size,
        gsd=card.gsd,
        bands=_table(
            ("number", "band", "unit", "value in that unit", "nodata", "learnt from"),
            [_band(n, *one) for n, one in enumerate(zip(card.bands[:count], card.statistics, strict=True))],
        ),
        classes=_table(
            ("number", "class", "colour", f"training {card.task.unit}"),
            [(n, escaped(c.name), c.color, card.class_counts[c.name]) for n, c in enumerate(card.task.classes)],
        ),
    )


def _dates(dates: tuple[str, ...], bands: int) -> str:
    if not dates:
        return ""
    return DATES.format(count=len(dates), bands=bands, first=escaped(dates[0]), last=escaped(dates[-1]))


def _band(number: int, band: Band, learnt: BandStatistics) -> tuple[object, ...]:
    value, span = f"raw × {band.scale:g} + {band.offset:g}", f"{learnt.min:g} to {learnt.max:g}"
    return number, escaped(band.name), escaped(band.unit), value, _shown(band.nodata), span


def _shown(nodata: float | None) -> str:
    return "none" if nodata is None else f"{nodata:g}"


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    return table(head, ("---",) * len(head), rows)
