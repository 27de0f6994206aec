"""FPN as the authors' TensorFlow implementation has it."""

from mmcv.cnn import build_norm_layer
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmdet_vild.options import checked_options


@MODELS.register_module()
@checked_options
class TFFPN(FPN):
    """mmdet's FPN with a norm after every output, the extra level made of P5 before its norm.

    TensorFlow's ``'SAME'`` padding of the extra conv is mmcv's
    ``conv_cfg=dict(type='Conv2dAdaptivePadding')``.

    Args:
        out_norm_cfg: Norm of each output.
        **kwargs: As :class:`mmdet.models.necks.FPN`.
    """

    def __init__(self, out_norm_cfg: dict, **kwargs) -> None:
        super().__init__(**kwargs)
        self.out_norms = nn.ModuleList(
            build_norm_layer(out_norm_cfg, self.out_channels)[1] for _ in range(self.num_outs)
        )

    def forward(self, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """As :meth:`mmdet.models.necks.FPN.forward`."""
        outs = super().forward(inputs)
        return tuple(norm(out) for norm, out in zip(self.out_norms, outs, strict=True))
