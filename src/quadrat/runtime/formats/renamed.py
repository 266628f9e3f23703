"""Old names of keys and kinds of ``params.yaml`` and the catalog; errors name the new ones."""

from collections.abc import Collection, Sequence
from typing import Any

KEYS = {
    "average": "ema_decay",
    "clip": "gradient_clip_norm",
    "cut": "partial",
    "largest_hole": "max_hole_pixels",
    "least_inside": "min_inside_fraction",
    "least_leaf": "min_samples_leaf",
    "least_pixels": "min_pixels",
    "least_score": "min_score",
    "least_share": "min_share",
    "least_targets": "min_targets",
    "least_valid": "min_valid_fraction",
    "most": "max_detections",
    "outside": "background",
    "pretrained": "start",
    "suppress": "nms",
    "turns": "flip_rotate",
}
"""New names of keys by their old names."""

KINDS = {"network": "segmenter"}
"""New names of kinds by their old names."""


def renamed(errors: Sequence[Any]) -> str | None:
    """Return the new names of old keys and kinds among pydantic's ``errors``, as text; None if there are none."""
    found = [
        f"'{error['loc'][-1]}' is called '{KEYS[error['loc'][-1]]}' now"
        for error in errors
        if error["type"] == "extra_forbidden" and _old(error["loc"], KEYS)
    ]
    tags = [str(error["ctx"]["tag"]) for error in errors if error["type"] == "union_tag_invalid"]
    found += [f"the kind '{tag}' is called '{KINDS[tag]}' now" for tag in tags if _old((tag,), KINDS)]
    return "; ".join(found) or None


def _old(location: Sequence[Any], names: Collection[str]) -> bool:
    return bool(location) and location[-1] in names
