# Text diversification alone, by the mean of each category's synonyms.
_base_ = './gkc-synonyms-max_lite0_mini-lvis.py'

model = dict(panoptic_head=dict(synonym_loss=dict(way='mean')))
