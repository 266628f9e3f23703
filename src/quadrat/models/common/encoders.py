"""Encoders of timm by name: of its registry, of a folder (``local-dir:``) or of the Hugging Face hub (``hf-hub:``)."""

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

HELD = "encoder"
"""Among a fitted network's weights, the name of what tells of an encoder that timm doesn't know by its name: JSON."""

OURS = {"drop_rate", "features_only", "in_chans", "num_classes", "out_indices", "output_stride", "pretrained"}
"""Arguments of timm that the kinds of network set themselves, whatever a folder says."""

FOREIGN = {
    *OURS,
    "cache_dir",
    "checkpoint_path",
    "exportable",
    "pretrained_cfg_overlay",
    "pretrained_strict",
    "scriptable",
}
"""Arguments of timm that no fitted network holds: what the kinds set, and what reads files."""

LONGEST = 2**16
"""Most bytes that tell of an encoder."""

ELSEWHERE = {"file", "hf_hub_filename", "hf_hub_id", "label_descriptions", "label_names", "source", "url"}
"""What a configuration says of where weights come from, and of classes that they knew: no part of a fitted network."""

FILES = "model.safetensors", "pytorch_model.bin"
"""What timm asks the hub for, where the configuration names no file."""

PATIENCE = 5.0
"""Seconds that a server of weights has to answer."""


@dataclass(frozen=True)
class Encoder:
    """A network of timm: its architecture, and what ``timm.create_model`` takes beside."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def named(cls, encoder: str) -> Self:
        """Return the encoder that ``model.encoder`` names; raise what timm raises where its folder or page is none."""
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
        """Return the encoder of a fitted network, which needs nothing but its ``weights``.

        Raises ModelError where it would be fetched or read from elsewhere: a fitted network may come from anyone.
        """
        name, arguments = _told(weights[HELD]) if HELD in weights else (encoder, {})
        if ":" in name:
            raise ModelError(
                "the model's encoder would be fetched, and a model that is restored fetches nothing",
                expected="the name of a timm model, without what it is fetched from",
                got=name[:200],
                hint="train the model again: then it holds what it needs",
            )
        return cls(name, arguments)

    def held(self) -> dict[str, NDArray[np.uint8]]:
        """Return what a fitted network keeps of it among its weights; nothing where the name is enough."""
        if not self.arguments:
            return {}
        config = {key: value for key, value in self.arguments["pretrained_cfg"].items() if key not in ELSEWHERE}
        told = {"name": self.name, "arguments": {**self.arguments, "pretrained_cfg": config}}
        return {HELD: np.frombuffer(json.dumps(told, sort_keys=True).encode(), np.uint8)}

    @property
    def side(self) -> int | None:
        """Side of the windows, px, that it takes alone; None if it takes others."""
        config = self._config()
        return config.get("input_size", (None,))[-1] if config.get("fixed_input_size") else None

    @property
    def local(self) -> bool:
        """Whether its weights are to lie in a folder."""
        return self._config().get("source") == "local-dir"

    def check_weights(self) -> None:
        """Raise ModelError where pretrained weights lie neither here nor where timm would fetch them."""
        places = list(self._places())
        found = "timm knows of none" if not places else None
        for here, address in places:
            if here:
                return
            found = _unanswered(address)
            if found is None:
                return
        raise ModelError(
            "the pretrained weights of the encoder can't be had",
            expected=f"weights of {self.name}",
            got=found,
            hint="fetch them where there is a network, name a folder (local-dir:), or set model.pretrained to false",
        )

    def _config(self) -> Mapping[str, Any]:
        import timm

        if self.arguments:
            config: Mapping[str, Any] = self.arguments["pretrained_cfg"]
            return config
        known = timm.get_pretrained_cfg(self.name)
        return {} if known is None else known.to_dict()  # type: ignore[no-untyped-call]  # timm's

    def _places(self) -> Iterator[tuple[bool, str]]:
        """Give where weights may be: whether they have been fetched, and the address."""
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
    """Return the encoders of timm whose names are most like one that timm doesn't know; none for one that it knows."""
    import timm

    name = encoder.partition(".")[0]
    if ":" in encoder or timm.is_model(name):
        return []
    return difflib.get_close_matches(name, timm.list_models(), n=3)


def _told(values: NDArray[Any]) -> tuple[str, Mapping[str, Any]]:
    """Return name and arguments that a fitted network keeps; raise ModelError where it keeps something else."""
    told: Any = None
    with suppress(ValueError, RecursionError):
        told = json.loads(values[:LONGEST].tobytes())
    match told:
        case {"name": str(name), "arguments": {"pretrained_cfg": dict() as config, **further}, **rest} if (
            not rest and FOREIGN.isdisjoint(further) and ELSEWHERE.isdisjoint(config)
        ):
            arguments: dict[str, Any] = told["arguments"]
            return name, arguments
    raise ModelError(
        "what the weights tell of the encoder can't be read",
        expected="name and arguments of a timm model, as JSON",
        got=values[:200].tobytes().decode(errors="replace"),
        hint="fetch or train the model again",
    )


def _unanswered(address: str) -> str | None:
    """Return why nothing can be fetched from ``address``; None where it can, or where a server asks who wants it."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and they have not been fetched before"
    with suppress(ValueError):  # an address of another sort is timm's own matter
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310 an address that timm gives
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE):  # noqa: S310
                return None
        except HTTPError as error:
            return None if error.code in {401, 403} else f"{address}: {error}"
        except OSError as error:
            return f"{address}: {error}"
    return None
