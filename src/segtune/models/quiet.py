"""What transformers and PEFT say that nobody can act upon, silenced in one place.

Loading and saving a model draws a progress bar for every part, which lasts a moment and stands between our own lines.
Bars of downloads, which may last an hour, stay, and so does every warning but the one named here.
"""

from __future__ import annotations

import logging as python_logging
import warnings

from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
from transformers.utils import logging


def hide_loading_bars() -> None:
    """Hides the bars over loading and saving weights, for this process; a second call changes nothing."""
    downloads_shown = not are_progress_bars_disabled()
    logging.disable_progress_bar()  # this takes the bars of downloads with it
    if downloads_shown:
        enable_progress_bars()
    # PEFT still asks for the old name of a property, whenever an adapter is added
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)


def hide_loading_reports() -> None:
    """Hides transformers' lists of missing and unexpected weights, for this process; a second call changes nothing.

    Whoever calls this reads the same lists from `output_loading_info`, as `pretrained.load_pretrained` does, and
    refuses a checkpoint by them; what is left of the report is what was left out on purpose.
    """
    python_logging.getLogger("transformers.modeling_utils").addFilter(_no_report)


def _no_report(record: python_logging.LogRecord) -> bool:
    return "LOAD REPORT" not in str(record.msg)
