"""The regions of a COCO-style results file."""

import json

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures import SampleList
from mmengine import fileio
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_vild.datasets.geometry import clip_boxes
from mmdet_vild.options import checked_options

from .proposer import Proposer, digest


@TASK_UTILS.register_module()
@checked_options
class FileProposer(Proposer):
    """The ``test_cfg.rpn.max_per_img`` best regions of a file, clipped to their image.

    Args:
        proposal_file: A COCO-style results JSON: a list of
            ``{"image_id": .., "bbox": [x, y, w, h], "score": ..}`` in original image pixels, which
            names every image. Where some have no regions, ``{"images": [{"id": ..}, ..],
            "annotations": [..]}``, with the list as ``annotations``.
        backend_args: Where mmengine reads the file from; None for a local file.

    Raises:
        FileNotFoundError, ValueError: As :func:`load_proposals`.
    """

    def __init__(self, proposal_file: str, backend_args: dict | None = None) -> None:
        self.proposal_file = proposal_file
        self._proposals = load_proposals(proposal_file, backend_args)

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
            ValueError: A box is outside of the image.
        """
        img_id, image_size = results['img_id'], tuple(results['ori_shape'][:2])
        if img_id not in self._proposals:
            raise KeyError(
                f'{self.proposal_file} does not name image {img_id!r} ({results.get("img_path")}). '
                'If the proposals were made for other images, make them for these; if nothing was '
                'found in this one, list it in {"images": [{"id": ..}, ..], "annotations": '
                'PROPOSALS}'
            )
        boxes, scores = (array[:most] for array in self._proposals[img_id])
        clipped = clip_boxes(boxes, image_size).astype(np.float32)
        outside = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
        if outside.any():
            raise ValueError(
                f'{self.proposal_file} has the box {boxes[outside][0].tolist()} (x1, y1, x2, y2) '
                f'for image {img_id!r}, outside of its (height, width) {image_size}; make the '
                'proposals for these images, in pixels of the original image'
            )
        return clipped, scores


def load_proposals(path: str, backend_args: dict | None) -> dict:
    """Read a COCO-style results file; see :class:`FileProposer`.

    Returns:
        For each image id ``x1, y1, x2, y2`` boxes (n, 4) and scores (n,), in descending order of
        the scores.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has another form, no region, or a box without width or height.
    """
    if not fileio.exists(path, backend_args=backend_args):
        raise FileNotFoundError(
            f'there is no proposal file at {path}; test a class-agnostic detector with '
            'CocoMetric(outfile_prefix=..., format_only=True) to make one'
        )
    try:
        # Not fileio.load, which would run the code of a pickle.
        content = json.loads(fileio.get(path, backend_args=backend_args))
        if not isinstance(content, dict):
            content = dict(images=[], annotations=content)
        rows: dict = {image['id']: [] for image in content['images']}
        for item in content['annotations']:
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
    if not any(len(boxes) for boxes, _ in proposals.values()):
        raise ValueError(f'{path} has no region for any image; make the proposals again')
    return proposals


def _boxes_and_scores(rows: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """Of rows (x1, y1, x2, y2, score), in descending order of the scores."""
    array = np.array(rows).reshape(-1, 5)  # of what type they are, which texts would not survive
    with np.errstate(over='ignore'):
        numbers = array.astype(np.float32) if array.dtype.kind in 'iuf' else np.array(np.nan)
    if not np.isfinite(numbers).all():
        raise ValueError('a box or a score is no finite number')
    numbers = numbers[np.argsort(-numbers[:, 4], kind='stable')]
    return numbers[:, :4], numbers[:, 4]
