"""``DetInferencer`` returns and saves the words of detections.

For: every mmdet of both families. ``DetInferencer.pred2dict`` takes labels, scores, boxes and masks
of a sample, whatever else it has. Labels say nothing where each picture is asked for words of its
own, so ``label_names`` is added where a detector gives it.
"""

import functools
import os.path as osp

import mmengine


def apply() -> None:
    """Patch what ``DetInferencer`` returns, once."""
    from mmdet.apis import DetInferencer

    if hasattr(DetInferencer.pred2dict, '__wrapped__'):
        return
    pred2dict = DetInferencer.pred2dict

    @functools.wraps(pred2dict)
    def with_names(self, data_sample, pred_out_dir='') -> dict:
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

    DetInferencer.pred2dict = with_names
