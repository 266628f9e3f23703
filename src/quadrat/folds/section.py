"""The section ``folds``."""

from pydantic import Field

from quadrat.runtime.formats.section import Section


class Folds(Section):
    """How `quadrat folds` cuts the ground of train and validation scenes for cross-validation; no stage takes it."""

    count: int = Field(default=5, ge=3, le=20)
    """Number of folds: in turn, one is scored, the next one chooses weights, and the others train."""
    block: float = Field(gt=0)
    """Side of the blocks that the folds consist of, m on the ground: several times the distance over which errors
    correlate, which eval prints."""
    gap: float = Field(default=0, ge=0)
    """Width of the ground around scored blocks that is left out of training, m: a chip's side or more, of
    images that are turned on the ground its diagonal, so that no pixel of a scored block is in a chip. Validation
    blocks, which choose weights and the temperature, have no gap to training."""
