"""A converted checkpoint of the authors', fine-tuned and tested by MMDetection's tools."""

import math
import sys

import authors_network
import pytest
import torch
from stock_world import OWN_TOOLS, StockWorld

from mmdet_vild import config_path
from mmdet_vild.teacher import OpenCLIPTeacher

pytestmark = [pytest.mark.onedl, pytest.mark.slow]

#: The authors' network on the data and with the schedule of the mini world.
CONFIG = """
_base_ = [
    '{0}/_base_/models/vild_mask-rcnn_r50_fpn_tf.py',
    '{0}/_base_/datasets/mini_lvis_instance.py',
    '{0}/_base_/schedules/schedule_mini.py',
    '{0}/_base_/mini_runtime.py',
]
model = dict(data_preprocessor=dict(pad_size_divisor=64, batch_augments=None))
"""
WORDS = 'model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings='


def test_fine_tuning(world: StockWorld) -> None:
    """It starts from the converted weights, and the result is tested."""
    teacher = OpenCLIPTeacher('mini-clip-lite0', str(world.teacher))
    folder = world.work / 'authors'
    folder.mkdir(parents=True)
    config = folder / 'vild_tf.py'
    config.write_text(CONFIG.format(config_path()))
    values = authors_network.variables(embed_dims=teacher.embed_dims)
    source = authors_network.write_npz(folder / 'source.npz', values)
    narrow = [f'{k}={v}'.replace(' ', '') for k, v in authors_network.CFG_OPTIONS.items()]
    checkpoint = folder / 'converted.pth'
    world.run(
        *(sys.executable, OWN_TOOLS / 'model_converters' / 'vild_tf_to_mmdet.py'),
        *(source, config, checkpoint, '--categories', world.data / 'categories.json'),
        *('--cfg-options', *narrow, f'{WORDS}{folder / "text.npz"}'),
    )
    # Another model than that of the authors is the teacher of this world, and encoded its words.
    options = [*narrow, f'{WORDS}{world.text}']
    world.train(
        *(str(config), 'authors', *options, f'load_from={checkpoint}'),
        *('train_cfg.max_iters=1', 'optim_wrapper.optimizer.lr=0'),
    )
    (iteration, *_) = world.logged('authors')
    assert 'loss_distill' in iteration
    assert all(math.isfinite(value) for key, value in iteration.items() if 'loss' in key)
    trained = torch.load(folder / 'iter_1.pth', weights_only=True)['state_dict']
    converted = torch.load(checkpoint, weights_only=True)['state_dict']
    assert set(converted) < set(trained)
    for name, value in converted.items():
        if 'running' not in name:
            torch.testing.assert_close(trained[name], value, rtol=0, atol=0)
    done = world.test(str(config), folder / 'iter_1.pth', 'authors-test', *options)
    assert 'lvis/segm_APr: ' in done.stdout
