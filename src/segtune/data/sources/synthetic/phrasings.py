"""The arrangements of words around the key words of the questions, held apart by split.

`TEMPLATES[kind][split]` is a pair (short phrases, long sentences); every template belongs to exactly one split, so no
validation or test question is ever a training question. Slots are described in `keywords`. Each slot word and each
negation that the validation and test templates use occurs in several train templates.

A negation stands before what it excludes, and as a rule the group before both, as in the attribute grammar: the little
language model of the tiny base has two layers, and "not this one, the other" asks for a third.
"""

from __future__ import annotations

from collections.abc import Mapping

_FUNCTION = {
    "train": (
        (
            "something to {do}",
            "what I need to {do}",
            "used to {do}",
            "the one to {do}",
            "made to help people {do}",
            "whatever lets us {do}",
            "good when you must {do}",
            "an object to {do}",
            "it helps to {do}",
            "one could {do} with it",
            "it could serve as a {noun}",
            "looks like a {noun}",
            "works as a {noun}",
            "find the {noun}",
        ),
        (
            "My friend plans to {do} tomorrow, so which one should she bring along?",
            "If somebody asked me to {do}, which of these would I reach for?",
            "Suppose you had to {do} this afternoon; point at what would help.",
            "I would like to {do}, please tell me what I could use.",
            "Which of the items here would be handy to {do} with my family?",
            "Our teacher wants everybody to {do}; what should the class take?",
            "There is one item here that people choose when they {do}.",
            "When it is time to {do}, this is what we take with us.",
            "Please pick the object that would be of use to {do}.",
            "Someone forgot what they had brought to {do}; help them find it.",
            "The children keep asking for a {noun}; which one could they have?",
            "Imagine that one of these is really a {noun}; where is it?",
            "Grandma hid a {noun} among all these objects, can you find it?",
        ),
    ),
    "val": (
        (
            "the item we take to {do}",
            "meant to {do}",
            "what people use to {do}",
            "it reminds me of a {noun}",
        ),
        (
            "Tomorrow we are going to {do} together, so what should I carry?",
            "Please point out what a person would choose in order to {do}.",
            "Among these items, find the one that would help somebody {do}.",
            "One of these objects could be used as a {noun}; which one is it?",
        ),
    ),
    "test": (
        (
            "the best choice to {do}",
            "what you want to {do}",
            "designed to {do}",
            "could pass for a {noun}",
        ),
        (
            "Help my brother, who must {do} before dinner, and pick what he needs.",
            "Look carefully and tell me what anybody would need to {do}.",
            "What would you hand to a person who is trying to {do}?",
            "If one of these objects were a {noun}, which would it be?",
        ),
    ),
}

_COMPARISON = {
    "train": (
        (
            "the {adj} one",
            "the {adj} object here",
            "find the {adj} item",
            "the one that {clause}",
            "what {clause}",
            "{adj} of them all",
            "whichever one {clause}",
            "the {adj} of these objects",
            "it {clause}",
            "show me the {adj}",
            "the object that {clause}",
            "simply the {adj} one in view",
        ),
        (
            "Compare all of the objects here and choose the one that {clause}.",
            "Look through everything in the picture and point out the {adj} one.",
            "If you had to compare them all, which one would be the {adj}?",
            "Somebody asked me which object {clause}, and I could tell at once.",
            "Take your time, look at every item, and pick what {clause}.",
            "Among everything that you can see here, show the {adj} one to me.",
            "There are several objects in view; which of them {clause}?",
            "I am searching for the {adj} of all the objects in here.",
            "My sister says that one of these {clause}; can you find it?",
            "Of all that was put into this scene, what {clause}?",
            "When you think about each of them, the {adj} is easy to find.",
            "Please help me to find out which of these objects {clause}.",
            "Which item would you call the {adj} after looking at all of them?",
        ),
    ),
    "val": (
        (
            "the {adj} item in the picture",
            "the item that {clause}",
            "{adj} one, please",
            "pick whatever {clause}",
        ),
        (
            "Look at each of the objects and tell me which one {clause}.",
            "After looking at everything in view, pick the {adj} one for me.",
            "Can you show me which item of all these {clause}?",
            "My friend is searching for the {adj} object among all of them.",
        ),
    ),
    "test": (
        (
            "the {adj} object of all",
            "whatever {clause}",
            "point at the {adj} one",
            "the piece that {clause}",
        ),
        (
            "Think about every object in the scene and find what {clause}.",
            "Out of all the items that you see, which is the {adj}?",
            "Please look around and point at whichever of them {clause}.",
            "Here I need your help to choose the {adj} one of all.",
        ),
    ),
}

_RELATION = {
    "train": (
        (
            "the one {dir} the {colour} one",
            "{dir} the {colour} one",
            "what is {dir} the {colour} object",
            "the object {dir} the {colour} one",
            "it is {dir} the {colour} item",
            "placed {dir} the {colour} one",
            "whatever lies {dir} the {colour} one",
            "the neighbour {dir} the {colour} object",
            "something {dir} the {colour} one",
            "find what is {dir} the {colour} one",
            "seen {dir} the {colour} item",
            "the only one {dir} the {colour} object",
        ),
        (
            "First find the {colour} one, then show me what lies {dir} it.",
            "Only one object lies {dir} the {colour} one; can you point it out?",
            "Start from the {colour} object and look {dir} it; what do you see?",
            "If you stood at the {colour} one, which object would be {dir} you?",
            "Please tell me which of the objects was put {dir} the {colour} one.",
            "Somebody placed a single object {dir} the {colour} one; where is it?",
            "Look for the object that you would find {dir} the {colour} item.",
            "I can see the {colour} one, yet which object is {dir} it?",
            "Which of these would I meet if I looked {dir} the {colour} one?",
            "Take the {colour} one as your guide and pick what is {dir} it.",
            "My brother put his object {dir} the {colour} one; which is it?",
            "The rest of them lie elsewhere; just one is {dir} the {colour} one.",
            "There is exactly one object {dir} the {colour} one, so please pick it.",
        ),
    ),
    "val": (
        (
            "the item {dir} the {colour} one",
            "what lies {dir} the {colour} one",
            "located {dir} the {colour} object",
            "tell me what is {dir} the {colour} one",
        ),
        (
            "Find the {colour} object first and then tell me what is {dir} it.",
            "Which object would you see if you looked {dir} the {colour} one?",
            "I am searching for the only item that lies {dir} the {colour} one.",
            "Somebody put the object that I need {dir} the {colour} item; find it.",
        ),
    ),
    "test": (
        (
            "the object found {dir} the {colour} one",
            "whatever is {dir} the {colour} item",
            "what you see {dir} the {colour} one",
            "pick the one {dir} the {colour} object",
        ),
        (
            "Look at the {colour} one and point at the object that is {dir} it.",
            "Please pick the single item that was placed {dir} the {colour} object.",
            "Start your search at the {colour} one and find what is {dir} it.",
            "Can you tell me which of all these lies {dir} the {colour} one?",
        ),
    ),
}

_NEGATION = {
    "train": (
        (
            "the {group} that is not {other}",
            "the {group}, not the {but}",
            "any {group} that is not {other}",
            "just the {group}, not the {but}",
            "the {group}, if it is not {other}",
            "of the {groups}, not the {but}",
            "{groups}, and not the {but}",
            "the {group} and surely not {other}",
            "any of the {groups}, just not the {but}",
            "one of the {groups}, but not {other}",
            "among {groups}, not the {but}",
            "the {group}, just not {other}",
            "find the {group}, though not the {but}",
            "the {group} here that is not {other}",
        ),
        (
            "There are two {groups} in the picture; I want the one that is not {other}.",
            "Of the {groups} that you can see, show me the one that is not {other}.",
            "Please pick one of the {groups}, whichever is not the {but}.",
            "Somebody asked me for the {group}, though not the {but}; where is it?",
            "Look at both {groups} and choose whichever of them is not {other}.",
            "Which one of the {groups} would you choose if it must not be {other}?",
            "My sister wants the {group}, but she does not want the {but}.",
            "I am looking for the {group} in here that is not {other}.",
            "Two of them are {groups}; please pick the one that is not the {but}.",
            "One of the {groups} is what I need, but do not choose the {but}.",
            "Which one of the {groups} could I still use, if not the {but}?",
            "We are searching for the {group}, and the answer is not the {but}.",
            "Can you find the {group} for me, as long as it is not {other}?",
        ),
    ),
    "val": (
        (
            "the {group}, but not the {but}",
            "which {group} is not {other}",
            "of both {groups}, just not the {but}",
            "the only {group} that is not {other}",
        ),
        (
            "I can see two {groups} here; show me the one that is not {other}.",
            "Please pick the {group} for me, but make sure that it is not {other}.",
            "Both of them are {groups}, so please choose whichever is not the {but}.",
            "Of these {groups}, tell me which one is not the {but}.",
        ),
    ),
    "test": (
        (
            "any {group}, but not {other}",
            "out of the {groups}, not the {but}",
            "the only {group} which is not {other}",
            "the {group} and not the {but}",
        ),
        (
            "Which of the two {groups} in this whole picture is not {other}?",
            "Look for the {group}, and make sure that you do not pick the {but}.",
            "My friend has one of them; which of the {groups} is not {other}?",
            "Of both {groups} here I would like the one that is not the {but}.",
        ),
    ),
}

TEMPLATES: Mapping[str, Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "function": _FUNCTION,
    "comparison": _COMPARISON,
    "relation": _RELATION,
    "negation": _NEGATION,
}
"""Kind -> split -> (short templates, long templates)."""
