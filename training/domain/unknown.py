"""What the model cannot answer, and says so: questions near the domain and plain English of any kind."""

import random
from functools import lru_cache

from training.domain.draft import Draft
from training.domain.facts import COLOUR_OF, LEGS
from training.domain.letters import pseudo_word
from training.domain.split import Split
from training.domain.words import NAMES, ONES, OPPOSITES, THINGS, known_words, number_words, with_article

UNKNOWN = "I am sorry, I do not know."

PLACES = "france germany spain italy england america china india japan london paris berlin rome".split()
PEOPLE = "president,king,queen,mayor,teacher,winner,boss,author,inventor".split(",")
VERBS = "cook make build clean paint open repair wash find draw grow cut".split()
JOBS = "story,poem,song,letter,joke,book,list,email".split(",")
PERSONS = ("my mother", "my father", "your mother", "the king", "the president", "my brother", "my sister", "he", "she")
PLACES_OF_THINGS = ("my keys", "my phone", "my car", "the station", "the doctor", "the school", "my book", "my dog")

_WORDS = known_words()
_NO_OPPOSITE = tuple(word for word in _WORDS if all(word not in pair for pair in OPPOSITES))
_NO_COLOUR = tuple(word for word in THINGS if f"a {word}" not in COLOUR_OF)

PLAIN = (
    "what time is it",
    "what is the time",
    "what's the time",
    "what day is it",
    "what day is it today",
    "what day is today",
    "what is the date",
    "what is the date today",
    "which year is it",
    "what month is it",
    "what is the weather",
    "what is the weather like",
    "how is the weather",
    "how is the weather today",
    "will it rain",
    "will it rain tomorrow",
    "is it raining",
    "is it cold outside",
    "how warm is it",
    "will it snow tomorrow",
    "what is the news",
    "what is the meaning of life",
    "tell me a joke",
    "sing a song",
    "sing me a song",
    "play some music",
    "play music",
    "tell me a story",
    "turn on the light",
    "turn off the light",
    "call my mother",
    "send a message",
    "write an email",
    "open the door",
    "open the window",
    "order a pizza",
    "set a timer",
    "wake me up at seven",
    "how old are you",
    "when were you born",
    "who made you",
    "who built you",
    "do you love me",
    "i love you",
    "do you like me",
    "do you like music",
    "what do you like",
    "what is your favourite colour",
    "what is your favourite food",
    "what are you doing",
    "what do you think",
    "do you sleep",
    "do you dream",
    "can you dance",
    "can you sing",
    "can you swim",
    "can you drive a car",
    "are you happy",
    "where am i",
    "where do i live",
    "what am i doing",
    "what should i eat",
    "what should i do",
    "what should i wear",
    "how much money do i have",
    "what did i eat",
    "how tall is he",
    "how far is the moon",
    "how far is the sun",
    "how big is the earth",
    "how deep is the sea",
    "how many people live here",
    "how many stars are in the sky",
    "how many people are there",
    "i want to go home",
    "i am hungry",
    "i am tired",
    "it is late",
    "the train is late",
    "he went home",
    "why",
    "why not",
    "how",
    "when",
    "really",
    "do you speak german",
    "can you speak french",
)


def unknown(generator: random.Random, split: Split, spoken: bool) -> Draft:
    user = generator.choice(_ASKERS)(generator.choice, generator)
    if not spoken and generator.random() < 0.15:
        user = _with_pseudo_word(generator, user)
    return Draft(f"unknown {user}", user, UNKNOWN)


def open_text(generator: random.Random, split: Split, spoken: bool) -> Draft:
    """Plain English of any kind."""
    text = generator.choice(_sentences(split))
    return Draft(None, _as_spoken(text), UNKNOWN, None if spoken else _as_typed(generator, text))


@lru_cache(maxsize=2)
def _sentences(split: Split) -> tuple[str, ...]:
    """Plain English, under the rule of its own module."""
    from training.speech.open_text import sentences

    return tuple(text for text in sentences(split) if len(text.split()) <= 9)


def _as_spoken(text: str) -> str:
    return text.lower().replace(",", "").rstrip(".")


def _as_typed(generator: random.Random, text: str) -> str:
    chance = generator.random()
    return text if chance < 0.5 else text.rstrip(".") if chance < 0.75 else text.lower().rstrip(".")


def _with_pseudo_word(generator: random.Random, user: str) -> str:
    words = user.split()
    words[-1] = pseudo_word(generator)
    return " ".join(words)


def _big(choose, generator: random.Random) -> str:
    """A number outside of what is learnt."""
    if generator.random() < 0.5:
        return f"{choose(ONES[2:10])} hundred" + (
            f" {number_words(generator.randint(1, 99))}" if generator.random() < 0.6 else ""
        )
    return choose(("one thousand", "two thousand", "one million", "five thousand"))


_ASKERS = (
    lambda choose, generator: choose(PLAIN),
    lambda choose, generator: choose(PLAIN),
    lambda choose, generator: choose(PLAIN),
    lambda choose, generator: f"what is the capital of {choose(PLACES)}",
    lambda choose, generator: f"who is the {choose(PEOPLE)} of {choose(PLACES)}",
    lambda choose, generator: f"where is {choose((*PLACES, *PLACES_OF_THINGS))}",
    lambda choose, generator: f"how far is {choose(PLACES)}",
    lambda choose, generator: f"how many people live in {choose(PLACES)}",
    lambda choose, generator: f"who is {choose(NAMES)}",
    lambda choose, generator: f"who is {choose(NAMES)} {choose(NAMES)}",
    lambda choose, generator: f"where is {choose(NAMES)}",
    lambda choose, generator: f"how old is {choose((*NAMES, *PERSONS))}",
    lambda choose, generator: f"when was {choose(NAMES)} born",
    lambda choose, generator: f"what is the name of {choose(PERSONS)}",
    lambda choose, generator: f"what does {choose(PERSONS)} do",
    lambda choose, generator: f"how much does {with_article(choose(THINGS))} cost",
    lambda choose, generator: f"where can i buy {with_article(choose(THINGS))}",
    lambda choose, generator: f"how do i {choose(VERBS)} {with_article(choose(THINGS))}",
    lambda choose, generator: f"how can i {choose(VERBS)} the {choose(THINGS)}",
    lambda choose, generator: f"why is the {choose(_WORDS)} {choose(_WORDS)}",
    lambda choose, generator: f"who made the {choose(THINGS)}",
    lambda choose, generator: f"tell me about {choose(_NO_OPPOSITE)}",
    lambda choose, generator: f"tell me a {choose(('story', 'joke'))} about {choose(_NO_OPPOSITE)}",
    lambda choose, generator: f"write a {choose(JOBS)} about {choose(_NO_OPPOSITE)}",
    lambda choose, generator: f"explain {choose(_WORDS)}",
    lambda choose, generator: f"translate {choose(_WORDS)}",
    lambda choose, generator: f"what is {choose(_WORDS)} in {choose(('german', 'french', 'spanish'))}",
    lambda choose, generator: f"what is the opposite of {choose(_NO_OPPOSITE)}",
    lambda choose, generator: f"what colour is {choose(('my', 'the', 'your'))} {choose(_NO_COLOUR)}",
    lambda choose, generator: f"how many legs does {with_article(choose([w for w in THINGS if w not in LEGS]))} have",
    lambda choose, generator: (
        f"what is {number_words(generator.randint(11, 99))} times {number_words(generator.randint(11, 99))}"
    ),
    lambda choose, generator: (
        f"what is {number_words(generator.randint(2, 99))} divided by {number_words(generator.randint(2, 12))}"
    ),
    lambda choose, generator: (
        f"divide {number_words(generator.randint(2, 99))} by {number_words(generator.randint(2, 12))}"
    ),
    lambda choose, generator: (
        f"what is {_big(choose, generator)} {choose(('plus', 'times'))} {number_words(generator.randint(1, 99))}"
    ),
    lambda choose, generator: (
        f"what is {number_words(generator.randint(1, 99))} {choose(('plus', 'times'))} {_big(choose, generator)}"
    ),
    lambda choose, generator: f"what is the square root of {number_words(generator.randint(2, 99))}",
    lambda choose, generator: f"i want {with_article(choose(THINGS))}",
    lambda choose, generator: f"i would like to {choose(VERBS)} {with_article(choose(THINGS))}",
    lambda choose, generator: f"the {choose(_WORDS)} and the {choose(_WORDS)}",
    lambda choose, generator: " ".join(choose(_WORDS) for _ in range(generator.randint(2, 4))),
    lambda choose, generator: f"is {choose(NAMES)} {choose(('here', 'at home', 'happy', 'your friend'))}",
    lambda choose, generator: f"do you know {choose(NAMES)}",
    lambda choose, generator: f"what is the number of {choose(NAMES)}",
    lambda choose, generator: (
        f"when is {choose(('christmas', 'easter', 'lunch', 'dinner', 'the party', 'my birthday', 'the meeting'))}"
    ),
)
