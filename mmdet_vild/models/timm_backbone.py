"""The feature maps of a timm model, as a backbone."""

from collections.abc import Sequence

import timm
from mmdet.registry import MODELS
from mmengine.model import BaseModule, initialize
from torch import Tensor


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """Any timm model that gives feature maps, learned or frozen.

    Args:
        model_name (str): timm's name of the model; it is built without weights. ``init_cfg`` of
            type ``Pretrained`` names a file of them, in timm's keys.
        out_indices (Sequence[int]): which feature maps; 1 to 4 have strides of 4 to 32.
        frozen (bool): whether to leave the model as it is: no gradient, no batch statistics.
        init_cfg (dict, optional): as of any MMEngine module.

    Raises:
        ValueError: timm has no such model.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        frozen: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not timm.is_model(model_name):
            raise ValueError(f'timm has no model named {model_name!r}; timm.list_models() has them')
        self.model = timm.create_model(
            model_name, features_only=True, out_indices=tuple(out_indices)
        )
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
            self.train()

    def init_weights(self) -> None:
        """Load the weights that ``init_cfg`` names."""
        if self.init_cfg:
            initialize(self.model, self.init_cfg)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps (N, channels, H / stride, W / stride) of images (N, 3, H, W)."""
        return tuple(self.model(images))

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """As of any module; a frozen model stays in test mode."""
        return super().train(mode and not self.frozen)
