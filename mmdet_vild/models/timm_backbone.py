"""The feature maps of a timm model, as a backbone."""

from collections.abc import Sequence

import timm
import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule, initialize
from torch import Tensor

from mmdet_vild.options import checked_options


@MODELS.register_module()
@checked_options
class TimmBackbone(BaseModule):
    """Any timm model that gives feature maps, learned or frozen.

    Args:
        model_name (str): timm's name of the model; it is built without weights. ``init_cfg`` of
            type ``Pretrained`` names a file of them, in timm's keys.
        out_indices (Sequence[int]): which feature maps; 1 to 4 have strides of 4 to 32.
        frozen (Sequence[str]): the modules of it, by timm's names, that stay as they are: no
            gradient, no batch statistics. ``''`` is the whole model.
        init_cfg (dict | Sequence[dict], optional): as of any MMEngine module.

    Raises:
        ValueError: timm has no such model, or the model no such module.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        frozen: Sequence[str] = (),
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not timm.is_model(model_name):
            raise ValueError(f'timm has no model named {model_name!r}; timm.list_models() has them')
        self.model = timm.create_model(
            model_name, features_only=True, out_indices=tuple(out_indices)
        )
        modules = dict(self.model.named_modules())
        unknown = sorted(set(frozen) - set(modules))
        if unknown:
            raise ValueError(
                f'{model_name} has no module {unknown[0]!r}; it has {list(modules)[1:]}'
            )
        # depthwise convolutions take half the time on a CPU
        self.to(memory_format=torch.channels_last)
        self._frozen = [modules[name] for name in frozen]
        for module in self._frozen:
            module.requires_grad_(False)

    def init_weights(self) -> None:
        """Load the weights that ``init_cfg`` names."""
        if self.init_cfg:
            initialize(self.model, self.init_cfg)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps (N, channels, H / stride, W / stride) of images (N, 3, H, W)."""
        return tuple(self.model(images.contiguous(memory_format=torch.channels_last)))

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """As of any module; what is frozen stays in test mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self
