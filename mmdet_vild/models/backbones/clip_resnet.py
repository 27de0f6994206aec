"""CLIP's ResNet as a backbone."""

from collections import OrderedDict
from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_vild.options import Count, checked_options

#: Blocks of each of the four layers, and the width of the stem.
SIZES = {'RN50': ((3, 4, 6, 3), 64), 'RN101': ((3, 4, 23, 3), 64), 'RN50x4': ((4, 6, 10, 6), 80)}
EXPANSION = 4


@MODELS.register_module()
@checked_options
class CLIPResNet(BaseModule):
    """The ResNet of CLIP (Radford et al., 2021, Sec. 2.4), without its attention pool.

    It has a stem of three convolutions and an average pool, and average pools where others have
    strides. Names of parameters are open_clip's: a checkpoint that
    ``tools/model_converters/clip_backbone.py`` writes is loaded by
    ``init_cfg=dict(type='Pretrained', checkpoint=...)``. Batch norms are trained, as in GKC.

    Args:
        arch: ``'RN50'``, ``'RN101'`` or ``'RN50x4'``; or (blocks of four layers, width of the stem)
            of another one.
        frozen_stages: Nothing is frozen at -1; at 0 the stem is, at n also the first n layers.
        init_cfg: As of any module of mmengine.

    Raises:
        ValueError: There is no such ``arch``.
    """

    def __init__(
        self,
        arch: str | Sequence = 'RN50',
        frozen_stages: int = -1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(arch, str) and arch not in SIZES:
            raise ValueError(f'arch of CLIPResNet must be one of {sorted(SIZES)}, found {arch!r}')
        blocks, width = SIZES[arch] if isinstance(arch, str) else arch
        widths = (3, width // 2, width // 2, width)
        for i in (1, 2, 3):
            stride = 2 if i == 1 else 1
            conv = nn.Conv2d(widths[i - 1], widths[i], 3, stride, padding=1, bias=False)
            self.add_module(f'conv{i}', conv)
            self.add_module(f'bn{i}', nn.BatchNorm2d(widths[i]))
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AvgPool2d(2)
        given = width
        for i, count in enumerate(blocks):
            inner, layer = width * 2**i, []
            for number in range(count):
                stride = 2 if i and not number else 1
                layer.append(CLIPBottleneck(given, inner, stride))
                given = inner * EXPANSION
            self.add_module(f'layer{i + 1}', nn.Sequential(*layer))
        frozen = [self.conv1, self.bn1, self.conv2, self.bn2, self.conv3, self.bn3]
        self._frozen = frozen[: 6 * (frozen_stages >= 0)]
        self._frozen += [getattr(self, f'layer{i}') for i in range(1, frozen_stages + 1)]
        for module in self._frozen:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'CLIPResNet':
        """As of any module; frozen stages stay in inference."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps of the strides 4, 8, 16 and 32 of images (B, 3, H, W)."""
        for i in (1, 2, 3):
            x = self.relu(getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(x)))
        x, maps = self.avgpool(x), []
        for i in (1, 2, 3, 4):
            x = getattr(self, f'layer{i}')(x)
            maps.append(x)
        return tuple(maps)


class CLIPBottleneck(nn.Module):
    """A block that, where it has a stride, takes averages before the last convolution."""

    def __init__(self, given: int, inner: int, stride: Count) -> None:
        super().__init__()
        outer = inner * EXPANSION
        self.conv1 = nn.Conv2d(given, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or given != outer:
            parts = [('-1', nn.AvgPool2d(stride)), ('0', nn.Conv2d(given, outer, 1, bias=False))]
            self.downsample = nn.Sequential(OrderedDict([*parts, ('1', nn.BatchNorm2d(outer))]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, given, H, W) to (B, 4 inner, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.avgpool(self.relu(self.bn2(self.conv2(x))))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)
