"""A ViLD whose network is three ONNX graphs, and the graphs."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn
from torchvision.ops import roi_align

from mmdet_vild.datasets import to_original
from mmdet_vild.options import checked_options
from mmdet_vild.vocabulary import same_teacher

from ..dense_heads import OLNRPNHead
from ..roi_heads import ViLDBBoxHead, ViLDEnsembleBBoxHead, ViLDRoIHead
from ..words import Words
from .vild import ViLD

#: What is exported, by the name of the part of a detector: others may compute something else.
EXPORTED = {
    'the detector': ViLD,
    'rpn_head': (RPNHead, OLNRPNHead),
    'roi_head': ViLDRoIHead,
    'bbox_head': (ViLDBBoxHead, ViLDEnsembleBBoxHead),
    'bbox_roi_extractor': SingleRoIExtractor,
    'mask_roi_extractor': SingleRoIExtractor,
    'mask_head': FCNMaskHead,
}


@MODELS.register_module()
@checked_options
class ONNXViLD(ViLD):
    """A :class:`ViLD` whose network onnxruntime computes, with words as an input.

    ``tools/model_converters/vild_to_onnx.py`` writes the graphs: pictures to feature maps and
    what the RPN says of anchors; these and boxes and text embeddings to logits and deltas; these
    and boxes to masks. NMS, which comes between, and all else is done here, as by any detector. The
    weights of the PyTorch modules are not used, so no checkpoint is needed.

    Args:
        onnx: The folder of the graphs.
        providers: onnxruntime's, in the order of preference.
        **kwargs: As the :class:`ViLD` that was exported.

    Raises:
        FileNotFoundError: A graph is not there.
        ImportError: onnxruntime is not installed.
        ValueError: The detector is of a kind that is not exported, or the graphs are of another
            detector, or of words of another teacher; of a sample: it asks by a picture.
    """

    def __init__(
        self, onnx: str, providers: Sequence[str] = ('CPUExecutionProvider',), **kwargs
    ) -> None:
        super().__init__(**kwargs)
        check_exportable(self)
        names = ['features', 'regions', *(['masks'] if self.roi_head.with_mask else [])]
        self._sessions = {name: _session(Path(onnx) / f'{name}.onnx', providers) for name in names}
        _check_same(onnx, read_kind(self._sessions['regions']), kind(self))

    def _run(self, graph: str, *inputs: Tensor) -> list[Tensor]:
        session = self._sessions[graph]
        # A level of the feature maps that a graph does not need is no input of it.
        given = dict(zip(INPUTS[graph](len(inputs)), inputs, strict=True))
        known = {each.name for each in session.get_inputs()}
        feed = {name: value.cpu().numpy() for name, value in given.items() if name in known}
        return [torch.from_numpy(value).to(inputs[0]) for value in session.run(None, feed)]

    def detect(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """As :meth:`ViLD.detect`."""
        metas, head = [sample.metainfo for sample in batch_data_samples], self.roi_head
        levels = len(self.rpn_head.prior_generator.strides)
        words = [meta.get('words') for meta in metas]
        for asked in words:
            _check_pictures(None if asked is None else asked.pictures)
        # One by one, as tracing makes a constant of how many some backbones were traced with.
        pictures = [self._run('features', picture[None]) for picture in batch_inputs]
        found = [torch.cat(maps) for maps in zip(*pictures, strict=True)]
        features, scores, deltas = (found[i * levels : (i + 1) * levels] for i in range(3))
        proposals = self.rpn_head.predict_by_feat(scores, deltas, batch_img_metas=metas)
        counts = [len(each) for each in proposals]
        rois = bbox2roi([each.bboxes for each in proposals]).split(counts)
        regions = [
            self._run('regions', *features, roi, (asked or self.text_classifier.words).embeddings)
            for roi, asked in zip(rois, words, strict=True)
        ]
        logits, deltas = zip(*regions, strict=True)
        objectness = [each.scores for each in proposals]
        results = head.bbox_head.predict_by_feat(
            rois, logits, deltas, metas, head.test_cfg, False, words, objectness
        )
        if head.with_mask:
            boxes = bbox2roi([result.bboxes for result in results])
            (masks,) = self._run('masks', *features, boxes)
            masks = masks.split([len(result) for result in results])
            results = head.mask_head.predict_by_feat(masks, results, metas, head.test_cfg, rescale)
        elif rescale:
            for result, sample in zip(results, batch_data_samples, strict=True):
                result.bboxes = to_original(result.bboxes, sample)
        return self.add_pred_to_datasample(batch_data_samples, results)


def _session(path: Path, providers: Sequence[str]):
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            'ONNXViLD needs onnxruntime, which is not installed; pip install "mmdet_vild[onnx]"'
        ) from error
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no ONNX graph at {path}; write it with '
            'tools/model_converters/vild_to_onnx.py, and name its folder in onnx'
        )
    return onnxruntime.InferenceSession(str(path), providers=list(providers))


def check_exportable(model: nn.Module) -> None:
    """Refuse a detector of which a part is not exported.

    Raises:
        ValueError: The message names the part.
    """
    head = getattr(model, 'roi_head', None)
    parts = {'the detector': model, 'roi_head': head, 'rpn_head': getattr(model, 'rpn_head', None)}
    parts |= {name: getattr(head, name, None) for name in EXPORTED if name not in parts}
    for name, part in parts.items():
        kinds = EXPORTED[name] if isinstance(EXPORTED[name], tuple) else (EXPORTED[name],)
        if name.startswith('mask') and part is None:
            continue
        if type(part) not in (*kinds, *([ONNXViLD] if part is model else [])):
            raise ValueError(
                f'{name} is a {type(part).__name__}, which is not exported to ONNX; what is: '
                f'{", ".join(kind.__name__ for kind in kinds)}'
            )
        for layer in getattr(part, 'roi_layers', ()):
            if getattr(layer, 'pool_mode', None) != 'avg':
                raise ValueError(
                    f'{name} has a {type(layer).__name__}, which is not exported to ONNX; what is: '
                    "RoIAlign with pool_mode='avg'"
                )
    if head.with_shared_head:
        raise ValueError('roi_head has a shared_head, which is not exported to ONNX')
    if (synonyms := model.text_classifier.synonyms) != 'average':
        raise ValueError(
            f'the classifier compares with each synonym (synonyms={synonyms!r}), which is not '
            "exported to ONNX; what is: synonyms='average'"
        )
    if model.text_classifier.text_embeddings_file is None:
        raise ValueError(
            'the vocabulary is in the checkpoint, where the detector of the ONNX graphs would not '
            'find it; export the one that it was baked of, whose config names a text-embedding file'
        )
    _check_pictures(model.text_classifier.pictures)


def kind(model: ViLD) -> dict[str, str]:
    """What graphs and config must agree on, or scores would mean something else."""
    head, classifier = model.roi_head.bbox_head, model.text_classifier
    return {
        'teacher': classifier.vocabulary.teacher,
        'bbox_head': type(head).__name__,
        'temperature': str(classifier.given_temperature),
        'sigmoid': str(classifier.bias is not None),
        'background': str(classifier.background is not None),
        'loss_iou': str(head.loss_iou is not None),
    }


def write_kind(path: Path, facts: dict[str, str]) -> None:
    """Into a graph, beside what it computes."""
    import onnx

    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, facts)
    onnx.save(graph, path)


def read_kind(session) -> dict[str, str]:
    """What :func:`write_kind` wrote into the graph of an onnxruntime session."""
    return session.get_modelmeta().custom_metadata_map


def _check_same(folder: str, graphs: dict[str, str], config: dict[str, str]) -> None:
    for name, value in config.items():
        was = graphs.get(name, 'not known')
        if was != value and not (name == 'teacher' and same_teacher(was, value)):
            raise ValueError(
                f'of the graphs in {folder} the {name} is {was}, and of the config {value}; export '
                'the detector again, or take the config.py beside the graphs, and words that this '
                'teacher encoded'
            )


def _check_pictures(pictures: Tensor | None) -> None:
    """Their scores are made of embeddings, which no graph returns; see ``level_pictures``."""
    if pictures is not None:
        raise ValueError('pictures in place of words are not exported to ONNX; ask by words')


class FeaturesGraph(nn.Module):
    """A picture (1, 3, H, W), normalised, to the feature maps and the RPN's scores and deltas."""

    def __init__(self, model: ViLD) -> None:
        super().__init__()
        self.model = model

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """The three of each level, all of a kind together."""
        features = self.model.extract_feat(picture)
        scores, deltas = self.model.rpn_head(features)
        return (*features, *scores, *deltas)


class RegionsGraph(nn.Module):
    """Feature maps, RoIs (n, 5) and text embeddings (V, D) to logits and box deltas."""

    def __init__(self, model: ViLD) -> None:
        super().__init__()
        self.extractor, self.head = model.roi_head.bbox_roi_extractor, model.roi_head.bbox_head

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, as the head's ``classify`` returns them, and what its ``embed`` does of boxes."""
        *features, rois, text = inputs
        embeddings, deltas = self.head.embed(pool(self.extractor, features, rois))
        return self.head.classify(embeddings, Words((), text, text[:, 0] > 2, 0)), deltas


class MasksGraph(nn.Module):
    """Feature maps and RoIs (n, 5) to the logits of masks (n, C, S, S)."""

    def __init__(self, model: ViLD) -> None:
        super().__init__()
        self.extractor, self.head = model.roi_head.mask_roi_extractor, model.roi_head.mask_head

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the mask head returns."""
        *features, rois = inputs
        return self.head(pool(self.extractor, features, rois))


def pool(extractor: SingleRoIExtractor, features: Sequence[Tensor], rois: Tensor) -> Tensor:
    """What an extractor makes of RoIs, without a decision that would depend on the picture.

    Each RoI is pooled from each level, and all but its own level's are multiplied by zero.
    """
    features = features[: extractor.num_inputs]
    levels, pooled = extractor.map_roi_levels(rois, len(features)), 0
    for level, (layer, maps) in enumerate(zip(extractor.roi_layers, features, strict=True)):
        size, scale = layer.output_size, layer.spatial_scale
        found = roi_align(maps, rois, size, scale, layer.sampling_ratio, layer.aligned)
        pooled = pooled + found * (levels == level)[:, None, None, None].to(found)
    return pooled


def _level_names(count: int) -> list[str]:
    return [f'features_{level}' for level in range(count)]


#: The inputs of each graph, of which there are so many.
INPUTS = {
    'features': lambda count: ['picture'],
    'regions': lambda count: [*_level_names(count - 2), 'rois', 'text_embeddings'],
    'masks': lambda count: [*_level_names(count - 1), 'rois'],
}
