"""Write a checkpoint as MMEngine does, whole or not at all."""

import os
from pathlib import Path

import mmengine
import torch
from mmengine.config import Config
from torch import Tensor


def write_checkpoint(
    out: Path, cfg: Config, names: tuple[str, ...], state_dict: dict[str, Tensor]
) -> None:
    """Write a checkpoint with its config and class names; folders are made.

    Args:
        out: The file, see :func:`write_whole`.
        cfg: The config of the model.
        names: Of its classes.
        state_dict: Its parameters and buffers.
    """
    meta = dict(
        cfg=cfg.pretty_text,
        dataset_meta=dict(classes=names),
        mmengine_version=mmengine.__version__,
    )
    write_whole(out, dict(meta=meta, state_dict=state_dict))


def write_whole(out: Path, content: dict) -> None:
    """Write a checkpoint of this content; folders are made.

    Args:
        out: The file. While it is written, it has another name beside.
        content: What ``torch.save`` writes.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f'{out.name}.{os.getpid()}.partial')
    try:
        torch.save(content, partial)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
