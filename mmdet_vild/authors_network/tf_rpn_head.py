"""The RPN head of the authors' TensorFlow implementation."""

from mmcv.cnn import build_norm_layer
from mmdet.models.dense_heads import RPNHead
from mmdet.models.utils import multi_apply
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from mmdet_vild.options import checked_options


@MODELS.register_module()
@checked_options
class TFRPNHead(RPNHead):
    """mmdet's RPN head, each of its convs followed by a norm of its own for every level.

    The convs themselves are shared by the levels. In testing there are always as many proposals as
    ``max_per_img`` says: where the image has fewer, empty boxes at its corner of score 0 follow, as
    theirs do.

    Args:
        norm_cfg: Norm after each conv.
        num_convs: How many convs.
        **kwargs: As :class:`mmdet.models.dense_heads.RPNHead`.
    """

    def __init__(self, norm_cfg: dict, num_convs: int = 2, **kwargs) -> None:
        self.norm_cfg = norm_cfg
        super().__init__(num_convs=num_convs, **kwargs)

    def _init_layers(self) -> None:
        super()._init_layers()
        widths = [self.in_channels] + [self.feat_channels] * self.num_convs
        self.rpn_conv = nn.ModuleList(
            nn.Conv2d(*pair, 3, padding=1) for pair in zip(widths[:-1], widths[1:], strict=True)
        )
        self.rpn_norms = nn.ModuleList(
            nn.ModuleList(build_norm_layer(self.norm_cfg, width)[1] for width in widths[1:])
            for _ in self.prior_generator.strides
        )

    def _bbox_post_process(
        self, results: InstanceData, cfg: ConfigDict, *args, **kwargs
    ) -> InstanceData:
        found = super()._bbox_post_process(results, cfg, *args, **kwargs)
        missing = 0 if self.training else cfg.max_per_img - len(found)
        if missing > 0:
            found = InstanceData(
                bboxes=pad(found.bboxes, (0, 0, 0, missing)),
                scores=pad(found.scores, (0, missing)),
                labels=pad(found.labels.long(), (0, missing)),
            )
        return found

    def forward(self, x: tuple[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """As :meth:`mmdet.models.dense_heads.AnchorHead.forward`."""
        return multi_apply(self.forward_single, x, self.rpn_norms)

    def forward_single(self, x: Tensor, norms: nn.ModuleList) -> tuple[Tensor, Tensor]:
        """Objectness logits (n, anchors, h, w) and box deltas (n, anchors * 4, h, w) of a level."""
        for conv, norm in zip(self.rpn_conv, norms, strict=True):
            x = relu(norm(conv(x)))
        return self.rpn_cls(x), self.rpn_reg(x)
