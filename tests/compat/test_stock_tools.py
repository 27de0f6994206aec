"""MMDetection's own tools and a stock Mask R-CNN, as the subprocesses that a user starts.

They start with what MMDetection's packages import having been imported, and none of these packages.
Distributed runs are tested in ``tests/end_to_end``, with ViLD.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import mmdet
import numpy as np
import pytest
from warm_python import WarmPython

pytestmark = [pytest.mark.onedl, pytest.mark.slow]

IMPORTED = (
    'import cv2, matplotlib.pyplot, pycocotools.mask, rich, scipy.optimize, sys, terminaltables\n'
    'import timm, torch.utils.data, torchvision, yapf\n'
    "assert not {'mmcv', 'mmdet', 'mmengine', 'mmdet_vild'} & set(sys.modules)"
)
TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
CONFIG = """
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmdet_vild'])
heads = dict(in_channels=32, num_classes=2)
model = dict(
    backbone=dict(depth=18, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        mask_roi_extractor=dict(out_channels=32),
        bbox_head=dict(fc_out_channels=64, **heads),
        mask_head=dict(conv_out_channels=32, **heads),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.0)),
)
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
dataset = dict(
    _delete_=True,
    type='LVISV1Dataset',
    ann_file='{root}/annotations.json',
    data_prefix=dict(img='{root}'),
    metainfo=dict(classes=('square', 'disc')),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 96), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs', meta_keys=keys),
    ],
)
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dataset)
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(dataset, test_mode=True)
)
val_dataloader = val_cfg = val_evaluator = None
test_evaluator = dict(
    _delete_=True, type='LVISMetric', metric=['bbox', 'segm'], ann_file='{root}/annotations.json'
)
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2)
param_scheduler = []
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1))
log_processor = dict(by_epoch=False)
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Runs Python with some arguments; returns its output."""
    python = WarmPython(tmp_path / 'python', IMPORTED, dict(os.environ))

    def run(*arguments: object) -> str:
        command = [tmp_path / 'python', *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    yield run
    python.stop()


def make_world(root: Path) -> Path:
    """Write four pictures of a square each, LVIS annotations and a config; return the config."""
    images, annotations = [], []
    for number in range(1, 5):
        picture = np.zeros((96, 96, 3), np.uint8)
        picture[30:60, 30:60] = 200
        cv2.imwrite(str(root / f'{number:012d}.png'), picture)
        url = f'http://images.cocodataset.org/{number:012d}.png'
        image = dict(id=number, height=96, width=96, coco_url=url)
        images.append(image | dict(neg_category_ids=[], not_exhaustive_category_ids=[]))
        outline = [[30.0, 30.0, 60.0, 30.0, 60.0, 60.0, 30.0, 60.0]]
        annotation = dict(id=number, image_id=number, category_id=1, iscrowd=0, area=900)
        annotations.append(annotation | dict(bbox=[30, 30, 30, 30], segmentation=outline))
    categories = [dict(id=i, name=n, frequency='f') for i, n in enumerate(('square', 'disc'), 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'annotations.json').write_text(json.dumps(content))
    (root / 'config.py').write_text(CONFIG.replace('{root}', str(root)))
    return root / 'config.py'


def test_train_test_resume_and_infer(tmp_path: Path, run: Callable[..., str]) -> None:
    config, train = make_world(tmp_path), (TOOLS / 'train.py', tmp_path / 'config.py')
    run(*train, '--work-dir', tmp_path / 'run')
    checkpoint = tmp_path / 'run' / 'iter_2.pth'
    output = run(TOOLS / 'test.py', config, checkpoint, '--work-dir', tmp_path / 'test')
    assert 'lvis/bbox_AP' in output and 'lvis/segm_AP' in output
    options = ('--resume', '--cfg-options', 'train_cfg.max_iters=3')
    assert 'resumed epoch: 0, iter: 2' in run(*train, '--work-dir', tmp_path / 'run', *options)
    assert (tmp_path / 'run' / 'iter_3.pth').exists()
    # Without a config the inferencer finds it in the checkpoint, which it must be able to load.
    code = (
        'from mmdet.apis import DetInferencer\n'
        f'for model in ({str(config)!r}, None):\n'
        f"    inferencer = DetInferencer(model, weights={str(checkpoint)!r}, device='cpu')\n"
        f'    result = inferencer({str(tmp_path / "000000000001.png")!r}, no_save_vis=True)\n'
        "    print('found', len(result['predictions'][0]['scores']))"
    )
    assert run('-c', code).count('found') == 2
