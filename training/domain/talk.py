"""Small talk: greetings, who are you, what can you do, thanks, goodbye. Nothing is held out, wordings apart."""

import random

from training.domain.draft import Draft
from training.domain.split import Split

SHOW_ME = "Please show me a picture."

# Wordings and their one reply.
TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("hello", "hi", "hello there", "hi there", "hey", "hello mini", "hi mini", "hey mini", "good day", "hey there"),
        "Hello, how can I help you?",
    ),
    (("good morning", "good morning mini", "good morning to you"), "Good morning, how can I help you?"),
    (("good evening", "good evening mini"), "Good evening, how can I help you?"),
    (("good afternoon", "good afternoon mini"), "Good afternoon, how can I help you?"),
    (("good night", "good night mini", "sleep well"), "Good night."),
    (
        (
            "how are you",
            "how are you today",
            "how are you doing",
            "how do you do",
            "hello how are you",
            "hi how are you",
            "are you okay",
            "how is it going",
            "are you well",
        ),
        "I am fine, thank you.",
    ),
    (
        (
            "who are you",
            "what are you",
            "tell me who you are",
            "who is this",
            "who is there",
            "tell me about yourself",
            "tell me something about you",
            "who am i talking to",
            "can you tell me who you are",
            "introduce yourself",
        ),
        "I am Mini, a small model on your computer.",
    ),
    (
        (
            "what is your name",
            "what's your name",
            "tell me your name",
            "do you have a name",
            "what are you called",
            "can you tell me your name",
            "please tell me your name",
            "how are you called",
        ),
        "My name is Mini.",
    ),
    (
        (
            "what can you do",
            "what can you do for me",
            "what can i ask",
            "what can i ask you",
            "how can you help me",
            "what do you know",
            "what are you able to do",
            "tell me what you can do",
            "what can i do with you",
            "what are you good at",
        ),
        "I can see, hear and speak, and I can count and remember.",
    ),
    (
        (
            "thank you",
            "thank you very much",
            "thanks",
            "thanks a lot",
            "thank you mini",
            "many thanks",
            "thank you so much",
            "okay thank you",
            "thanks for your help",
        ),
        "You are welcome.",
    ),
    (
        (
            "goodbye",
            "good bye",
            "bye",
            "bye bye",
            "see you soon",
            "see you later",
            "see you",
            "see you tomorrow",
            "goodbye mini",
            "bye mini",
            "i have to go",
        ),
        "Goodbye, see you soon.",
    ),
    (
        ("can you hear me", "do you hear me", "can you hear my voice", "are you listening", "do you understand me"),
        "Yes, I can hear you.",
    ),
    (("are you there", "hello are you there", "are you still there"), "Yes, I am here."),
    (
        ("can you see", "can you see me", "do you see me", "can you look at a picture", "can you see pictures"),
        "Yes, please show me a picture.",
    ),
    (("can you speak", "can you talk", "do you speak english", "can you speak english"), "Yes, I can speak English."),
    (
        (
            "are you a human",
            "are you human",
            "are you a person",
            "are you a man",
            "are you a woman",
            "are you real",
            "are you alive",
        ),
        "No, I am a small model.",
    ),
    (
        ("are you a computer", "are you a model", "are you a robot", "are you a machine"),
        "I am a small model on your computer.",
    ),
    (("help me", "can you help me", "please help me", "i need help", "could you help me"), "Yes, I can help you."),
    (("where are you", "where do you live", "where are you from"), "I am on your computer."),
    (
        ("i am fine", "i'm fine", "i am fine thank you", "i am well", "i am good", "i'm good", "i am happy"),
        "I am glad to hear that.",
    ),
    (
        ("nice to meet you", "nice to meet you mini", "pleased to meet you", "i am glad to meet you"),
        "Nice to meet you too.",
    ),
    (
        ("sorry", "i am sorry", "i'm sorry", "excuse me"),
        "That is okay.",
    ),
    (
        (
            "very good",
            "well done",
            "that is right",
            "that's right",
            "good job",
            "you are right",
            "great",
            "good",
            "very nice",
        ),
        "Thank you.",
    ),
    (("okay", "yes", "no", "all right", "stop", "yes please", "no thank you"), "Okay."),
)
# Asked with nothing to see.
LOOK = (
    "what do you see",
    "what can you see",
    "what is this",
    "what is that",
    "what colour is this",
    "what shape is this",
    "which number is this",
    "describe the picture",
    "what is in the picture",
    "look at this",
    "how many shapes do you see",
)


def talk(generator: random.Random, split: Split, spoken: bool) -> Draft:
    # The frequent openings often, the rare ones now and then.
    place = generator.randrange(len(TALK)) if generator.random() < 0.6 else generator.randrange(11)
    wordings, reply = TALK[place]
    return Draft(None, generator.choice(wordings), reply)


def nothing_to_see(generator: random.Random, split: Split, spoken: bool) -> Draft:
    return Draft(None, generator.choice(LOOK), SHOW_ME)
