"""The weights file of a teacher whose image encoder was tuned.

``{'state_dict': .., 'raw': ..}``: open_clip's loader takes the first, and the second is what the
changed weights were before. So the identity of the raw teacher can be computed from the weights
alone, and words that it encoded are known to be words of the tuned one as well.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: What open_clip calls the image encoder, in any of its models.
IMAGE_ENCODER = 'visual.'


def write_tuned_weights(path: str | Path, raw: dict[str, Tensor], tuned: dict[str, Tensor]) -> int:
    """Write the file, of the weights of one model before and after.

    Returns:
        How many numbers have changed.

    Raises:
        ValueError: Nothing has changed, or something that is not of the image encoder.
    """
    changed = {k: v.detach().cpu().clone() for k, v in raw.items() if not torch.equal(v, tuned[k])}
    if not changed:
        raise ValueError('the teacher was not tuned: all of its weights are what they were')
    _check_image_encoder(changed, 'were changed')
    weights = {key: value.detach().cpu().contiguous() for key, value in tuned.items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save({'state_dict': weights, 'raw': changed}, path)
    return sum(int((tuned[key].cpu() != value).sum()) for key, value in changed.items())


def raw_values(path: str | Path, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the weights, which were loaded from a file, were before the tuning.

    Empty for a file of another kind, and for what is no file.

    Raises:
        ValueError: The file says so of weights that the model does not have, or that are not of the
            image encoder.
    """
    path = Path(path)
    if not path.is_file() or not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith('constants.pkl') for name in archive.namelist()):
            return {}  # of TorchScript, as OpenAI's own
    try:
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError):
        return {}
    raw = content.get('raw', {}) if isinstance(content, dict) else {}
    if not raw or not isinstance(raw, dict):
        return {}
    shapes = {key: value.shape for key, value in weights.items()}
    if unknown := [key for key, value in raw.items() if shapes.get(key) != _shape(value)]:
        raise ValueError(
            f'{path} says what {unknown[0]} was before tuning, which the model does not have in '
            'this shape; make the file again with tools/model_converters/tuned_teacher.py'
        )
    _check_image_encoder(raw, f'are said by {path} to have been tuned')
    return {key: value.to(weights[key]) for key, value in raw.items()}


def _shape(value: Any) -> torch.Size | str:
    return value.shape if isinstance(value, Tensor) else 'of no tensor'


def _check_image_encoder(weights: dict[str, Tensor], what: str) -> None:
    if other := [key for key in weights if not key.startswith(IMAGE_ENCODER)]:
        raise ValueError(
            f'weights outside of the image encoder {what}: {other[:5]}; the words of the raw '
            'teacher would not be those of the tuned one'
        )
