"""The config files, as they are."""

import functools
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).parents[2]
#: But for those of GKC, which test_gkc_configs.py and test_gkc_mini_configs.py have.
GKC_MINI = sorted(
    p.name
    for kind in ('gkc', 'segment-embeddings', 'clip-on-masks')
    for p in ROOT.glob(f'configs/mini_lvis/{kind}*_mini-lvis.py')
)
NAMES = sorted(
    str(p.relative_to(ROOT / 'configs'))
    for p in ROOT.glob('configs/[!_]*/*.py')
    if p.parent.name != 'gkc' and p.name not in GKC_MINI
)
#: What test_gkc_configs.py has.
GKC = sorted(str(p.relative_to(ROOT / 'configs')) for p in ROOT.glob('configs/gkc/*.py'))
#: Begin the names of what only tests.
ONLY_TEST = (
    *('transfer/', 'vild/clip', 'vild/vild-text-clip', 'vild/vild-plus-teacher'),
    *('ezsd/region-embeddings_clip', 'mini_lvis/region-embeddings_clip'),
    *('mini_lvis/vild-plus-teacher', 'mini_lvis/vild-teacher'),
    *('gkc/gkc_r50-clip_8xb14-50k_coco-panoptic_', 'gkc/segment-embeddings'),
)
#: Begin the names of what trains a teacher.
TUNING = ('ezsd/tune-teacher', 'mini_lvis/tune-teacher')
#: Part of a config's name -> open_clip's name and weights.
OPEN_CLIP = {
    'vit-b-32': ('ViT-B-32-quickgelu', 'openai'),
    'vit-b-16': ('ViT-B-16-quickgelu', 'openai'),
    'vit-l-14': ('ViT-L-14-quickgelu', 'openai'),
    'siglip-b-16': ('ViT-B-16-SigLIP', 'webli'),
}

SIZE = 96
#: Settings of what would make images large, in place of its own.
SMALL_IMAGES = {
    'Resize': dict(scale=(SIZE, SIZE)),
    'TFResize': dict(scale=(SIZE, SIZE)),
    'RandomChoiceResize': dict(scales=[(SIZE, SIZE), (128, 128)]),
    'RandomResize': dict(scale=(SIZE, SIZE), ratio_range=(1.0, 1.2)),
    'RandomCrop': dict(crop_size=(SIZE, SIZE)),
    'BatchFixedSizePad': dict(size=(SIZE, SIZE)),
}


@functools.cache
def read(name: str) -> Config:
    """A config as it is; reading one takes a second."""
    return Config.fromfile(str(ROOT / 'configs' / name), import_custom_modules=False)


def train_set(config: dict) -> dict:
    """The dataset, out of what wraps it."""
    dataset = config['train_dataloader']['dataset']
    return dataset.get('dataset', dataset)


def flat(node, path: str = '') -> dict:
    """Every value of a config by its path."""
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, list | tuple) and any(isinstance(v, dict) for v in node):
        pairs = enumerate(node)
    else:
        return {path: node}
    return {
        key: found
        for name, value in pairs
        for key, found in flat(value, f'{path}.{name}'.strip('.')).items()
    }
