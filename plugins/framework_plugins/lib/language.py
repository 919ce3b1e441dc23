"""Which language a text is in, by its script, or where many are written in that script, by its commonest words.

A few words of each language are enough for texts of a sentence or more, and take no model to load; of shorter texts
nothing is said.
"""

from __future__ import annotations

import re

MIN_LETTERS = 40
"""Letters of a text, at least."""
MIN_COMMON_WORDS = 3
"""Different common words that a text needs; one language has to have more than any other."""
_SCRIPTS = {
    "Japanese": r"[\u3040-\u30ff]",
    "Korean": r"[\uac00-\ud7af\u1100-\u11ff]",
    "Chinese": r"[\u3400-\u9fff]",
    "Greek": r"[\u0370-\u03ff]",
    "Hebrew": r"[\u0590-\u05ff]",
    "Arabic or Persian": r"[\u0600-\u06ff]",
    "Hindi": r"[\u0900-\u097f]",
    "Bengali": r"[\u0980-\u09ff]",
    "Tamil": r"[\u0b80-\u0bff]",
    "Thai": r"[\u0e00-\u0e7f]",
    "Georgian": r"[\u10a0-\u10ff]",
    "Armenian": r"[\u0530-\u058f]",
    "Russian or another one in Cyrillic": r"[\u0400-\u04ff]",
}
"""In the order in which they are tried: Japanese has Chinese letters too."""
SCRIPTS = {name: re.compile(pattern) for name, pattern in _SCRIPTS.items()}
MIN_SCRIPT_SHARE = 0.2
"""Share of a text's letters that a script needs."""
COMMON_WORDS = {
    "English": "the and of to is that it you for with are this was have not be what from can your how which a "
    "in i do by on as or if me we my will an at no so but die war",
    "German": "der die das und ist nicht ich sie ein eine zu mit auf für den dem von sind auch wie wird werden oder",
    "French": "le la les et est des une un que pas pour dans vous je il qui sur avec ce du au sont cette être",
    "Spanish": "el la los las y es que de en un una por con para no se del como está pero más son lo este",
    "Portuguese": "o os as e é que de em um uma por com para não se do da como está mas mais são isso você",
    "Italian": "il lo gli le e è che di un una per con non si del della come sono ma più questo nel anche i",
    "Dutch": "de het een en is niet ik je van dat op te met voor zijn maar ook wat er aan deze wordt naar",
    "Swedish": "och att det är som en på för av den med inte jag du har om ett till vi kan var från eller",
    "Polish": "i w na z się nie że to jest do jak co ale czy po od dla przez tym są jego który oraz",
    "Turkish": "ve bir bu için ile çok da de ne daha olan olarak gibi var ama en kadar değil sonra ben sen",
    "Indonesian": "yang dan di ini itu untuk dengan tidak dari dalam adalah pada akan saya anda juga bisa ada ke atau",
    "Vietnamese": "và của là có không được cho một các người trong này với để những khi tôi bạn đã như",
    "Czech": "a je se na že v to s z do jak ale pro by jsem jsou nebo které který není byl jako",
    "Romanian": "și este în de la nu cu un o pe care pentru din mai sunt ce dar sau prin această fi",
}
COMMON_WORD_SETS = {name: frozenset(words.split()) for name, words in COMMON_WORDS.items()}
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`]*`|https?://\S+", re.DOTALL)


def languages(text: str) -> str:
    """Return the name of a text's language; empty if the text is too short or too mixed to tell."""
    text = _CODE.sub(" ", text).lower()
    letters = len(_LETTER.findall(text))
    if not text.isascii():
        for name, pattern in SCRIPTS.items():
            if len(pattern.findall(text)) > MIN_SCRIPT_SHARE * max(letters, 1) and letters >= MIN_LETTERS // 4:
                return name
    if letters < MIN_LETTERS:
        return ""
    words = set(_WORD.findall(text))
    # Different words, not how often: one that a text repeats says nothing more.
    hits = sorted(((len(words & common), name) for name, common in COMMON_WORD_SETS.items()), reverse=True)
    (top_count, name), (second_count, _) = hits[0], hits[1]
    return name if top_count >= MIN_COMMON_WORDS and top_count > second_count else ""
