"""Every word that is to be one token: the domain's own, and those that later versions will need."""

import random
import re
from collections import Counter
from collections.abc import Iterator

from app.chatml.render import DEFAULT_SYSTEM_PROMPT
from training.domain import dialogue, facts, memory, talk, unknown
from training.domain.typed import spoken_reply, typed_form
from training.domain.words import CAPITALIZED, LETTERS, NAMES, SOUND_WORDS, TENS, known_words
from training.scenes.questions import texts as texts_of_scenes

# Of pictures and clips as they are asked for today, and of what may come: things to hold into a camera, sizes, places,
# what happens in a clip, what is heard.
LATER = (
    "ball cup hand book person man woman child face head eye eyes ear nose mouth arm leg foot finger hair body hat "
    "shirt glass bottle plate spoon fork knife phone screen clock lamp bag pen pencil flower leaf plane bus bike "
    "truck road street bridge wall floor roof kitchen school city animal fruit food bear lion tiger elephant monkey "
    "pig hen goat snake frog bee butterfly pear grape peach melon tomato potato carrot onion egg cake sugar salt "
    "soup meat pizza juice grey gold silver colours shapes circles squares triangles stars hearts diamonds sheet "
    "shape thing things object objects one's oval cross arrow line dot ring rectangle moon little large tiny huge "
    "wide narrow tall thick thin round flat bigger smaller larger biggest smallest longer shorter taller higher "
    "lower middle top bottom centre center corner side above below under over between behind front beside near next "
    "inside outside left right forward backward picture image photo video clip film sound tone beep noise voice "
    "word number digit text letter letters written read show showed shown look looks see seen saw hear heard say "
    "said speak spoke appears appear appeared disappears disappear disappeared moves move moved moving goes went "
    "comes came turns turned turn grows grow shrinks changes change changed blinks blink jumps jump falls fall "
    "rises rise stays stay starts start stops times twice once first second third fourth fifth before after then "
    "during while same time start end begin different same both none nothing something someone everything there "
    "here where when why how who whose which what that this these those rain rainy sun sunny snow snowy wind windy "
    "cloudy storm fog warm cool weather spring summer autumn winter morning afternoon evening night today tomorrow "
    "yesterday week month year hour minute moment eat drink sleep walk run sit stand play work write draw make made "
    "take give bring put find found lost keep open close closed buy sell help need want like love hate know think "
    "believe remember forget understand learn teach wait smile laugh cry sing dance swim fly drive ride climb carry "
    "throw catch cut wash cook happy angry tired hungry thirsty sick well ready alone together always never often "
    "sometimes maybe perhaps again also too very much many more most less few some any all each every other another "
    "only just still already yet not cannot mother father brother sister family friend friends baby boy girl king "
    "queen doctor teacher money job music song story game party birthday holiday trip train car boat home house "
    "room hundred thousand million half quarter minus plus times equals divided percent equal sum brown pink beige "
    "repeat spell count word's about because if but or and with without from into through across around against of "
    "off at by for to as than me my mine you your yours he she it its we us our they them their his her him was "
    "were be been being am are is do does did done has had have can could will would shall should may might must "
    "let's please sorry yes no okay thanks sure right wrong true false question answer answers asked ask told tell "
    "tells quiet loud slow slowly fast quickly high low short long soft german french spanish english american "
    "british"
).split()


NUM_DIALOGUES = 15_000
NUM_SCENES = 3000
# Of 15,000 dialogues: a form that occurs less often may take two tokens.
MIN_COUNT = 4
_SIGNS = (" +", " -", " *", " =", " ×", "'s", "'m", "'ve", "'t", "'re", "'ll", ' "', '."', "...")
_WORD = re.compile(r" ?[A-Za-z]+")


def forms(num_dialogues: int = NUM_DIALOGUES) -> list[str]:
    """Words as they stand in text, ` house`, `House`, `house`: with a space before them all that the domain and later
    versions need, without one and with a capital those that occur so. Each once, the most frequent first."""
    found = Counter(f" {word}" for text in listed() for word in _heard(text))
    seen: Counter[str] = Counter()
    for user, typed, reply in drawn(num_dialogues):
        found.update(f" {word}" for word in _heard(user))
        seen.update(_WORD.findall(typed))
        seen.update(_WORD.findall(reply))
    found.update({form: count for form, count in seen.items() if count >= MIN_COUNT})
    found.update([*_WORD.findall(DEFAULT_SYSTEM_PROMPT), *_SIGNS])
    found.update(f" {word.capitalize()}" for word in (*CAPITALIZED, *LETTERS))
    found.update(form for word in (*NAMES, *known_words(), *LETTERS) for form in (word.capitalize(), word))
    return [form for form, _ in sorted(found.items(), key=lambda item: (-item[1], item[0])) if len(form.strip()) > 0]


def _heard(text: str) -> list[str]:
    return [word.partition("'")[0] for word in spoken_reply(text).split()]


def listed() -> list[str]:
    """Texts that a drawing may miss."""
    texts = [*known_words(), *NAMES, *TENS, *SOUND_WORDS, *LETTERS, *LATER, *CAPITALIZED, *unknown.PLAIN, *talk.LOOK]
    texts += [text for wordings, reply in talk.TALK for text in (*wordings, reply)]
    texts += [*dialogue.HEARD, *dialogue.ASKED_FIRST, *dialogue.ASKED_BEFORE, *dialogue.AGAIN]
    texts += [dialogue.NOTHING_SAID, dialogue.NOTHING_ASKED, dialogue.I_SAID_NOTHING]
    texts += [text for pair in texts_of_scenes(random.Random(1), "train", NUM_SCENES) for text in pair]
    for kind in memory.KINDS.values():
        texts += [*kind.statements, *kind.questions, kind.reply, kind.answer, kind.missing]
    texts += [*facts.COLOUR_OF, *facts.LEGS, *unknown.PLACES, *unknown.PEOPLE, *unknown.VERBS, *unknown.JOBS]
    return [text.replace("{}", " ") for text in texts]


def drawn(num_dialogues: int) -> Iterator[tuple[str, str, str]]:
    """What is said, how it is typed and what is replied; plain English of any kind and pseudo-words left out."""
    generator = random.Random(0)
    for _ in range(num_dialogues):
        for item in dialogue.dialogue(generator, "train", spoken=True):
            if item.skill != "open":
                yield item.user, typed_form(generator, item), item.reply
