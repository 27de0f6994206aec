# For the test tool.
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
