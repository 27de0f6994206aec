"""The config files, as they are."""

import functools
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).parents[2]
NAMES = sorted(str(p.relative_to(ROOT / 'configs')) for p in ROOT.glob('configs/[!_]*/*.py'))
#: Begin the names of what only tests.
ONLY_TEST = ('transfer/', 'vild/clip', 'vild/vild-text-clip')
#: Part of a config's name -> open_clip's name and weights.
OPEN_CLIP = {
    'vit-b-32': ('ViT-B-32-quickgelu', 'openai'),
    'vit-b-16': ('ViT-B-16-quickgelu', 'openai'),
    'vit-l-14': ('ViT-L-14-quickgelu', 'openai'),
    'siglip-b-16': ('ViT-B-16-SigLIP', 'webli'),
}


@functools.cache
def read(name: str) -> Config:
    """A config as it is; reading one takes a second."""
    return Config.fromfile(str(ROOT / 'configs' / name), import_custom_modules=False)


def train_set(config: dict) -> dict:
    """The dataset, out of what wraps it."""
    dataset = config['train_dataloader']['dataset']
    return dataset.get('dataset', dataset)
