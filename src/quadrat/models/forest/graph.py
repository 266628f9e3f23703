"""A forest as an ONNX graph: features, trees and votes of ``quadrat.models.forest.forest``, operator by operator."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from quadrat.models.common.model import Inputs

if TYPE_CHECKING:
    from onnx import NodeProto

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8


def graph(
    weights: Mapping[str, NDArray[Any]], inputs: Inputs, radius: int, classes: int, votes: int, pool: int | None = None
) -> bytes:
    """Return the serialised graph: ``pixels`` (chip, band, y, x) to ``scores`` (chip, class, y, x).

    With ``pool``, the means (chip, class) over the square of so many px in the middle. ``votes`` is the number of votes
    of all trees. Each tree is a separate node, because runtimes evaluate one tree for all pixels several times faster
    than all trees for each pixel; the sum of whole votes does not depend on the order.
    """
    bands = len(inputs.bands)
    build = _Builder()
    described = _features(build, inputs, radius)
    table = build("Reshape", build("Transpose", described, perm=[0, 2, 3, 1]), build.ints(-1, 2 * bands))
    total = build.sum(
        build("TreeEnsembleRegressor", table, domain="ai.onnx.ml", **_tree(weights, slice(first, last)))
        for first, last in pairwise(weights["roots"])
    )
    shares = build("Div", total, build.constant(np.float32(votes)))
    chip, plane = build("Shape", "pixels", end=1), build("Shape", "pixels", start=2)
    rows = build("Reshape", shares, build("Concat", chip, plane, build.ints(classes), axis=0))
    if pool is None:
        build("Transpose", rows, perm=[0, 3, 1, 2], name="scores")
        return build.serialised(bands, ("chip", classes, "y", "x"))
    first = build("Div", build("Sub", plane, build.ints(pool - 1)), build.ints(2))  # as quadrat.geo.grids.cells.margin
    inner = build("Slice", rows, first, build("Add", first, build.ints(pool)), build.ints(1, 2))
    build("ReduceMean", inner, axes=[1, 2], keepdims=0, name="scores")
    return build.serialised(bands, ("chip", classes))


def _features(build: "_Builder", inputs: Inputs, radius: int) -> str:
    with np.errstate(over="ignore"):  # a nodata value too large for float32 is infinite there
        values = [np.nan if band.nodata is None else band.nodata for band in inputs.bands]  # NaN equals nothing
        nodata = np.array(values, np.float64).astype(np.float32)
    missing = build("Equal", "pixels", build.constant(nodata.reshape(1, -1, 1, 1)))
    missing = build("Or", missing, build("Or", build("IsNaN", "pixels"), build("IsInf", "pixels")))
    raw = build("Where", missing, build.constant(np.float32(0)), "pixels")
    valid = build("Cast", build("Not", missing), to=TensorProto.FLOAT)
    count = build("Max", _sum(build, valid, radius), build.constant(np.float32(1)))
    return build("Concat", raw, build("Div", _sum(build, raw, radius), count), axis=1)


def _sum(build: "_Builder", values: str, radius: int) -> str:
    values = build("Pad", values, build.ints(0, 0, radius, radius, 0, 0, radius, radius))
    for axis in (3, 2):
        spans = [(k, k - 2 * radius or np.iinfo(np.int64).max) for k in range(2 * radius + 1)]
        shifted = (build("Slice", values, build.ints(k), build.ints(end), build.ints(axis)) for k, end in spans)
        values = build.sum(shifted)
    return values


def _tree(weights: Mapping[str, NDArray[Any]], nodes: slice) -> dict[str, Any]:
    """Return the attributes of TreeEnsembleRegressor for one tree, and the votes of its leaves that aren't 0."""
    tree = {name: weights[name][nodes] for name in ("left", "right", "feature", "threshold")}
    votes = weights["votes"]
    leaf = tree["left"] < 0
    rows, voted = np.nonzero(votes[-1 - tree["feature"][leaf]])
    leaves = np.flatnonzero(leaf)[rows]
    inner = {name: np.where(leaf, 0, values).tolist() for name, values in tree.items()}
    return {
        "nodes_treeids": [0] * len(leaf),
        "nodes_nodeids": list(range(len(leaf))),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_featureids": inner["feature"],
        "nodes_values": inner["threshold"],
        "nodes_truenodeids": inner["left"],
        "nodes_falsenodeids": inner["right"],
        "target_treeids": [0] * len(leaves),
        "target_nodeids": leaves.tolist(),
        "target_ids": voted.tolist(),
        "target_weights": votes[-1 - tree["feature"][leaves], voted].astype(np.float32).tolist(),
        "n_targets": votes.shape[1],
    }


class _Builder:
    """Adds nodes and constants to a graph, and names their outputs."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: dict[bytes, TensorProto] = {}

    def __call__(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        name = name or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        array = np.asarray(value)
        key = repr((array.dtype, array.shape)).encode() + array.tobytes()
        tensor = self._constants.setdefault(key, numpy_helper.from_array(array, f"constant_{len(self._constants)}"))
        return tensor.name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def sum(self, parts: Iterator[str]) -> str:
        """Add up ``parts`` in order, each computed one step ahead.

        So a runtime that evaluates the graph depth first, last operands first, has few of them in memory at a time.
        """
        total, part = next(parts), next(parts, None)
        while part:
            following = next(parts, None)
            total, part = self("Add", total, part), following
        return total

    def serialised(self, bands: int, scores: tuple[str | int, ...]) -> bytes:
        given, made = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)
            for name, axes in (("pixels", ("chip", bands, "y", "x")), ("scores", scores))
        )
        whole = helper.make_graph(self._nodes, "forest", [given], [made], list(self._constants.values()))
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(whole, opset_imports=opsets, ir_version=IR_VERSION)
        serialised: bytes = model.SerializeToString()
        return serialised
