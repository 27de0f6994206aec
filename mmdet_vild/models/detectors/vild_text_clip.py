"""The paper's strongest and slowest baseline: ViLD-text and the teacher classify together."""

from mmdet.registry import MODELS
from torch import Tensor

from mmdet_vild.options import Fraction, checked_options

from ..roi_heads import geometric_mean
from ..words import Words
from .clip_on_crops import CLIPOnCrops


@MODELS.register_module()
@checked_options
class ViLDTextCLIP(CLIPOnCrops):
    """ViLD-text + CLIP: the rule of ViLD-ensemble, with the teacher on crops as its image branch.

    (ViLD, Sec. 4.2.) Run it on the checkpoint of ViLD-text, with the test tool.

    Args:
        ensemble_weight: lambda, the exponent of ViLD-text on base and of the teacher on novel
            categories.
        **kwargs: As :class:`CLIPOnCrops`.
    """

    def __init__(self, ensemble_weight: Fraction = 2 / 3, **kwargs) -> None:
        super().__init__(**kwargs)
        self.ensemble_weight = ensemble_weight

    def combine(self, clip: Tensor, detector: Tensor, words: Words) -> tuple[Tensor, dict]:
        """Geometric means (n, C + R) of the detector's and the teacher's probabilities."""
        scores = geometric_mean(detector, clip, words.novel, self.ensemble_weight)
        return scores, {'text_scores': detector, 'image_scores': clip}
