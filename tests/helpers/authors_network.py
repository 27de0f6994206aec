"""A narrow network of the authors': random weights as their checkpoints have them, and formulas."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmdet_vild import config_path

TOOLS = Path(__file__).parents[2] / 'tools' / 'model_converters'
CATEGORIES, WIDTH, FC, EMBED_DIMS, STEM = 5, 8, 12, 6, 4
BLOCKS = {50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}


def narrow(width: int, fc: int, categories: int) -> dict[str, object]:
    """What makes the neck and the heads of a config of configs/vild_official narrow."""
    rpn, roi = 'model.rpn_head', 'model.roi_head'
    channels = ('model.neck.out_channels', f'{rpn}.in_channels', f'{rpn}.feat_channels')
    extractors = ('bbox_roi_extractor.out_channels', 'mask_roi_extractor.out_channels')
    heads = [f'{h}.{c}' for h in ('bbox_head', 'mask_head') for c in ('in', 'conv_out')]
    options = dict.fromkeys([*channels, *(f'{roi}.{name}' for name in extractors)], width)
    options |= {f'{roi}.{name}_channels': width for name in heads}
    options |= {f'{roi}.{head}.num_classes': categories for head in ('bbox_head', 'mask_head')}
    return options | {f'{roi}.bbox_head.fc_out_channels': fc}


#: What makes a config as narrow as these variables.
CFG_OPTIONS = {
    'model.backbone.base_channels': STEM,
    'model.backbone.stem_channels': STEM,
    'model.neck.in_channels': [STEM * 4, STEM * 8, STEM * 16, STEM * 32],
} | narrow(WIDTH, FC, CATEGORIES)


def model_config() -> Config:
    """The authors' network of ViLD with a ResNet-50, in its own width."""
    register_all_modules()
    return Config.fromfile(
        config_path('vild_official/vild_r50_fpn_tf_32xb8-lsj-180k_lvis-v1.py')
    ).model


def run_converter(tool: str, *arguments: object) -> None:
    """Run a tool of tools/model_converters in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        patch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        runpy.run_path(str(TOOLS / tool), run_name='__main__')


def load_converted(checkpoint: Path) -> tuple[nn.Module, Config]:
    """The model of a checkpoint, by the config in it alone."""
    register_all_modules()
    state = torch.load(checkpoint, weights_only=True)
    cfg = Config.fromstring(state['meta']['cfg'], file_format='.py')
    model = revert_sync_batchnorm(MODELS.build(cfg.model))  # SyncBN needs a GPU
    missing, unexpected = model.load_state_dict(state['state_dict'], strict=False)
    assert not missing and not unexpected
    return model.eval(), cfg


def shapes(
    depth: int = 50, ensemble: bool = False, embed_dims: int = EMBED_DIMS
) -> dict[str, tuple[int, ...]]:
    """Every variable of the network, as TensorFlow names and shapes it."""
    found = {}

    def dense(name: str, *shape: int, bias: bool = True) -> None:
        found[f'{name}/kernel'] = shape
        if bias:
            found[f'{name}/bias'] = shape[-1:]

    def conv(name: str, size: int, inputs: int, outputs: int, bias: bool = True) -> None:
        dense(name, size, size, inputs, outputs, bias=bias)

    def norm(name: str, width: int) -> None:
        for part in ('gamma', 'beta', 'moving_mean', 'moving_variance'):
            found[f'{name}/{part}'] = (width,)

    backbone = [(7, 3, STEM)]
    inputs = STEM
    for stage, blocks in enumerate(BLOCKS[depth]):
        width = STEM * 2**stage
        for block in range(blocks):
            if block == 0:
                backbone.append((1, inputs, width * 4))
            backbone += [(1, inputs, width), (3, width, width), (1, width, width * 4)]
            inputs = width * 4
    for i, (size, before, after) in enumerate(backbone):
        suffix = f'_{i}' if i else ''
        conv(f'resnet{depth}/conv2d{suffix}', size, before, after, bias=False)
        norm(f'resnet{depth}/batch_normalization{suffix}', after)
    for level in range(2, 7):
        if level < 6:
            conv(f'fpn/l{level}', 1, STEM * 2**level, WIDTH)
            conv(f'fpn/post_hoc_d{level}', 3, WIDTH, WIDTH)
        norm(f'fpn/p{level}-bn', WIDTH)
        norm(f'rpn_head/rpn-l{level}-bn', WIDTH)
        norm(f'rpn_head/rpn-l{level}-bn-1', WIDTH)
    for name in ('fpn/p6', 'rpn_head/rpn', 'rpn_head/rpn-1'):
        conv(name, 3, WIDTH, WIDTH)
    conv('rpn_head/rpn-class', 1, WIDTH, 3)
    conv('rpn_head/rpn-box', 1, WIDTH, 12)
    head = 'frcnn_layer_0/fast_rcnn_head'
    norms = 0
    for kind in ('', 'distill_') if ensemble else ('',):
        for i in range(4):
            conv(f'{head}/{kind}conv_{i}', 3, WIDTH, WIDTH)
        dense(f'{head}/{kind}fc6', 7 * 7 * WIDTH, FC)
        dense(f'{head}/{kind}fc7', FC, FC)
        for width in (WIDTH,) * 4 + (FC,) * 2:
            norm(f'{head}/batch_normalization' + (f'_{norms}' if norms else ''), width)
            norms += 1
    dense(f'{head}/project-to-clip', FC, embed_dims)
    if ensemble:
        dense(f'{head}/distill-project-to-clip', FC, embed_dims)
    dense(f'{head}/class-predict', embed_dims, CATEGORIES, bias=False)
    dense(f'{head}/background-class-predict', embed_dims, 1, bias=False)
    dense(f'{head}/box-predict', FC, 4)
    for i in range(4):
        conv(f'mask_head/mask-conv-l{i}', 3, WIDTH, WIDTH)
        norm('mask_head/batch_normalization' + (f'_{i}' if i else ''), WIDTH)
    conv('mask_head/conv5-mask', 2, WIDTH, WIDTH)
    norm('mask_head/batch_normalization_4', WIDTH)
    conv('mask_head/mask_fcn_logits', 1, WIDTH, 1)
    return found


def variables(*args, **kwargs) -> dict[str, np.ndarray]:
    """Random values for :func:`shapes`."""
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.5, 1.5, shape).astype(np.float32)
        if name.endswith(('gamma', 'moving_variance'))
        else (rng.normal(size=shape) / np.sqrt(max(np.prod(shape[:-1]), 1))).astype(np.float32)
        for name, shape in shapes(*args, **kwargs).items()
    }


def write_npz(path: Path, values: dict[str, np.ndarray]) -> Path:
    """As the parity files have them."""
    np.savez(path, **{f'var/{name}:0': value for name, value in values.items()})
    return path


def write_categories(path: Path, count: int = CATEGORIES, novel: tuple[int, ...] = (1, 3)) -> Path:
    """An annotation file's categories, of which those at ``novel`` are rare."""
    categories = []
    for i in range(count):
        names = dict(name=f'category {i}', synonyms=[f'category {i}', f'thing {i}'])
        categories.append(dict(id=i + 1, frequency='r' if i in novel else 'f', **names))
    path.write_text(json.dumps(dict(categories=categories)))
    return path


class Reference:
    """The authors' network as plain formulas on their variables, in float64.

    Feature maps are (n, c, h, w); everything else is as they have it.
    """

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = {k: torch.from_numpy(v).double() for k, v in values.items()}

    def conv(self, name: str, x: Tensor, stride: int = 1, same: bool = False) -> Tensor:
        kernel = self.values[f'{name}/kernel'].permute(3, 2, 0, 1)
        size = kernel.shape[-1]
        if same:  # TensorFlow's 'SAME'
            total = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[2:]]
            (top, bottom), (left, right) = [(t // 2, t - t // 2) for t in total]
            x = F.pad(x, (left, right, top, bottom))
        else:
            x = F.pad(x, [size // 2] * 4)
        return F.conv2d(x, kernel, self.values.get(f'{name}/bias'), stride)

    def dense(self, name: str, x: Tensor) -> Tensor:
        return x @ self.values[f'{name}/kernel'] + self.values.get(f'{name}/bias', 0)

    def norm(self, name: str, x: Tensor) -> Tensor:
        gamma, beta, mean, variance = (
            self.values[f'{name}/{part}'].view(-1, *[1] * (x.ndim - 2))
            for part in ('gamma', 'beta', 'moving_mean', 'moving_variance')
        )
        return (x - mean) / (variance + 1e-4).sqrt() * gamma + beta

    def backbone(self, x: Tensor, depth: int = 50) -> list[Tensor]:
        count = iter(range(1000))

        def conv_norm(x: Tensor, stride: int = 1) -> Tensor:
            suffix = f'_{i}' if (i := next(count)) else ''
            x = self.conv(f'resnet{depth}/conv2d{suffix}', x, stride)
            return self.norm(f'resnet{depth}/batch_normalization{suffix}', x)

        x = conv_norm(x, 2).relu()
        height, width = x.shape[2:]
        # 'SAME' once more: with an even size all of it is at the bottom and right.
        assert height % 2 == width % 2 == 0
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-np.inf), 3, 2)
        outs = []
        for stage, blocks in enumerate(BLOCKS[depth]):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                shortcut = conv_norm(x, stride) if not block else x
                x = conv_norm(x).relu()
                x = conv_norm(x, stride).relu()
                x = (conv_norm(x) + shortcut).relu()
            outs.append(x)
        return outs

    def fpn(self, features: list[Tensor]) -> list[Tensor]:
        laterals = [self.conv(f'fpn/l{i}', x) for i, x in enumerate(features, 2)]
        for i in (2, 1, 0):
            laterals[i] = laterals[i] + F.interpolate(laterals[i + 1], scale_factor=2)
        outs = [self.conv(f'fpn/post_hoc_d{i}', x) for i, x in enumerate(laterals, 2)]
        outs.append(self.conv('fpn/p6', outs[-1], 2, same=True))
        return [self.norm(f'fpn/p{i}-bn', x) for i, x in enumerate(outs, 2)]

    def rpn(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Of each level scores (n, 3, h, w) and boxes (n, 12, h, w), dy, dx, dh, dw each time."""
        outs = []
        for level, x in enumerate(features, 2):
            for suffix in ('', '-1'):
                x = self.conv(f'rpn_head/rpn{suffix}', x)
                x = self.norm(f'rpn_head/rpn-l{level}-bn{suffix}', x).relu()
            outs.append((self.conv('rpn_head/rpn-class', x), self.conv('rpn_head/rpn-box', x)))
        return outs

    @staticmethod
    def roi_features(features: list[Tensor], boxes: Tensor, size: int) -> Tensor:
        """(m, c, size, size) of the first image, one bilinear sample a cell."""
        outs = []
        for x1, y1, x2, y2 in boxes.double().tolist():
            side = np.sqrt(max(x2 - x1, 0) * max(y2 - y1, 0))
            level = 0 if side == 0 else int(np.clip(np.floor(np.log2(side / 224)) + 4, 2, 6)) - 2
            x, stride = features[level][0], 4 * 2**level
            out = torch.zeros(len(x), size, size, dtype=torch.float64)
            for i in range(size):
                for j in range(size):
                    v = (y1 + (i + 0.5) * (y2 - y1) / size) / stride
                    u = (x1 + (j + 0.5) * (x2 - x1) / size) / stride
                    for row in (np.floor(v), np.floor(v) + 1):
                        for column in (np.floor(u), np.floor(u) + 1):
                            weight = (1 - abs(v - row)) * (1 - abs(u - column))
                            row_ = int(np.clip(row, 0, x.shape[1] - 1))
                            column_ = int(np.clip(column, 0, x.shape[2] - 1))
                            out[:, i, j] += weight * x[:, row_, column_]
            outs.append(out)
        return torch.stack(outs)

    def head(self, x: Tensor, ensemble: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits, background first, boxes dy, dx, dh, dw, and logits of the image branch."""
        scope, count, roi_features = 'frcnn_layer_0/fast_rcnn_head', iter(range(100)), x

        def norm_relu(x: Tensor) -> Tensor:
            suffix = f'_{i}' if (i := next(count)) else ''
            return self.norm(f'{scope}/batch_normalization{suffix}', x).relu()

        def branch(kind: str, projection: str) -> tuple[Tensor, Tensor]:
            x = roi_features
            for i in range(4):
                x = norm_relu(self.conv(f'{scope}/{kind}conv_{i}', x))
            x = x.permute(0, 2, 3, 1).flatten(1)
            for i in (6, 7):
                x = norm_relu(self.dense(f'{scope}/{kind}fc{i}', x))
            return x, F.normalize(self.dense(f'{scope}/{projection}', x), dim=1)

        words = F.normalize(self.values[f'{scope}/class-predict/kernel'], dim=0)
        background = F.normalize(self.values[f'{scope}/background-class-predict/kernel'], dim=0)
        x, text = branch('', 'project-to-clip')
        boxes = self.dense(f'{scope}/box-predict', x)
        image = None
        if ensemble:
            image = 100 * branch('distill_', 'distill-project-to-clip')[1] @ words
        return 100 * text @ torch.cat([background, words], dim=1), boxes, image

    def mask_head(self, x: Tensor) -> Tensor:
        """(m, 1, 2h, 2w) logits."""
        for i in range(4):
            x = self.conv(f'mask_head/mask-conv-l{i}', x)
            x = self.norm('mask_head/batch_normalization' + (f'_{i}' if i else ''), x).relu()
        kernel, bias = (self.values[f'mask_head/conv5-mask/{part}'] for part in ('kernel', 'bias'))
        # Every pixel becomes 2 x 2; the kernel is (h, w, out, in).
        x = torch.einsum('nchw,ijdc->ndhiwj', x, kernel).flatten(4, 5).flatten(2, 3)
        x = self.norm('mask_head/batch_normalization_4', x + bias.view(-1, 1, 1)).relu()
        return self.conv('mask_head/mask_fcn_logits', x)
