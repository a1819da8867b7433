"""Vision-language models, mask decoders and the bridge between them, built from transformers parts.

No loss, no optimiser and no reading of datasets; a forward returns the same output in training and evaluation.
"""

import logging

# PEFT imports bitsandbytes wherever it is installed, and that tells everybody which faster kernels it has not found.
# And for every 8-bit layer it tells that inputs become float16, which is what LLM.int8 is. Errors are still told.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
