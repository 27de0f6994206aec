"""What makes a detector or a segmentor of mmdet one of any words."""

from collections.abc import Sequence

import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import ConfigType, get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor

from mmdet_vild.vocabulary import TextEmbeddings

from ..classifiers import CLIPTextClassifier
from ..words import Words
from .word_encoder import WordEncoder

#: What ``DetInferencer`` and ``inference_detector`` say of the words of an image.
WORD_KEYS = ('text', 'custom_entities')


class OpenVocabularyMixin:
    """Put before a detector of mmdet whose classifier is a :class:`CLIPTextClassifier`.

    ::

        @MODELS.register_module()
        class ViLD(OpenVocabularyMixin, TwoStageDetector): ...

    It detects the words of its vocabulary. A sample with the meta keys ``text`` and
    ``custom_entities``, as ``DetInferencer`` gives it for ``texts``, is searched for its own words
    instead; see :class:`WordEncoder`. They compete with each other, with the background, and with
    the other words of the vocabulary, which are not detected.

    A head finds the :class:`Words` that an image asks for in ``words`` of its meta information,
    and gives them to :meth:`CLIPTextClassifier.classify`.

    Whatever a checkpoint says, ``dataset_meta['classes']``, ``['novel_classes']`` and
    ``['base_classes']`` are those of the vocabulary that the classifier has now, so that under
    another vocabulary a detection is shown with its own word.

    Args:
        *args, **kwargs: As the detector.
        teacher: Config of the teacher that encoded the vocabulary, such as
            :class:`mmdet_vild.teacher.OpenCLIPTeacher`. It is built when words are asked for that
            the vocabulary does not have.

    Raises:
        TypeError: The detector has no :class:`CLIPTextClassifier`.
    """

    #: Whether the other words of the vocabulary compete with those asked for.
    rivals = True

    def __init__(self, *args, teacher: ConfigType | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not self.text_classifiers:
            raise TypeError(
                f'{type(self).__name__} needs a CLIPTextClassifier, as cls_predictor_cfg of a '
                'ViLDBBoxHead has; found no classifier that compares with text embeddings'
            )
        self._encoder = WordEncoder(teacher)
        self._cfg = None
        self.dataset_meta = {}

    @property
    def text_classifiers(self) -> list[CLIPTextClassifier]:
        """list[CLIPTextClassifier]: those of its heads, all with the same words."""
        return [module for module in self.modules() if isinstance(module, CLIPTextClassifier)]

    @property
    def text_classifier(self) -> CLIPTextClassifier:
        """CLIPTextClassifier: the one that says which words it detects."""
        return self.text_classifiers[0]

    @property
    def vocabulary(self) -> TextEmbeddings:
        """TextEmbeddings: the words that it detects where no others are asked for."""
        return self.text_classifier.vocabulary

    @property
    def cfg(self) -> Config | None:
        """Config: the one it was built from, as ``init_detector`` and ``DetInferencer`` set it.

        The last transform of its test pipeline is changed to hand words on to the detector.
        """
        return self._cfg

    @cfg.setter
    def cfg(self, cfg: Config) -> None:
        if cfg.get('test_dataloader'):
            packer = get_test_pipeline_cfg(cfg)[-1]
            kept = getattr(TRANSFORMS.build(packer), 'meta_keys', None)
            if kept is None:
                MMLogger.get_current_instance().warning(
                    f'the last transform of the test pipeline, {packer["type"]}, has no meta_keys, '
                    'by which words that are asked for come to the detector; end it with '
                    'PackDetInputs'
                )
            elif not set(WORD_KEYS) <= set(kept):
                packer['meta_keys'] = tuple(dict.fromkeys((*kept, *WORD_KEYS)))
        self._cfg = cfg

    @property
    def dataset_meta(self) -> dict:
        """dict: the names of the vocabulary, which of them are novel, and what else was set."""
        self._dataset_meta.update(self._names())
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        names = self._names()
        if tuple(meta.get('classes', names['classes'])) != names['classes']:
            # Colours of other classes; mmdet then takes those of the config.
            meta = {key: value for key, value in meta.items() if key != 'palette'}
        self._dataset_meta = {**meta, **names}

    def _names(self) -> dict:
        names, novel = self.text_classifier.names, self.text_classifier.novel_names
        known = set(novel)
        base = tuple(name for name in names if name not in known)
        return {'classes': names, 'novel_classes': novel, 'base_classes': base}

    @property
    def teacher(self):
        """The teacher that encoded the vocabulary, built at the first use."""
        return self._encoder.teacher(self.vocabulary)

    def check_teacher(self) -> None:
        """Refuse a teacher that could not be built later; see :meth:`WordEncoder.check`."""
        self._encoder.check(self.vocabulary)

    def encode_words(
        self, text: str | Sequence[str | dict], custom_entities: bool = True
    ) -> TextEmbeddings:
        """The text embeddings of words, as it detects them; see :meth:`WordEncoder.encode`."""
        device = self.data_preprocessor.device
        return self._encoder.encode(text, custom_entities, self.vocabulary, device)

    def add_rivals(self, text: TextEmbeddings) -> TextEmbeddings:
        """Words, and after them those of the vocabulary that compete with them; see above."""
        return self._encoder.known(self.vocabulary).add_rivals(text) if self.rivals else text

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Detect the words that each sample asks for, or those of the vocabulary; as mmdet's.

        ``pred_instances`` have also the word of each detection in the list ``label_names``, and in
        ``novel`` (n,) bool whether that is novel; with ``explain`` in ``test_cfg.rcnn`` also what
        :func:`explained_detections` says of their scores.

        Raises:
            FileNotFoundError, ValueError: See :meth:`WordEncoder.encode`.
        """
        asked = [self._asked(sample, batch_inputs.device) for sample in batch_data_samples]
        for sample, words in zip(batch_data_samples, asked, strict=True):
            sample.set_field(words, 'words', field_type='metainfo')
        batch_data_samples = self.detect(batch_inputs, batch_data_samples, rescale)
        own = self.text_classifier.words
        for sample in batch_data_samples:
            sample.pop('words')
        if not all('pred_instances' in sample for sample in batch_data_samples):
            return batch_data_samples  # of a segmentor that finds maps alone
        found = [sample.pred_instances for sample in batch_data_samples]
        # Of the whole batch at once: the host waits for a GPU's labels.
        labels = iter(torch.cat([instances.labels for instances in found]).tolist())
        for instances, words in zip(found, asked, strict=True):
            words = words or own
            instances.label_names = [words.names[next(labels)] for _ in range(len(instances))]
            instances.novel = words.novel[instances.labels]
        return batch_data_samples

    def detect(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """mmdet's ``predict``; samples have the :class:`Words` that they ask for, or None."""
        return super().predict(batch_inputs, batch_data_samples, rescale)

    def _asked(self, sample: DetDataSample, device: torch.device) -> Words | None:
        text = sample.get('text')
        if text is None:
            return None
        self.check_any_words()
        custom_entities = sample.get('custom_entities', False)
        words = self._encoder.words(
            *(text, custom_entities, self.vocabulary, device, self.rivals),
            by_synonym=self.text_classifier.synonyms != 'average',
        )
        palette = self._dataset_meta.get('palette')
        if isinstance(palette, list) and len(palette) < words.count:
            # mmdet's visualizer, which shares this dict, refuses more labels than colours.
            self._dataset_meta['palette'] = 'random'
        return words

    def check_any_words(self) -> None:
        """Raise a ValueError if some part of it knows the categories of the training alone."""
