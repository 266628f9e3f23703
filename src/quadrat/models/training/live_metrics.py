"""What a training shows while it runs: figures where DVC looks for them, and by dvclive to Studio and VS Code."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quadrat.models.common.model import Epoch, Fitted, unwatched
from quadrat.runtime.progress import warn


@contextmanager
def live(folder: Path, write: Callable[[Fitted], None], *files: Path) -> Iterator[Callable[[Fitted], None]]:
    """Give what is to be told of each epoch of a training: it has ``files`` written, and tells dvclive.

    So it is where DVC has started the training, and taken ``files`` away for it. Else nothing is shown, for they still
    tell of the last model. A training that ends early leaves none of them. dvclive keeps its own in ``folder``.
    """
    if "DVC_STAGE" not in os.environ:
        yield unwatched
        return
    logger = _logger(folder)
    logged = 0

    def watch(fitted: Fitted) -> None:
        nonlocal logged
        write(fitted)
        if logger is not None:
            _log(logger, fitted.history[logged:])
        logged = len(fitted.history)

    try:
        yield watch
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise
    if logger is not None:
        logger.end()


def _log(logger: Any, epochs: Sequence[Epoch]) -> None:
    for epoch in epochs:
        for name, value in epoch.items():
            if value is not None and name != "epoch":
                logger.log_metric(name, value)
        logger.next_step()


def _logger(folder: Path) -> Any:
    """Return dvclive's logger, which leaves dvc.yaml and experiments to DVC; None where it can't start."""
    from dvclive.live import Live
    from scmrepo.exceptions import SCMError

    try:
        return Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None)
    except SCMError as error:
        warn(f"Studio is not told of the training ({error}): commit the project first")
        return None
