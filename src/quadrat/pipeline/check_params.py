"""params: say that the parameters are good, before DVC runs what takes long or removes what was made."""

from quadrat.runtime.files import replaced
from quadrat.runtime.run import Paths


def check_params(paths: Paths) -> None:
    """Write ``paths.checked``, with the same content each time: the parameters were checked when they were read.

    The first stage that computes depends on it, so that this one runs before all others, and none reruns because of it.
    """
    with replaced(paths.checked) as part:
        part.write_text("params.yaml holds every key that there is, and no other, each of its type and range\n")
