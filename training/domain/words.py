"""The words of the domain in lists, and numbers in words; knows no question."""

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "black", "white")
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = ("january february march april may june july august september october november december").split()
ANIMALS = ("dog", "cat", "bird", "horse", "cow", "fish", "duck", "rabbit", "sheep", "mouse")
FRUITS = ("apple", "banana", "orange", "lemon", "cherry")
FOODS = ("apple", "banana", "lemon", "cherry", "bread", "milk", "water", "coffee", "tea", "cheese", "rice")
THINGS = (
    "house tree car book door table chair window garden river paper stone cloud box boat bed cup key shoe train music"
).split()
NATURE = ("sky", "grass", "sun", "snow", "moon", "rain", "wind", "sea")

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

OPPOSITES = (
    ("big", "small"),
    ("hot", "cold"),
    ("up", "down"),
    ("left", "right"),
    ("good", "bad"),
    ("black", "white"),
    ("day", "night"),
    ("yes", "no"),
    ("open", "closed"),
    ("old", "new"),
    ("fast", "slow"),
    ("happy", "sad"),
    ("high", "low"),
    ("long", "short"),
    ("in", "out"),
    ("wet", "dry"),
    ("early", "late"),
    ("full", "empty"),
    ("light", "dark"),
    ("hard", "soft"),
    ("first", "last"),
    ("on", "off"),
    ("clean", "dirty"),
    ("strong", "weak"),
)

NAMES = (
    "anna ben carla david emma frank peter henry julia jack kate leo mary nina oscar paul rosa sam tom vera adam "
    "alice amy andrew bob chris clara daniel diana edward ella eric eva fiona george hannah helen jacob james jane "
    "john karen kevin laura linda lisa lucy martin max michael nick olivia rachel robert sarah simon sofia steven "
    "susan thomas victor"
).split()

# What a sound track may say: short, common, and unlike one another.
SOUND_WORDS = (
    "hello yes no house apple table river seven window music garden monday water banana green yellow orange purple "
    "circle triangle dog horse rabbit coffee paper summer winter money picture flower sunday eleven cloud train doctor "
    "school sugar morning kitchen friend"
).split()

# Words that have a capital wherever they stand.
CAPITALIZED = frozenset((*NAMES, *DAYS, *MONTHS, "mini", "i"))

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def number_words(number: int) -> str:
    """0 to 199: `twenty three`, `one hundred`, `one hundred four`."""
    assert 0 <= number < 200, number
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f" {ONES[ones]}" if ones else "")
    return "one hundred" + (f" {number_words(number - 100)}" if number > 100 else "")


def with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def plural(word: str) -> str:
    irregular = {"fish": "fish", "sheep": "sheep", "mouse": "mice", "cherry": "cherries", "box": "boxes"}
    return irregular.get(word, word + "s")


def known_words() -> tuple[str, ...]:
    """What can be spelled, repeated and listed: each once, in a fixed order."""
    pairs = [word for pair in OPPOSITES for word in pair]
    words = (*COLOURS, *SHAPES, *DAYS, *ANIMALS, *FOODS, *THINGS, *NATURE, *pairs, *ONES[:13])
    return tuple(dict.fromkeys(words))


def written(text: str) -> str:
    """Spoken words as they stand in the middle of a sentence: `my name is Anna`, `I'm`."""
    return " ".join(
        word[0].upper() + word[1:] if word.partition("'")[0] in CAPITALIZED else word for word in text.split()
    )


def sentence(text: str, end: str = ".") -> str:
    return text[0].upper() + text[1:] + end
