"""Teacher embeddings computed while training, for small data."""

import json

import mmcv
import numpy as np
from mmdet.registry import TASK_UTILS
from mmengine import fileio

from mmdet_vild.datasets.geometry import clip_boxes
from mmdet_vild.embedding_store import EmbeddingRecord


@TASK_UTILS.register_module()
class OnTheFlyEmbeddings:
    """Stands in for an embedding store: it runs the teacher the first time an image is read.

    Each data-loading worker has a teacher and keeps the records that it computed, so
    ``persistent_workers=True`` saves most of the work. For more than a few thousand images, write
    an :class:`EmbeddingStore` instead.

    Args:
        teacher: Config of the teacher, such as
            ``dict(type='OpenCLIPTeacher', model_name='ViT-B-32-quickgelu', pretrained='openai')``.
        proposal_file: A COCO-style results JSON with the regions to embed: a list of
            ``{"image_id": .., "bbox": [x, y, w, h], "score": ..}`` in original image pixels.
            Such a list does not tell an image without regions from one that the detector never
            saw, so it must name every training image. Where some have no regions, give
            ``{"images": [{"id": ..}, ..], "annotations": [..]}``, with the ``images`` of the
            annotation file and the list as ``annotations``.
        backend_args: Where mmengine reads the files from; ``None`` for local files.

    Raises:
        FileNotFoundError: There is no proposal file.
        ValueError: The proposal file has another form.
    """

    def __init__(self, teacher: dict, proposal_file: str, backend_args: dict | None = None) -> None:
        self._teacher_config = teacher
        self.proposal_file = proposal_file
        self.backend_args = backend_args
        self._proposals = load_proposals(proposal_file, backend_args)
        self._teacher = None
        self._records: dict = {}

    @property
    def teacher(self) -> str:
        """str: Identity of the teacher, ``name@hash``."""
        return self._built_teacher().identity

    @property
    def embed_dims(self) -> int:
        """int: Width of the embeddings."""
        return self._built_teacher().embed_dims

    def read(self, results: dict) -> EmbeddingRecord:
        """Embed the regions of an image, or return what an earlier call computed.

        Args:
            results: The dict that a data pipeline passes on, with ``img_id``, ``img_path`` and
                ``ori_shape``.

        Returns:
            The record, in descending order of the scores.

        Raises:
            KeyError: The proposal file does not name the image.
            ValueError: The image file has another size than the sample, or a box is outside of it.
        """
        img_id = results['img_id']
        if img_id not in self._records:
            self._records[img_id] = self._compute(results)
        return self._records[img_id]

    def _compute(self, results: dict) -> EmbeddingRecord:
        img_id, img_path = results['img_id'], results['img_path']
        if img_id not in self._proposals:
            raise KeyError(
                f'{self.proposal_file} does not name image {img_id!r} ({img_path}). If the '
                'proposals were made for other images, make them for the training images; if '
                'nothing was found in this one, list it in {"images": [{"id": ..}, ..], '
                '"annotations": PROPOSALS}'
            )
        image = mmcv.imfrombytes(fileio.get(img_path, backend_args=self.backend_args))
        if image.shape[:2] != tuple(results['ori_shape'][:2]):
            raise ValueError(
                f'image {img_id!r}: the file {img_path} has (height, width) {image.shape[:2]}, '
                f'but the sample says {tuple(results["ori_shape"][:2])}; load images from files '
                'without changing their size'
            )
        boxes, scores = self._proposals[img_id]
        boxes = clip_proposals(boxes, image.shape[:2], img_id, self.proposal_file)
        embeddings = self._built_teacher().encode_crops(image, boxes)
        return EmbeddingRecord(boxes, scores, embeddings.numpy().astype(np.float16))

    def _built_teacher(self):
        if self._teacher is None:
            self._teacher = TASK_UTILS.build(self._teacher_config)
        return self._teacher

    def __getstate__(self) -> dict:
        # A spawned worker builds its own teacher instead of receiving the weights of this one.
        return {**self.__dict__, '_teacher': None, '_records': {}}


def load_proposals(path: str, backend_args: dict | None) -> dict:
    """Read a COCO-style results file.

    Args:
        path: The file; see :class:`OnTheFlyEmbeddings`.
        backend_args: Where mmengine reads it from; None for a local file.

    Returns:
        For each image id ``x1, y1, x2, y2`` boxes (n, 4) and scores (n,), in descending order of
        the scores.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has another form, or a box without width or height.
    """
    if not fileio.exists(path, backend_args=backend_args):
        raise FileNotFoundError(
            f'there is no proposal file at {path}; test a class-agnostic detector with '
            'CocoMetric(outfile_prefix=..., format_only=True) to make one'
        )
    try:
        # Not fileio.load, which would run the code of a pickle.
        content = json.loads(fileio.get(path, backend_args=backend_args))
        images, items = [], content
        if isinstance(content, dict):
            images, items = content['images'], content['annotations']
        rows: dict = {image['id']: [] for image in images}
        for item in items:
            x, y, w, h = item['bbox']
            box = (x, y, x + w, y + h, item['score'])
            rows.setdefault(item['image_id'], []).append(box)
        proposals = {img_id: _boxes_and_scores(values) for img_id, values in rows.items()}
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is not a COCO-style results file ({error!r}); expected a JSON list of '
            '{"image_id": .., "bbox": [x, y, w, h], "score": ..}, or that list as "annotations" '
            'beside the "images" that it is about'
        ) from error
    for img_id, (boxes, _) in proposals.items():
        empty = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
        if empty.any():
            raise ValueError(
                f'{path} has the box {boxes[empty][0].tolist()} (x1, y1, x2, y2) for image '
                f'{img_id!r}; expected a bbox of [x, y, width, height] with a width and a height '
                'above 0'
            )
    return proposals


def clip_proposals(
    boxes: np.ndarray, image_size: tuple[int, int], img_id: int | str, path: str
) -> np.ndarray:
    """Clip the boxes of a proposal file to their image, as the RPN's are.

    Args:
        boxes: (n, 4), ``x1, y1, x2, y2``.
        image_size: (height, width) of the image.
        img_id: Whose boxes they are, for the message.
        path: The file, for the message.

    Returns:
        (n, 4) float32.

    Raises:
        ValueError: Nothing of a box is in the image.
    """
    clipped = clip_boxes(boxes, image_size).astype(np.float32)
    outside = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    if outside.any():
        raise ValueError(
            f'{path} has the box {boxes[outside][0].tolist()} (x1, y1, x2, y2) for image '
            f'{img_id!r}, outside of its (height, width) {tuple(image_size)}; make the proposals '
            'for these images, in pixels of the original image'
        )
    return clipped


def _boxes_and_scores(rows: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """Of rows (x1, y1, x2, y2, score), in descending order of the scores."""
    array = np.array(rows).reshape(-1, 5)  # of what type they are, which texts would not survive
    with np.errstate(over='ignore'):
        numbers = array.astype(np.float32) if array.dtype.kind in 'iuf' else np.array(np.nan)
    if not np.isfinite(numbers).all():
        raise ValueError('a box or a score is no finite number')
    numbers = numbers[np.argsort(-numbers[:, 4], kind='stable')]
    return numbers[:, :4], numbers[:, 4]
