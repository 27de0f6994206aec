"""What makes the docs' commands small and independent of the network; see docs_code.py.

Run before the commands, in the process that they are children of: a config that any of them loads
has fewer channels, RoIs, pixels and iterations, and no pretrained weights. CLIP's are random ones
under CLIP's names.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import open_clip
import torch
from mmdet import apis  # noqa: F401
from mmengine.config import Config

import mmdet_vild  # noqa: F401
from mmdet_vild.teacher import OpenCLIPTeacher

SIZE = 96
#: In place of the settings of any dict of a config that has this ``type``.
SMALL = {
    'Resize': dict(scale=(SIZE, SIZE)),
    'TFResize': dict(scale=(SIZE, SIZE)),
    'RandomChoiceResize': dict(scales=[(SIZE, SIZE), (128, 128)]),
    'RandomResize': dict(scale=(SIZE, SIZE), ratio_range=(1.0, 1.2)),
    'RandomCrop': dict(crop_size=(SIZE, SIZE)),
    'BatchFixedSizePad': dict(size=(SIZE, SIZE)),
    'EpochBasedTrainLoop': dict(max_epochs=1, val_begin=2),
    'IterBasedTrainLoop': dict(max_iters=2),
    'LoggerHook': dict(interval=1),
    'OpenCLIPTeacher': dict(autocast=None),  # float16 is for GPUs
    'CLIPCropEmbedding': dict(max_proposals=8),
}
#: In place of the settings of these names that have these values.
WIDTHS = {
    ('in_channels', 256): 16,
    ('out_channels', 256): 16,
    ('feat_channels', 256): 16,
    ('conv_out_channels', 256): 16,
    ('fc_out_channels', 1024): 32,
    ('num_classes', 1203): 5,
    ('num_classes', 294): 5,
    ('pad_size_divisor', 1024): 64,
    # Regions of a network so narrow look the same; all might be background, and rounded to nothing.
    ('temperature', 0.01): 0.1,
}
#: In place of the settings of these names.
SIZES = dict(num_workers=0, persistent_workers=False, backend='gloo')
#: CLIP's names that the docs use.
MODELS = ('ViT-B-32-quickgelu', 'ViT-L-14-quickgelu')
fromfile = Config.fromfile


def small(node):
    """A part of a config."""
    if isinstance(node, dict):
        kind = node.get('type')
        for key, value in {**node, **SMALL.get(kind, {})}.items():
            node[key] = small(value)
        if kind == 'SyncBN':  # which needs a GPU
            node['type'] = 'BN'
        if 'fc_norm_cfg' in node:
            node['fc_norm_cfg']['type'] = 'BN1d'
        if kind == 'Pretrained':
            node['checkpoint'] = str(nothing)
        for key, value in SIZES.items():
            if key in node:
                node[key] = value
        for (key, old), new in WIDTHS.items():
            if node.get(key) == old:
                node[key] = new
        return node
    if isinstance(node, list | tuple):
        return type(node)(small(value) for value in node)
    return node


def small_config(*args, **kwargs) -> Config:
    """A config file's content, made small."""
    config = fromfile(*args, **kwargs)
    if 'benchmarks' in sys.argv[0]:  # whose options say what is measured
        return config
    small(config._cfg_dict)
    model = config.get('model', {})
    if model.get('backbone', {}).get('type') == 'ResNet' and model.backbone.depth >= 50:
        model.backbone.base_channels = 8
        model.neck.in_channels = [32, 64, 128, 256]
    if model.get('backbone', {}).get('type') == 'TFResNet':
        config.merge_from_dict(authors_network.CFG_OPTIONS)
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


import authors_network  # noqa: E402

folder = Path(sys.argv[1])
nothing = folder / 'nothing.pth'
torch.save({}, nothing)
content = json.loads(
    (Path(mmdet_vild.__file__).parent / 'teacher/model_configs/mini-clip.json').read_text()
)
for model in MODELS:
    (folder / f'{model}.json').write_text(json.dumps({**content, 'quick_gelu': True}))
open_clip.add_model_config(folder)
Config.fromfile = staticmethod(small_config)
open_clip.factory.download_pretrained = small_weights
