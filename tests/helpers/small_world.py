"""What makes the docs' commands small and independent of the network; see docs_code.py.

A config that any of them loads has fewer channels, RoIs, pixels and iterations, and no pretrained
weights. CLIP's are random ones under CLIP's names.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import authors_network
import open_clip
import torch
import torch.distributed.run  # noqa: F401
from config_files import SMALL_IMAGES
from mmdet import apis  # noqa: F401
from mmengine.config import Config

import mmdet_vild
from mmdet_vild.teacher import OpenCLIPTeacher

#: In place of the settings of any dict of a config that has this ``type``.
SMALL = SMALL_IMAGES | {
    'EpochBasedTrainLoop': dict(max_epochs=1, val_begin=2),
    'IterBasedTrainLoop': dict(max_iters=2),
    'LoggerHook': dict(interval=1),
    'OpenCLIPTeacher': dict(autocast=None),  # float16 is for GPUs
    'CLIPCropEmbedding': dict(max_proposals=8),
    'SyncBN': dict(type='BN'),  # which needs a GPU
}
#: In place of the settings of these names that have these values.
WIDTHS = {
    ('in_channels', 256): 16,
    ('out_channels', 256): 16,
    ('feat_channels', 256): 16,
    ('conv_out_channels', 256): 16,
    ('fc_out_channels', 1024): 32,
    ('num_classes', 1203): 5,
    ('num_classes', 227): 5,
    ('pad_size_divisor', 1024): 64,
    # Regions of a network so narrow look the same; all might be background, and rounded to nothing.
    ('temperature', 0.01): 0.1,
}
#: In place of the settings of these names.
SIZES = dict(num_workers=0, persistent_workers=False, backend='gloo')
#: CLIP's names that the docs use.
MODELS = ('ViT-B-32-quickgelu', 'ViT-L-14-quickgelu', 'RN50-quickgelu')
fromfile = Config.fromfile


def small(node: object, nothing: str) -> object:
    """A part of a config; ``nothing`` is a checkpoint that holds nothing."""
    if isinstance(node, dict):
        kind = node.get('type')
        for key, value in {**node, **SMALL.get(kind, {})}.items():
            node[key] = small(value, nothing)
        node.update({key: value for key, value in SIZES.items() if key in node})
        node.update({key: new for (key, old), new in WIDTHS.items() if node.get(key) == old})
        if 'fc_norm_cfg' in node:
            node['fc_norm_cfg']['type'] = 'BN1d'
        if kind == 'Pretrained':
            node['checkpoint'] = nothing
        return node
    if isinstance(node, list | tuple):
        return type(node)(small(value, nothing) for value in node)
    return node


def prepare(weights: str) -> None:
    """Change what loads configs and weights; random ones are written to the folder ``weights``."""
    folder = Path(weights)
    nothing = folder / 'nothing.pth'
    torch.save({}, nothing)
    content = Path(mmdet_vild.__file__).parent / 'teacher/model_configs/mini-clip.json'
    content = json.loads(content.read_text())
    for model in MODELS:
        (folder / f'{model}.json').write_text(json.dumps({**content, 'quick_gelu': True}))
    open_clip.add_model_config(folder)

    def small_config(*args, **kwargs) -> Config:
        config = fromfile(*args, **kwargs)
        # The options of benchmarks say what is measured.
        return config if 'benchmarks' in sys.argv[0] else make_small(config, str(nothing))

    def small_weights(pretrained_cfg: dict, **_) -> str:
        """A file of random weights, others for each URL."""
        url = pretrained_cfg.get('url') or str(pretrained_cfg)
        path = folder / f'{hashlib.sha256(url.encode()).hexdigest()[:16]}.pt'
        if not path.exists():
            torch.manual_seed(int(path.stem, 16) % 2**32)
            partial = path.with_suffix(f'.{os.getpid()}')
            torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), partial)
            partial.rename(path)
        return str(path)

    Config.fromfile = staticmethod(small_config)
    open_clip.download_pretrained = open_clip.factory.download_pretrained = small_weights


def make_small(config: Config, nothing: str) -> Config:
    """A config file's content, made small."""
    small(config._cfg_dict, nothing)
    model = config.get('model', {})
    backbone = model.get('backbone', {})
    if backbone.get('type') == 'ResNet' and backbone.depth >= 50:
        backbone.base_channels = 8
        model.neck.in_channels = [32, 64, 128, 256]
    if backbone.get('type') == 'TFResNet':
        # The classes of LVIS are 5 already; others are as many as they are.
        left_out = ['num_classes'] if model.roi_head.mask_head else ['num_classes', '.mask_']
        options = authors_network.CFG_OPTIONS.items()
        config.merge_from_dict(
            {k: v for k, v in options if not any(part in k for part in left_out)}
        )
    if 'train_dataloader' in config:
        config.train_dataloader.batch_size = min(config.train_dataloader.batch_size, 4)
        config.train_dataloader.dataset.setdefault('indices', 4)
    object.__setattr__(config, '_format_python_code', False)  # which takes a second each time
    if 'roi_head' in model:
        model.train_cfg.rpn_proposal.max_per_img = 50
        model.train_cfg.rcnn.sampler.num = 16
        model.test_cfg.rpn.max_per_img = 10
        model.test_cfg.rcnn.max_per_img = min(model.test_cfg.rcnn.max_per_img, 50)
    return config
