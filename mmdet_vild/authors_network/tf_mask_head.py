"""The mask head of the authors' TensorFlow implementation."""

from mmcv.cnn import build_norm_layer
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from torch import nn

from mmdet_vild.options import checked_options


@MODELS.register_module()
@checked_options
class TFFCNMaskHead(FCNMaskHead):
    """mmdet's mask head with a norm after the deconvolution too.

    Args:
        norm_cfg: Norm after each conv and the deconvolution.
        **kwargs: As :class:`mmdet.models.roi_heads.mask_heads.FCNMaskHead`.
    """

    def __init__(self, norm_cfg: dict, **kwargs) -> None:
        super().__init__(norm_cfg=norm_cfg, **kwargs)
        norm = build_norm_layer(norm_cfg, self.conv_out_channels)[1]
        self.upsample = nn.Sequential(self.upsample, norm)

    def init_weights(self) -> None:
        """Initialize the weights."""
        super().init_weights()
        # mmdet looks for the weight of the deconvolution in the upsampling module itself.
        nn.init.kaiming_normal_(self.upsample[0].weight, mode='fan_out', nonlinearity='relu')
        nn.init.zeros_(self.upsample[0].bias)
