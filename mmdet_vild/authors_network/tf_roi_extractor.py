"""RoI features as the authors' TensorFlow implementation takes them."""

import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from torch import Tensor, nn

from mmdet_vild.options import checked_options


class UnshiftedRoIAlign(RoIAlign):
    """RoIAlign whose feature at (i, j) lies at the coordinates i, j, not i + 0.5, j + 0.5.

    mmcv's ``aligned=False`` does the same, and enlarges boxes below one cell besides.
    """

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """(b, c, h, w) features and (n, 5) RoIs to (n, c, *output_size)."""
        # Not by a list of numbers, for which the host would wait on a GPU.
        shift = torch.full_like(rois, 0.5 / self.spatial_scale)
        shift[:, 0] = 0
        return super().forward(input, rois + shift)


@MODELS.register_module()
@checked_options
class TFRoIExtractor(SingleRoIExtractor):
    """mmdet's extractor, with the authors' bilinear sampling.

    They take one sample at the centre of each output cell (``sampling_ratio=1``), at coordinates
    that are not shifted by half a cell, from P2 to P6.

    Args:
        roi_layer: Arguments of :class:`mmcv.ops.RoIAlign`, whose ``type`` may be left out.
        **kwargs: As :class:`mmdet.models.roi_heads.roi_extractors.SingleRoIExtractor`.
    """

    def build_roi_layers(self, layer_cfg: ConfigType, featmap_strides: list[int]) -> nn.ModuleList:
        """One layer a level."""
        return super().build_roi_layers(dict(layer_cfg, type=UnshiftedRoIAlign), featmap_strides)

    def map_roi_levels(self, rois: Tensor, num_levels: int) -> Tensor:
        """The level of each of (n, 5) RoIs; the lowest for one whose corners are swapped."""
        corners = torch.maximum(rois[:, 1:3], rois[:, 3:])
        return super().map_roi_levels(torch.cat([rois[:, :3], corners], dim=1), num_levels)
