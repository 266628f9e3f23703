"""The base of all sections of ``params.yaml`` and the catalog: frozen, and without unknown keys."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def composed(text: str) -> str:
    """Return a text in Unicode's form NFC, in which é is one character."""
    return unicodedata.normalize("NFC", text)


Name = Annotated[str, AfterValidator(composed)]
"""Text in Unicode's form NFC, to be compared with other texts."""


class Section(BaseModel):
    """A part of a YAML file, typed: frozen, strict about types, no unknown keys, never NaN or infinite.

    If a YAML key can't be a name in Python (``from``), Python code uses the field's name. The reference pages take the
    text below each field from the source.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_by_name=True,
    )
