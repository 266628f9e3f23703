"""params: check the parameters before DVC runs long stages or removes outputs."""

from quadrat.runtime.files import replaced
from quadrat.runtime.run import Paths


def check_params(paths: Paths) -> None:
    """Write ``paths.checked``, with the same content each time: the parameters were checked when they were read.

    The first stage that computes depends on this file, so this check runs first, and reruns nothing.
    """
    with replaced(paths.checked) as part:
        part.write_text("params.yaml holds every key that there is, and no other, each of its type and range\n")
