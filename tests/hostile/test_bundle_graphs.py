"""Bundles whose graph (ONNX) never ends, fills the memory, crashes onnxruntime, or names other files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quadrat.bundle.onnx_process import Confined, check_graph
from quadrat.errors import BundleError, ModelError
from quadrat.serving.apply import apply, verify
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan
from tests.ground import write_raster
from tests.hostile.kit import BANDS, KINDS, good, sealed

PIXELS = np.ones((1, 2, 64, 64), np.uint16)
Node = onnx.NodeProto


def graph(nodes: Sequence[Node], *constants: Any, output: str = "scores", domains: Sequence[str] = ()) -> bytes:
    given = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["chip", 2, "y", "x"])
    made = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    whole = helper.make_graph(list(nodes), "g", [given], [made], list(constants))
    opsets = [helper.make_opsetid(*one) for one in (("", 17), ("ai.onnx.ml", 3), *((name, 1) for name in domains))]
    return helper.make_model(whole, opset_imports=opsets, ir_version=8).SerializeToString()


def ints(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(kind: str, given: Sequence[str], made: str = "scores", **attributes: Any) -> Node:
    return helper.make_node(kind, given, [made], **attributes)


def inner(*nodes: Node, given: Sequence[Any] = (), made: Sequence[str] = ("inner",)) -> Any:
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made]
    return helper.make_graph(list(nodes), "inner", list(given), outputs)


def looped() -> Node:
    kinds = ((TensorProto.INT64, "turn"), (TensorProto.BOOL, "on"), (TensorProto.FLOAT, "x"))
    given = [helper.make_tensor_value_info(name, kind, None) for kind, name in kinds]
    body = helper.make_graph(
        [node("Identity", ["on"], "still"), node("Identity", ["x"], "y")],
        "body",
        given,
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), given[2]],
    )
    body.output[1].name = "y"
    return node("Loop", ["", "on", "pixels"], body=body)


def elsewhere(path: str, offset: str = "0") -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", path), ("offset", offset), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


TRUE = numpy_helper.from_array(np.array(True), "on")

REFUSED: dict[str, bytes] = {
    "an endless loop": graph([looped()], TRUE),
    "a loop in a branch": graph([node("If", ["on"], then_branch=inner(looped()), else_branch=inner())], TRUE),
    "a scan": graph([node("Scan", ["pixels"], body=inner(), num_scan_inputs=1)]),
    "a sequence's map": graph([node("SequenceMap", ["pixels"], body=inner())]),
    "a constant in /etc/passwd": graph([node("Add", ["pixels", "w"])], elsewhere("/etc/passwd")),
    "a constant in a folder above": graph([node("Add", ["pixels", "w"])], elsewhere("../../etc/passwd")),
    "a constant in a branch's file": graph(
        [
            node(
                "If",
                ["on"],
                then_branch=inner(node("Constant", [], "inner", value=elsewhere("x"))),
                else_branch=inner(),
            )
        ],
        TRUE,
    ),
    "an attribute in a file": graph([node("Constant", [], value=elsewhere("/etc/passwd"))]),
    "an operator of its own": graph([node("Evil", ["pixels"], domain="evil")], domains=["evil"]),
    "an operator of onnxruntime's own": graph([node("Gelu", ["pixels"], domain="com.microsoft")]),
    "noise": np.random.default_rng(0).bytes(5_000),
    "a text": b"not a graph",
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_a_graph_that_may_do_more_than_compute_is_not_run(content: bytes) -> None:
    with pytest.raises(Exception, match=r"the graph|Error parsing"):
        check_graph(content)


def test_a_graph_with_functions_of_its_own_is_not_run() -> None:
    model = onnx.load_from_string(graph([node("Identity", ["pixels"])]))
    model.functions.add(name="f", domain="evil")
    with pytest.raises(ValueError, match="functions"):
        check_graph(model.SerializeToString())


@pytest.mark.parametrize("kind", KINDS)
def test_all_graphs_that_are_exported_are_run(kind: str) -> None:
    check_graph(good(kind)["model.onnx"])


def tree(left: int, right: int, feature: int = 0) -> bytes:
    attributes = {
        "nodes_treeids": [0, 0],
        "nodes_nodeids": [0, 1],
        "nodes_modes": ["BRANCH_LEQ", "LEAF"],
        "nodes_featureids": [feature, 0],
        "nodes_values": [1e9, 0.0],
        "nodes_truenodeids": [left, 0],
        "nodes_falsenodeids": [right, 0],
        "target_treeids": [0],
        "target_nodeids": [1],
        "target_ids": [0],
        "target_weights": [1.0],
        "n_targets": 1,
    }
    table = node("Reshape", ["pixels", "shape"], "table")
    return graph(
        [table, node("TreeEnsembleRegressor", ["table"], domain="ai.onnx.ml", **attributes)], ints("shape", -1, 2)
    )


def many(kind: str, count: int, before: Sequence[Node] = ()) -> list[Node]:
    first = "x" if before else "pixels"
    names = [first, *(f"n{number}" for number in range(count - 1)), "scores"]
    return [*before, *(node(kind, [names[number]], names[number + 1]) for number in range(count))]


FAILING: dict[str, bytes] = {
    "40 GB by ConstantOfShape": graph(
        [node("ConstantOfShape", ["n"], "big"), node("ReduceSum", ["big"])], ints("n", 10_000_000_000)
    ),
    "40 GB by Expand": graph([node("Expand", ["pixels", "n"])], ints("n", 1_250_000, 2, 64, 64)),
    "40 GB by Tile": graph([node("Tile", ["pixels", "n"])], ints("n", 1, 1, 1_000, 1_250)),
    "40 GB by Pad": graph([node("Pad", ["pixels", "n"])], ints("n", 0, 0, 0, 0, 0, 0, 70_000, 70_000)),
    "a trillion numbers by Range": graph(
        [node("Range", ["a", "b", "c"], "r"), node("Cast", ["r"], to=1)],
        *(numpy_helper.from_array(np.array(v, np.int64), n) for n, v in (("a", 0), ("b", 1 << 40), ("c", 1))),
    ),
    "a tree in a circle": tree(0, 0),
    "a tree that leads nowhere": tree(1 << 30, 1),
    "a tree of a band far beyond": tree(1, 1, 1 << 30),
    "a text as output": graph([node("Cast", ["pixels"], to=TensorProto.STRING)]),
    "an hour of work": graph(many("Erf", 20_000, [node("Expand", ["pixels", "n"], "x")]), ints("n", 4_000, 2, 64, 64)),
    "no graph": b"",
}


@pytest.mark.parametrize("content", FAILING.values(), ids=FAILING)
def test_a_graph_that_fails_by_itself_is_one_error(content: bytes) -> None:
    with pytest.raises(ModelError, match="the graph can't be run"):
        Confined(content, 1, seconds=2)(PIXELS)


def test_a_process_that_ends_is_one_error_now_and_later() -> None:
    run = Confined(good("forest")["model.onnx"], 1)
    assert run(PIXELS)["scores"].shape == (1, 2, 64, 64)
    run._process.kill()
    for _ in range(2):
        with pytest.raises(ModelError, match="SIGKILL"):
            run(PIXELS)


def test_a_graph_is_run_by_as_many_threads_as_a_large_machine_has() -> None:
    assert Confined(good("forest")["model.onnx"], 256)(PIXELS)["scores"].shape == (1, 2, 64, 64)


def test_what_a_process_is_told_in_vain_can_be_told_again() -> None:
    run = Confined(good("segmenter")["model.onnx"], 1)
    with pytest.raises(ModelError, match="the graph can't be run"):
        run(PIXELS[:, :1])
    assert run(np.repeat(PIXELS, 3, 0))["scores"].shape == (3, 2, 64, 64)


OTHERS: dict[str, bytes] = {
    "of another name": graph([node("Identity", ["pixels"], "labels")], output="labels"),
    "of other axes": graph([node("ReduceSum", ["pixels", "n"])], ints("n", 1)),
    "of no numbers": graph([node("Log", ["minus"]), node("Neg", ["pixels"], "minus")][::-1]),
    "of other values": graph([node("Identity", ["pixels"])]),
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_outputs_of_a_graph_that_are_not_the_tasks_are_one_error(tmp_path: Path, content: bytes) -> None:
    path = sealed(tmp_path / "bundle.zip", good("forest") | {"model.onnx": content})
    with pytest.raises(BundleError, match=r"bundle\.zip"):
        verify(path)


def applied(folder: Path, content: bytes) -> None:
    image = write_raster(folder / "image.tif", np.ones((2, 70, 90), np.uint16))
    path = sealed(folder / "bundle.zip", good("forest") | {"model.onnx": content})
    apply(path, [str(image)], folder / "out", Reading(BANDS, unchecked=True), Plan("onnx"))


def test_a_graph_is_applied_in_its_process(tmp_path: Path) -> None:
    applied(tmp_path, good("forest")["model.onnx"])
    assert (tmp_path / "out/image/labels.tif").exists()


@pytest.mark.parametrize("name", ["an endless loop", "a constant in /etc/passwd", "40 GB by Expand"])
def test_a_graph_that_can_not_be_applied_is_one_error_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"(?s)the graph can't be run.*bundle\.zip.model\.onnx"):
        applied(tmp_path, (REFUSED | FAILING)[name])
    assert not (tmp_path / "out/image").exists()
