# Mask2Former with words, and nothing else of GKC: the baseline of its ablations.
_base_ = [
    '../_base_/models/gkc_r50-clip.py',
    '../_base_/datasets/coco_panoptic_semantic.py',
    '../_base_/schedules/schedule_gkc-50k.py',
    '../_base_/iter_runtime.py',
]

# What loads, what moves pixels, and what makes a segment an instance.
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='NumberSegments', by='segment'),
    *_base_.train_pipeline[2:-1],
    dict(type='SegmentInstances'),
    dict(type='PackSegmentInputs'),
]
train_dataloader = dict(
    batch_size=14,
    num_workers=8,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(pipeline=train_pipeline),
)
