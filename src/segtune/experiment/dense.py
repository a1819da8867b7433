"""What a run of dense segmentation is made of: labelled images, an encoder with a decoder, classes or a binary mask."""

from __future__ import annotations
