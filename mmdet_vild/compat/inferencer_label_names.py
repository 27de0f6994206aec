"""``DetInferencer`` returns and saves the words of detections.

For: every mmdet of both families. ``DetInferencer.pred2dict`` takes labels, scores, boxes and masks
of a sample, whatever else it has. Labels say nothing where each picture is asked for words of its
own, so ``label_names`` is added where a detector gives it.
"""

import os.path as osp

import mmengine

from .wrapping import wrap


def apply() -> None:
    """Patch what ``DetInferencer`` returns."""
    from mmdet.apis import DetInferencer

    wrap(DetInferencer, 'pred2dict', with_names)


def with_names(pred2dict, self, data_sample, pred_out_dir='') -> dict:
    """``DetInferencer.pred2dict``, with the names."""
    number = self.num_predicted_imgs
    result = pred2dict(self, data_sample, pred_out_dir)
    names = data_sample.get('pred_instances', {}).get('label_names')
    if names is not None:
        result['label_names'] = list(names)
        if pred_out_dir:
            # The name that mmdet gives the file of a picture with a path, and without.
            name = osp.splitext(osp.basename(data_sample.get('img_path', str(number))))[0]
            mmengine.dump(result, osp.join(pred_out_dir, 'preds', f'{name}.json'))
    return result
