"""The layout of a turn in which LLaVA-1.5 is asked, for models that bring no chat template of their own."""

LLAVA_15_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""`USER: <image>`, a line break, the question, `ASSISTANT:`; Jinja, as transformers' processors take it."""
