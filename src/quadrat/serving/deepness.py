"""quadrat deepness: the graph of a bundle for QGIS' plugin Deepness, which wants tiles of one size."""

from pathlib import Path

from quadrat.bundle.loading import read_bundle
from quadrat.errors import BundleError, ParamsError
from quadrat.runtime.files import replaced
from quadrat.tasks.common.parts import loss_of


def write_deepness(bundle: Path, out: Path, size: int | None = None) -> Path:
    """Write the graph of ``bundle`` for tiles of ``size`` px (None: predict's windows) to ``out``.

    The graph has Deepness' settings already. Raises BundleError for a task that Deepness can't run, ParamsError for a
    size that doesn't fit the model.
    """
    import onnx

    opened = read_bundle(bundle)
    card = opened.card
    if loss_of(card.task).deepness is None:
        raise BundleError(
            "Deepness can't run models of this task",
            file=bundle,
            expected="semantic_segmentation",
            got=card.task.kind,
            hint="use `quadrat apply`, whose layers open in QGIS",
        )
    side = size or int(opened.params["predict"]["window_size"])
    if side < 1 or side % card.model.divisor:
        raise ParamsError(
            "the size of the tiles doesn't fit the model", expected=f"a multiple of {card.model.divisor} px", got=side
        )
    model = onnx.load_from_string(opened.files.read("model.onnx"))
    for value in (model.graph.input[0], model.graph.output[0]):
        for axis in (2, 3):
            value.type.tensor_type.shape.dim[axis].dim_value = side
    for told in model.metadata_props:
        if told.key == "tile_size":
            told.value = str(side)
    with replaced(out) as part:
        part.write_bytes(model.SerializeToString())
    return out
