import mmdet_vild  # noqa: F401  (its compatibility patches come before any import of mmdet)
