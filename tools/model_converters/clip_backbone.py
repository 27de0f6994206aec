"""Write the weights of CLIP's ResNet, which open_clip has, for the backbone CLIPResNet.

    python tools/model_converters/clip_backbone.py --model RN50-quickgelu --pretrained openai \\
        --out data/weights/clip_rn50.pth
"""

import argparse
from pathlib import Path

import torch

from mmdet_vild.models import CLIPResNet
from mmdet_vild.models.backbones.clip_resnet import SIZES
from mmdet_vild.teacher import OpenCLIPTeacher


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', required=True, help='an open_clip name, such as RN50-quickgelu')
    parser.add_argument('--pretrained', required=True, help='an open_clip tag or a weights file')
    parser.add_argument('--model-config', help='a JSON config of the model, if it is your own')
    parser.add_argument('--out', required=True, help='the .pth file to write')
    args = parser.parse_args()
    teacher = OpenCLIPTeacher(args.model, args.pretrained, args.model_config)
    weights = backbone_weights(teacher.model.visual.state_dict())
    arch = args.model.removesuffix('-quickgelu')
    if arch in SIZES:
        CLIPResNet(arch).load_state_dict(weights)  # or it is of another network
    elif 'layer4.0.conv1.weight' not in weights:
        raise SystemExit(f'{args.model} has no ResNet; CLIPResNet has {sorted(SIZES)}')
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=weights, meta=dict(teacher=teacher.identity)), args.out)
    print(f'{args.out}: {len(weights)} arrays of the ResNet of {teacher.identity}')


def backbone_weights(visual: dict) -> dict:
    """Of the image encoder's state dict, what is not of its attention pool."""
    return {name: value for name, value in visual.items() if not name.startswith('attnpool.')}


if __name__ == '__main__':
    main()
