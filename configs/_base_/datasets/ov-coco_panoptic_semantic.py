# COCO panoptic with GKC's 18 novel categories, 13 things and 5 kinds of stuff, of which training
# sees nothing; base and novel categories compete in one test.
_base_ = './coco_panoptic_semantic.py'

metainfo = dict(
    novel_classes=(
        *('bicycle', 'stop sign', 'cow', 'giraffe', 'suitcase', 'frisbee', 'skateboard'),
        *('wine glass', 'apple', 'carrot', 'toilet', 'keyboard', 'scissors', 'bridge', 'cardboard'),
        *('playingfield', 'river', 'wall stone'),
    )
)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
