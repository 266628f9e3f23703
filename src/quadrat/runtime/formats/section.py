"""What every section of ``params.yaml`` and of the catalog is: frozen, and without unknown keys."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def composed(text: str) -> str:
    """Return a text in Unicode's form NFC: an é is one character, also where it was written as an e and an accent."""
    return unicodedata.normalize("NFC", text)


Name = Annotated[str, AfterValidator(composed)]
"""Text that is compared with what was written elsewhere; of its two forms in Unicode, NFC."""


class Section(BaseModel):
    """A part of a YAML file, typed: frozen, strict about types, no unknown keys, never NaN or infinite.

    Where a YAML key can't be a name in Python (``from``), Python code gives the field's own name. What stands below a
    field is what the reference pages say of it; pydantic is not asked for it, which would read sources at each start.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_by_name=True,
    )
