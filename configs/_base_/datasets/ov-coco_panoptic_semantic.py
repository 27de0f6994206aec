# COCO panoptic with GKC's 18 novel categories, of which training sees nothing; base and novel
# categories compete in one test.
_base_ = './coco_panoptic_semantic.py'

train_dataloader = dict(dataset=dict(type='OVCocoPanopticDataset'))
val_dataloader = dict(dataset=dict(type='OVCocoPanopticDataset'))
test_dataloader = val_dataloader
