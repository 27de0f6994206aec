"""The regions that a detector's RPN proposes."""

import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_vild.datasets import to_original

from .proposer import Proposer, digest


@TASK_UTILS.register_module()
class RPNProposer(Proposer):
    """The ``test_cfg.rpn.max_per_img`` best regions of the RPN, as ViLD takes them (Sec. 3.3)."""

    def source(self, model: nn.Module) -> dict:
        """A digest of all weights and settings that the regions depend on."""
        preprocessor = model.data_preprocessor
        parts = [*preprocessor.buffers(), repr(preprocessor.pad_size_divisor)]
        parts += [repr(getattr(preprocessor, '_channel_conversion', None))]
        for name, tensor in sorted(model.state_dict().items()):
            if not name.startswith('roi_head.'):
                parts += [name, tensor]
        settings = {key: repr(value) for key, value in sorted(model.test_cfg.rpn.items())}
        return {'proposals': f'rpn@{digest(parts)}', 'rpn': settings}

    def propose(
        self, model: nn.Module, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> list[InstanceData]:
        """Image by image: the padding of a batch would let its images depend on each other."""
        divisor = model.data_preprocessor.pad_size_divisor
        found = []
        for image, data_sample in zip(batch_inputs, batch_data_samples, strict=True):
            height, width = (-(-side // divisor) * divisor for side in data_sample.img_shape)
            features = model.extract_feat(image[None, :, :height, :width])
            (proposed,) = model.rpn_head.predict(features, [data_sample], rescale=False)
            found.append(torch.cat([proposed.bboxes, proposed.scores[:, None]], dim=1))
        rows = torch.cat(found).cpu().split(list(map(len, found)))  # the host waits once
        return [
            InstanceData(bboxes=to_original(row[:, :4], data_sample), scores=row[:, 4])
            for row, data_sample in zip(rows, batch_data_samples, strict=True)
        ]
