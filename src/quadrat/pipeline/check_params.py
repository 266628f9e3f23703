"""params: check the parameters before DVC runs long stages or removes outputs."""

from collections.abc import Iterable

from quadrat.plugins.calling import checked
from quadrat.plugins.finding import find
from quadrat.plugins.section import Plugin
from quadrat.runtime.files import replaced
from quadrat.runtime.run import Paths


def check_params(plugins: Iterable[Plugin], paths: Paths) -> None:
    """Write ``paths.checked``, with the same content each time: the parameters were checked when they were read.

    The first stage that computes depends on this file, so this check runs first, and reruns nothing. Raises PluginError
    if one of ``plugins``, which parameters name, is not in ``paths.plugins`` or a package, or takes other arguments.
    """
    for plugin in plugins:
        checked(plugin, find(plugin, paths.plugins))
    with replaced(paths.checked) as part:
        part.write_text("params.yaml holds every key that there is, and no other, each of its type and range\n")
