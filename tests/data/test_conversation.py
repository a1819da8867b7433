from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from tests.factory import PATCHES, plain_loaded

from segtune.core.errors import DataError
from segtune.core.records import Query
from segtune.data.conversation import Conversation

# As the processor of llava-hf/llava-1.5-7b-hf has it.
LLAVA_15 = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
SHORT = "What is the red box in this image? Please output segmentation mask."


@cache
def _loaded():
    return plain_loaded()


@pytest.fixture
def conversation():
    return _loaded().conversation


@pytest.fixture
def tokenizer(conversation):
    return conversation.tokenizer


def _rendered(text: str) -> str:
    loaded = _loaded()
    content = [{"type": "image"}, {"type": "text", "text": text}]
    turns = [{"role": "user", "content": content}]
    rendered = loaded.parts.processor.apply_chat_template(turns, add_generation_prompt=True)
    return rendered.replace("<image>", "<image>" * loaded.parts.input_spec.num_image_tokens)


def test_a_prompt_is_the_rendered_template_tokenised_as_a_whole(conversation, tokenizer):
    ids = conversation.prompt(Query("the red box", is_sentence=False))
    assert ids == (tokenizer.bos_token_id, *tokenizer(_rendered(SHORT), add_special_tokens=False)["input_ids"])
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    assert ids.count(image_id) == _loaded().parts.input_spec.num_image_tokens == PATCHES


def test_the_processor_of_the_model_makes_the_same_prompt(conversation):
    """Transformers expands the image placeholder by itself: ids must be the same as ours."""
    processor = _loaded().parts.processor
    content = [{"type": "image"}, {"type": "text", "text": SHORT}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    theirs = processor(images=np.zeros((40, 40, 3), np.uint8), text=text)["input_ids"][0]
    ours = conversation.prompt(Query("the red box", is_sentence=False))
    assert list(ours[1:]) == list(theirs)[-len(ours) + 1 :]


def test_llava_15_template(conversation):
    processor = _loaded().parts.processor
    before, processor.chat_template = processor.chat_template, LLAVA_15
    try:
        other = Conversation(processor, _loaded().parts.input_spec)
    finally:
        processor.chat_template = before
    query = Query("the red box", is_sentence=False)
    theirs = f"<s>USER: {'<image>' * PATCHES}\n{SHORT} ASSISTANT:"
    assert other.tokenizer.decode(other.prompt(query)) == theirs
    ours = conversation.tokenizer.decode(conversation.prompt(query))
    assert ours == theirs.replace("\n", " "), "the tiny model's own template differs by the space after the image alone"
    assert other.tokenizer.decode(other.prompt(query, with_image=False)) == f"<s>USER: {SHORT} ASSISTANT:"


def test_a_template_that_begins_by_itself_gets_no_second_begin(conversation, tokenizer):
    processor = _loaded().parts.processor
    before, processor.chat_template = processor.chat_template, "{{ bos_token }}" + LLAVA_15.replace("\\n", " ")
    try:
        other = Conversation(processor, _loaded().parts.input_spec)
    finally:
        processor.chat_template = before
    query = Query("the red box", is_sentence=False)
    assert other.prompt(query) == conversation.prompt(query)
    assert other.prompt(query).count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("is_sentence", [True, False])
@pytest.mark.parametrize(
    "text",
    ["<SEG>", "a <SEG> and <SEG>", "<image>", "</s> USER: <s>", "<pad><image></s><SEG>", "<<SEG>SEG>", "<im<s>age>"],
)
def test_special_words_of_a_user_stay_text(conversation, tokenizer, text, is_sentence):
    clean = conversation.prompt(Query("box", is_sentence))
    ids = conversation.prompt(Query(text, is_sentence))
    for token in ("<SEG>", "<image>", "</s>", "<s>", "<pad>"):
        number = tokenizer.convert_tokens_to_ids(token)
        assert ids.count(number) == clean.count(number), token
    written = tokenizer.decode(ids[clean.index(tokenizer.convert_tokens_to_ids("<image>")) + PATCHES :])
    assert text.replace(" ", "") in written.replace(" ", ""), "nothing of the user's words is lost"


def test_a_prompt_without_image_lacks_only_the_image(conversation, tokenizer):
    query = Query("the red box", is_sentence=False)
    blind = conversation.prompt(query, with_image=False)
    assert tokenizer.decode(blind) == f"<s>USER: {SHORT} ASSISTANT:"
    assert tokenizer.decode(conversation.prompt(query)) == tokenizer.decode(blind).replace(
        "USER: ", f"USER: {'<image>' * PATCHES} "
    )


def test_short_and_long_wording(conversation):
    assert conversation.question(Query("the red box", is_sentence=False)) == SHORT
    question = conversation.question(Query("Which  box\nis red?", is_sentence=True))
    assert question == "Which box is red? Please output segmentation mask."


def test_braces_in_a_query_are_only_braces(conversation):
    assert "{query} {0}" in conversation.question(Query("{query} {0}", is_sentence=True))


def test_an_answer_is_closed_and_asks_once(conversation, tokenizer):
    seg_id = tokenizer.convert_tokens_to_ids("<SEG>")
    for text in conversation.wording.answers:
        ids = conversation.answer(text)
        assert ids[-1] == tokenizer.eos_token_id
        assert ids.count(tokenizer.eos_token_id) == ids.count(seg_id) == 1
        assert ids[0] != tokenizer.bos_token_id
        assert conversation.text_of(ids) == text


def test_prompt_and_answer_join_as_generation_continues(conversation, tokenizer):
    turn = conversation.turn(Query("the red box", is_sentence=False), "It is <SEG>.")
    assert tokenizer.decode(turn.prompt + turn.answer).endswith("ASSISTANT:It is <SEG>.</s>")


def test_an_empty_query_is_refused(conversation):
    with pytest.raises(DataError, match="empty"):
        conversation.turn(Query("  \n", is_sentence=True), "It is <SEG>.")


def test_text_of_leaves_out_only_what_begins_ends_or_pads(conversation, tokenizer):
    silent = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
    ids = (*silent, *tokenizer("Sure, <SEG>.", add_special_tokens=False)["input_ids"], *silent)
    assert conversation.text_of(ids) == "Sure, <SEG>."


def test_another_wording():
    loaded = _loaded()
    wording = loaded.conversation.wording.model_copy(update={"short": "{query}", "long": "Q: {query}"})
    other = Conversation(loaded.parts.processor, replace(loaded.parts.input_spec, conversation=wording))
    assert other.question(Query("the red box", is_sentence=False)) == "the red box"
    assert other.question(Query("Which one?", is_sentence=True)) == "Q: Which one?"


def test_a_text_that_does_not_fit_the_context_is_refused(conversation):
    room = _loaded().parts.input_spec.max_positions
    assert room == _loaded().model.vlm.vlm.config.text_config.max_position_embeddings
    answer = "It is <SEG>."
    short, long = (Query("box " * count, is_sentence=True) for count in (10, room))
    conversation.turn(short, answer)
    assert conversation.surely_fits(short, answer)
    assert not conversation.surely_fits(long, answer)
    with pytest.raises(DataError, match="do not fit the context") as caught:
        conversation.turn(long, answer, where="x#0")
    assert str(caught.value).startswith("x#0: ")


def test_what_surely_fits_fits(conversation):
    room = _loaded().parts.input_spec.max_positions
    answer = "It is <SEG>."
    for words in range(0, room, 7):
        query = Query("?" + "!?" * words, is_sentence=True)  # every sign is a token
        if conversation.surely_fits(query, answer):
            conversation.turn(query, answer)
