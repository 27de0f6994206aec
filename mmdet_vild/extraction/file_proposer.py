"""The regions of a COCO-style results file."""

import json

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures import SampleList
from mmengine import fileio
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_vild.datasets.geometry import clip_boxes
from mmdet_vild.options import checked_options

from .proposer import Proposer, digest

#: Pixels by which a box leaves its image that is not only rounded.
TOLERANCE = 1.0
#: Boxes that tell whether most of a file leave their images.
ENOUGH = 100


@TASK_UTILS.register_module()
@checked_options
class FileProposer(Proposer):
    """The ``test_cfg.rpn.max_per_img`` best regions of a file, clipped to their image.

    It warns, once, if most of them leave their image, or all lie within its first pixel.

    Args:
        proposal_file: A COCO-style results JSON: a list of
            ``{"image_id": .., "bbox": [x, y, w, h], "score": ..}`` in original image pixels, which
            names every image. Where some have no regions, ``{"images": [{"id": ..}, ..],
            "annotations": [..]}``, with all images, and the list as ``annotations``. Where these
            have a ``height`` and a ``width``, an image of another size is refused.
        backend_args: Where mmengine reads the file from; None for a local file.

    Raises:
        FileNotFoundError, ValueError: As :func:`load_proposals`.
    """

    def __init__(self, proposal_file: str, backend_args: dict | None = None) -> None:
        self.proposal_file = proposal_file
        self._proposals, self._sizes = load_proposals(proposal_file, backend_args)
        self._seen = self._leaving = 0
        self._warned = False
        self._warn_of_fractions()

    def source(self, model: nn.Module) -> dict:
        """A digest of all regions."""
        found = sorted(self._proposals.items(), key=repr)
        parts = (part for img_id, arrays in found for part in (repr(img_id), *arrays))
        return {'proposals': f'file@{digest(parts)}'}

    def propose(
        self, model: nn.Module, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> list[InstanceData]:
        """Look the regions up; raises what :meth:`read` raises."""
        most, found = model.test_cfg.rpn.max_per_img, []
        for data_sample in batch_data_samples:
            boxes, scores = map(torch.from_numpy, self.read(data_sample.metainfo, most))
            found.append(InstanceData(bboxes=boxes, scores=scores))
        return found

    def read(self, results: dict, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The regions of an image, the ``most`` best or all.

        Args:
            results: ``img_id``, ``ori_shape`` and ``img_path`` of the image.

        Returns:
            boxes (n, 4) float32, ``x1, y1, x2, y2`` in pixels of the image, clipped to it, and
            scores (n,) float32, descending.

        Raises:
            KeyError: The file does not name the image.
            ValueError: A box is outside of the image, or the file says that its size is another.
        """
        img_id, image_size = results['img_id'], tuple(results['ori_shape'][:2])
        if img_id not in self._proposals:
            raise KeyError(
                f'{self.proposal_file} does not name image {img_id!r} ({results.get("img_path")}). '
                'If the proposals were made for other images, make them for these; if nothing was '
                'found in this one, list it in {"images": [{"id": ..}, ..], "annotations": '
                'PROPOSALS}'
            )
        if (size := self._sizes.get(img_id, image_size)) != image_size:
            raise ValueError(
                f'{self.proposal_file} has regions of an image {img_id!r} of (height, width) '
                f'{size}, but here it has {image_size}; make the proposals for these images'
            )
        boxes, scores = (array[:most] for array in self._proposals[img_id])
        clipped = clip_boxes(boxes, image_size).astype(np.float32)
        self._warn_of_leaving(boxes, clipped, img_id, image_size)
        outside = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
        if outside.any():
            raise ValueError(
                f'{self.proposal_file} has the box {boxes[outside][0].tolist()} (x1, y1, x2, y2) '
                f'for image {img_id!r}, outside of its (height, width) {image_size}; make the '
                'proposals for these images, in pixels of the original image'
            )
        return clipped, scores

    def _warn_of_fractions(self) -> None:
        """Warn if no box of the file reaches beyond the first pixel of its image."""
        found = [(img_id, boxes) for img_id, (boxes, _) in self._proposals.items() if len(boxes)]
        if all(boxes.max() <= 1 for _, boxes in found):
            img_id, boxes = found[0]
            MMLogger.get_current_instance().warning(
                f'all {sum(len(boxes) for _, boxes in found)} boxes of {self.proposal_file} lie '
                f'within 0 and 1, such as {boxes[0].tolist()} (x1, y1, x2, y2) of image '
                f'{img_id!r}; a bbox is in pixels of the original image, and no fraction of it'
            )

    def _warn_of_leaving(
        self, boxes: np.ndarray, clipped: np.ndarray, img_id: int | str, image_size: tuple
    ) -> None:
        """Warn once if most of the boxes that were read leave their image."""
        if self._warned:
            return
        leaving = (np.abs(clipped - boxes) > TOLERANCE).any(axis=1)
        self._seen += len(boxes)
        self._leaving += int(leaving.sum())
        if self._seen >= ENOUGH and leaving.any() and self._leaving > self._seen / 2:
            self._warned = True
            MMLogger.get_current_instance().warning(
                f'{self._leaving} of the first {self._seen} boxes of {self.proposal_file} leave '
                f'their image and are clipped to it, such as {boxes[leaving][0].tolist()} (x1, y1, '
                f'x2, y2) of image {img_id!r} of (height, width) {image_size}; a bbox is [x, y, '
                'width, height], in pixels of the original image'
            )


def load_proposals(path: str, backend_args: dict | None) -> tuple[dict, dict]:
    """Read a COCO-style results file; see :class:`FileProposer`.

    Returns:
        For each image id ``x1, y1, x2, y2`` boxes (n, 4) and scores (n,), in descending order of
        the scores; and of those whose size the file has their (height, width).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has another form, no region, or a box without width or height; or a region is
            of an image that its images do not name.
    """
    if not fileio.exists(path, backend_args=backend_args):
        raise FileNotFoundError(
            f'there is no proposal file at {path}; test a class-agnostic detector with '
            'CocoMetric(outfile_prefix=..., format_only=True) to make one'
        )
    try:
        # Not fileio.load, which would run the code of a pickle.
        content = json.loads(fileio.get(path, backend_args=backend_args))
        named = isinstance(content, dict)
        images = content['images'] if named else []
        rows: dict = {image['id']: [] for image in images}
        sizes = {image['id']: (image.get('height'), image.get('width')) for image in images}
        listed = len(rows)
        for item in content['annotations'] if named else content:
            x, y, w, h = item['bbox']
            score = item['score']
            if bool in map(type, (item['image_id'], x, y, w, h, score)):
                raise ValueError(f'an image_id, a box or a score is True or False: {item}')
            rows.setdefault(item['image_id'], []).append((x, y, x + w, y + h, score))
        proposals = {img_id: _boxes_and_scores(values) for img_id, values in rows.items()}
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is not a COCO-style results file ({error!r}); expected a JSON list of '
            '{"image_id": .., "bbox": [x, y, w, h], "score": ..}, or that list as "annotations" '
            'beside the "images" that it is about'
        ) from error
    if named and (unnamed := list(rows)[listed:]):
        raise ValueError(
            f'{path} has regions of {len(unnamed)} images that its "images" do not name, such as '
            f'image {unnamed[0]!r}; name every image there, by the same id (1 is another one than '
            '"1")'
        )
    for img_id, (boxes, _) in proposals.items():
        empty = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
        if empty.any():
            raise ValueError(
                f'{path} has the box {boxes[empty][0].tolist()} (x1, y1, x2, y2) for image '
                f'{img_id!r}; expected a bbox of [x, y, width, height] with a width and a height '
                'above 0'
            )
    if not any(len(boxes) for boxes, _ in proposals.values()):
        raise ValueError(f'{path} has no region for any image; make the proposals again')
    known = {k: size for k, size in sizes.items() if all(type(s) is int and s > 0 for s in size)}
    return proposals, known


def _boxes_and_scores(rows: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """Of rows (x1, y1, x2, y2, score), in descending order of the scores."""
    array = np.array(rows).reshape(-1, 5)  # of what type they are, which texts would not survive
    with np.errstate(over='ignore'):
        numbers = array.astype(np.float32) if array.dtype.kind in 'iuf' else np.array(np.nan)
    if not np.isfinite(numbers).all():
        raise ValueError('a box or a score is no finite number')
    numbers = numbers[np.argsort(-numbers[:, 4], kind='stable')]
    return numbers[:, :4], numbers[:, 4]
