"""What every section of ``params.yaml`` and of the catalog is: frozen, and without unknown keys."""

from pydantic import BaseModel, ConfigDict


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
