"""Weights are found by name under any prefix; bands and classes are brought over by name, and the answer stays."""

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadrat.models.start.matching import beginning, over_bands, over_classes, paired, unshared

BANDS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)


@given(BANDS, BANDS)
def test_a_pixel_that_is_the_same_in_all_bands_gets_the_same_answer(theirs: list[str], mine: list[str]) -> None:
    weight = torch.randn(4, len(theirs), 3, 3, dtype=torch.float64)
    torch.testing.assert_close(over_bands(weight, theirs, mine).sum(1), weight.sum(1))


def test_bands_in_another_order_give_the_same_layer() -> None:
    weight = torch.randn(4, 3, 3, 3)
    assert torch.equal(over_bands(weight, ["r", "g", "b"], ["b", "g", "r"]), weight.flip(1))


def test_a_band_that_is_not_here_is_taken_for_the_mean_of_those_that_are() -> None:
    weight, pixels = torch.randn(4, 3, 1, 1, dtype=torch.float64), torch.randn(1, 2, 5, 5, dtype=torch.float64)
    whole = torch.cat([pixels, pixels.mean(1, keepdim=True)], 1)
    less = over_bands(weight, ["r", "g", "b"], ["r", "g"])
    conv = torch.nn.functional.conv2d
    torch.testing.assert_close(conv(pixels, less), conv(whole, weight))


def test_classes_keep_their_rows_by_name_and_new_ones_their_own() -> None:
    new, old = torch.zeros(3, 2), torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    found = over_classes(new, old, ["water", "wood"], ["wood", "town", "water"])
    assert found[:, 0].tolist() == [2.0, 0.0, 1.0]


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.encoder.model."])
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit", "test_efficientnet"])
def test_all_weights_of_timm_are_found_under_any_prefix(name: str, prefix: str) -> None:
    plain, features = timm.create_model(name, num_classes=0), timm.create_model(name, features_only=True)
    wanted = [f"body.encoder.{one}" for one in features.state_dict()]
    theirs = {f"{prefix}{one}": value for one, value in plain.state_dict().items()} | {"other.weight": torch.zeros(1)}
    asked = dict(zip(wanted, unshared(wanted), strict=True))
    assert beginning(asked.values(), theirs).replace("_", ".") == prefix
    found = paired(asked, theirs, prefix)
    assert {*found} == {*wanted}
    for mine, other in found.items():
        assert features.state_dict()[mine.removeprefix("body.encoder.")].shape == theirs[other].shape
