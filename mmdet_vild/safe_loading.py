"""A trained detector from files of which the checkpoint may be a stranger's."""

from pathlib import Path

from mmdet.apis import init_detector
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import load_checkpoint
from torch import nn


def load_detector(
    config: str | Path | Config, checkpoint: str | Path, device: str | None = None
) -> nn.Module:
    """A trained detector, ready for mmdet's ``inference_detector``.

    The config that you name is Python code and is executed. Of the checkpoint, a file on this
    machine, tensors and plain data are read (``weights_only``); the config that it brings along is
    not looked at, as ``DetInferencer(weights=...)`` would.

    Args:
        config: A file, or what ``Config.fromfile`` returned.
        checkpoint: What a training or a tool of this package wrote.
        device: Where it computes; default: the first accelerator, or the CPU.

    Raises:
        FileNotFoundError: There is no such checkpoint; nothing is downloaded.
        UnpicklingError: The checkpoint holds what only executing it would load.
        ValueError: It is one of another network.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f'there is no checkpoint at {checkpoint}; name a file')
    model = init_detector(config, str(checkpoint), device=device or get_device())
    load_all_weights(model, checkpoint)
    return model


def load_all_weights(model: nn.Module, checkpoint: str | Path) -> None:
    """Load a checkpoint that has each weight of a network, and no other.

    Raises:
        ValueError: It has not; MMEngine alone would say so in the log, and leave weights random.
    """
    try:
        load_checkpoint(model, str(checkpoint), map_location='cpu', strict=True)
    except RuntimeError as error:
        raise ValueError(
            f'{checkpoint} is a checkpoint of another network than this {type(model).__name__}; '
            f'name the config of its training: {error}'
        ) from error
