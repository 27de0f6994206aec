"""Sizes of the small models and samples of ``tests/models/conftest.py``."""

CATEGORIES, NOVEL, WIDTH, SIZE = 7, 2, 16, 64
TEACHER = 'teacher@0'
