"""Make the weights file of a tuned teacher of the checkpoint of its tuning.

    python tools/model_converters/tuned_teacher.py \\
        configs/ezsd/tune-teacher_vit-b-32_12e_ov-coco.py \\
        work_dirs/tune-teacher_vit-b-32_12e_ov-coco/epoch_12.pth \\
        data/coco/ezsd/vit-b-32_tuned.pt

``OpenCLIPTeacher(model_name=..., pretrained='data/coco/ezsd/vit-b-32_tuned.pt')`` loads it, and so
does open_clip itself. Its identity, which stores and words remember, is
``name@digest of the raw teacher+digest of the tuned one``.
"""

import argparse

from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

import mmdet_vild  # noqa: F401  before any checkpoint is loaded
from mmdet_vild.teacher import OpenCLIPTeacher, TeacherTuner, write_tuned_weights


def main() -> None:
    """Parse the command line, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config of the tuning')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('out', help='the .pt file to write')
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    tuner = MODELS.build(cfg.model)
    if not isinstance(tuner, TeacherTuner):
        parser.error(f'{args.config} is the config of a {type(tuner).__name__}, not a TeacherTuner')
    raw = {key: value.clone() for key, value in tuner.clip.state_dict().items()}
    load_checkpoint(tuner, args.checkpoint, map_location='cpu', strict=True)
    changed = write_tuned_weights(args.out, raw, tuner.clip.state_dict())
    # What is written can be read.
    name, model_config = tuner.teacher.model_name, cfg.model.teacher.get('model_config')
    teacher = OpenCLIPTeacher(name, args.out, model_config)
    print(f'{args.out}: {teacher.identity}, of which {changed:,} numbers were tuned')


if __name__ == '__main__':
    main()
