"""Checkpoints that are whole or not there."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from quadrat.runtime.files import replaced


class Whole(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and renames it.

    Lightning's own writes to the folder of temporary files, and copies from there where that is another disk: a kill or
    a full disk then leaves half a checkpoint, from which nothing goes on.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ARG002 (the contract's)
        """Write ``checkpoint``; raise DiskError where there is no room."""
        held = io.BytesIO()
        torch.save(checkpoint, held)  # straight to a file, it doesn't say why it can't
        with replaced(Path(path), synced=True) as part:
            part.write_bytes(held.getbuffer())
