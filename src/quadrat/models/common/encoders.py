"""timm encoders by name: from its registry, a folder (``local-dir:``) or the Hugging Face hub (``hf-hub:``)."""

import difflib
import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.error import HTTPError

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ModelError

DESCRIPTION = "encoder"
"""The key, among a model's weights, of the JSON description of an encoder that is not in timm's registry."""

OURS = {"drop_rate", "features_only", "in_chans", "num_classes", "out_indices", "output_stride", "pretrained"}
"""timm arguments that the model kinds set themselves, which override a folder's configuration."""

FOREIGN = {
    *OURS,
    "cache_dir",
    "checkpoint_path",
    "exportable",
    "pretrained_cfg_overlay",
    "pretrained_strict",
    "scriptable",
}
"""timm arguments that are not stored with a model: those that the kinds set, and those that read files."""

LONGEST = 2**16
"""Largest description of an encoder, bytes."""

ELSEWHERE = {"file", "hf_hub_filename", "hf_hub_id", "label_descriptions", "label_names", "source", "url"}
"""Keys of a configuration about the source of weights and their classes, which are not stored with a model."""

FILES = "model.safetensors", "pytorch_model.bin"
"""The files that timm requests from the hub, if the configuration names none."""

PATIENCE = 5.0
"""Timeout of a server of weights, s."""


@dataclass(frozen=True)
class Encoder:
    """A timm network: its architecture, and further arguments of ``timm.create_model``."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def named(cls, encoder: str) -> Self:
        """Return the encoder that ``model.encoder`` names; timm's errors are raised for a wrong folder or page."""
        from timm.models import load_model_config_from_hf, parse_model_name
        from timm.models._hub import load_model_config_from_path

        source, place = parse_model_name(encoder)
        if source is None:
            return cls(encoder)
        load = load_model_config_from_path if source == "local-dir" else load_model_config_from_hf
        config, name, arguments = load(place)
        own = {key: value for key, value in arguments.items() if key not in OURS}
        saved = {"pretrained_model_args": dict(arguments)} if arguments else {}
        return cls(name, {**own, **saved, "pretrained_cfg": config})

    @classmethod
    def of(cls, weights: Mapping[str, NDArray[Any]], encoder: str) -> Self:
        """Return the encoder of a trained model from its ``weights`` only.

        Raises ModelError if it would be downloaded or read from elsewhere, because a model may be untrusted.
        """
        name, arguments = _parsed(weights[DESCRIPTION]) if DESCRIPTION in weights else (encoder, {})
        if ":" in name:
            raise ModelError(
                "the model's encoder would be downloaded, which is not allowed when a model is loaded",
                expected="the name of a timm model, without a source",
                got=name[:200],
                hint="train the model again; then it holds what it needs",
            )
        return cls(name, arguments)

    @property
    def of_timm(self) -> bool:
        """Whether timm has it; else it is a network of the user's own (``quadrat.models.plugin``)."""
        return True

    def description(self) -> dict[str, NDArray[np.uint8]]:
        """Return the description to store among a model's weights; empty if the name is enough."""
        if not self.arguments:
            return {}
        config = {key: value for key, value in self.arguments["pretrained_cfg"].items() if key not in ELSEWHERE}
        content = {"name": self.name, "arguments": {**self.arguments, "pretrained_cfg": config}}
        return {DESCRIPTION: np.frombuffer(json.dumps(content, sort_keys=True).encode(), np.uint8)}

    @property
    def side(self) -> int | None:
        """Side of the windows, px, that it takes alone; None if it takes others."""
        config = self._config()
        return config.get("input_size", (None,))[-1] if config.get("fixed_input_size") else None

    @property
    def local(self) -> bool:
        """Whether its weights are in a local folder."""
        return self._config().get("source") == "local-dir"

    def check_weights(self) -> None:
        """Raise ModelError if pretrained weights are neither cached nor available for download."""
        places = list(self._places())
        found = "timm knows none" if not places else None
        for here, address in places:
            if here:
                return
            found = _unanswered(address)
            if found is None:
                return
        raise ModelError(
            "the pretrained weights of the encoder are not available",
            expected=f"weights of {self.name}",
            got=found,
            hint="fetch them where there is a network, name a folder (local-dir:), or set model.start to {kind: none}",
        )

    def _config(self) -> Mapping[str, Any]:
        import timm

        if self.arguments:
            config: Mapping[str, Any] = self.arguments["pretrained_cfg"]
            return config
        known = timm.get_pretrained_cfg(self.name)
        return {} if known is None else known.to_dict()  # type: ignore[no-untyped-call]  # timm's

    def _places(self) -> Iterator[tuple[bool, str]]:
        """Yield possible sources of weights: whether they are cached, and the address."""
        from huggingface_hub import hf_hub_url, try_to_load_from_cache
        from timm.models._hub import check_cached_file, hf_split

        config = self._config()
        if page := config.get("hf_hub_id"):
            name, revision = hf_split(page)
            files = [config["hf_hub_filename"]] if config.get("hf_hub_filename") else FILES
            cached = [isinstance(try_to_load_from_cache(name, file, revision=revision), str) for file in files]
            yield from ((any(cached), hf_hub_url(name, file, revision=revision)) for file in files)
        elif url := config.get("url"):
            yield check_cached_file(url, check_hash=False), url if isinstance(url, str) else url[0]


def similar(encoder: str) -> list[str]:
    """Return the timm encoders with names most similar to an unknown name; empty for a known name."""
    import timm

    name = encoder.partition(".")[0]
    if ":" in encoder or timm.is_model(name):
        return []
    return difflib.get_close_matches(name, timm.list_models(), n=3)


def _parsed(values: NDArray[Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the encoder's name and arguments from its description; raise ModelError if it is invalid."""
    content: Any = None
    with suppress(ValueError, RecursionError):
        content = json.loads(values[:LONGEST].tobytes())
    match content:
        case {"name": str(name), "arguments": {"pretrained_cfg": dict() as config, **further}, **rest} if (
            not rest and FOREIGN.isdisjoint(further) and ELSEWHERE.isdisjoint(config)
        ):
            arguments: dict[str, Any] = content["arguments"]
            return name, arguments
    raise ModelError(
        "the description of the encoder among the weights can't be read",
        expected="name and arguments of a timm model, as JSON",
        got=values[:200].tobytes().decode(errors="replace"),
        hint="fetch or train the model again",
    )


def _unanswered(address: str) -> str | None:
    """Return why ``address`` can't be downloaded; None if it can, or if the server requires a login."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and they are not cached"
    with suppress(ValueError):  # timm handles other kinds of address
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310 an address that timm gives
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE):  # noqa: S310
                return None
        except HTTPError as error:
            return None if error.code in {401, 403} else f"{address}: {error}"
        except OSError as error:
            return f"{address}: {error}"
    return None
