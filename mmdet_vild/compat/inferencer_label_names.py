"""``DetInferencer`` returns and saves the words of detections and maps, and explains its texts.

For: every mmdet of both families. An ``assert`` without a message is all that it says where
``texts`` is a list of another length than the pictures. ``DetInferencer.pred2dict`` takes labels,
scores, boxes and masks of a sample, and panoptic maps, whatever else it has. Labels say nothing
where each picture is asked for words of its own, so ``label_names`` is added where a detector gives
it; and a semantic map, as mmdet has a panoptic one.
"""

import os.path as osp
from collections.abc import Sequence

import mmcv
import mmengine
import numpy as np

from .wrapping import wrap


def apply() -> None:
    """Patch what ``DetInferencer`` takes and returns."""
    from mmdet.apis import DetInferencer

    wrap(DetInferencer, '__call__', with_counted_texts)
    wrap(DetInferencer, 'pred2dict', with_names)


def with_counted_texts(call, self, inputs, *args, **kwargs) -> dict:
    """``DetInferencer.__call__`` that explains how texts belong to pictures.

    Raises:
        ValueError: They are a list that has not one for each picture, or are no list.
    """
    texts = kwargs.get('texts')
    if texts is not None and not isinstance(texts, str):
        count = len(self._inputs_to_list(inputs))
        found = len(texts) if isinstance(texts, Sequence | np.ndarray) else 'no list of'
        if found != count:
            words = list(texts) if found and isinstance(texts, list | tuple) else ['cat', 'dog']
            raise ValueError(
                f'found {found} texts for {count} picture{"s"[: count != 1]}, {texts!r}; texts is '
                'a text for all pictures, or a list with an entry for each, a text or a list of '
                f'words: of one picture, texts={[words]!r}'
            )
    return call(self, inputs, *args, **kwargs)


def with_names(pred2dict, self, data_sample, pred_out_dir='') -> dict:
    """``DetInferencer.pred2dict``, with ``label_names`` of the detections, and of a semantic map
    ``sem_seg`` (H, W), its labels, or ``sem_seg_path``, a PNG of them, and ``sem_seg_names``."""
    number = self.num_predicted_imgs
    result = pred2dict(self, data_sample, pred_out_dir)
    names = data_sample.get('pred_instances', {}).get('label_names')
    sem_seg = data_sample.get('pred_sem_seg')
    if names is None and sem_seg is None:
        return result
    if names is not None:
        result['label_names'] = list(names)
    saved = None
    if pred_out_dir:
        # The name that mmdet gives the file of a picture with a path, and without.
        name = osp.splitext(osp.basename(data_sample.get('img_path', str(number))))[0]
        saved = osp.join(pred_out_dir, 'preds', name)
    if sem_seg is not None:
        labels = sem_seg.sem_seg[0].cpu().numpy()
        if 'label_names' in sem_seg:
            result['sem_seg_names'] = list(sem_seg.label_names)
        if saved:
            bits = np.uint8 if labels.max(initial=0) < 256 else np.uint16
            result['sem_seg_path'] = f'{saved}_sem_seg.png'
            mmcv.imwrite(labels.astype(bits), result['sem_seg_path'])
        else:
            result['sem_seg'] = labels
    if saved:
        mmengine.dump(result, f'{saved}.json')
    return result
