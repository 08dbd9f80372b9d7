"""The words of captions, as the figures of captions count them.

Captions are compared word by word, and what a word is was settled by the COCO caption server: the Penn Treebank's
rules, lower case, most punctuation left out (Chen 2015, section 4.1). The server runs a Java program for it; here stand
rules that give its words, found by showing it captions, so that no Java is needed.
``tests/apps/captioning/words.json`` holds captions and the program's words of them.

Two rules differ on purpose: text is first brought into Unicode's form NFC, so that one word isn't two, and letters
beyond the basic plane stay, which the program drops.
"""

import re
import unicodedata
from functools import cache, lru_cache
from itertools import pairwise

#: What stands for something else, or for a word of its own.
_REPLACED = {
    "&amp;": "&",
    "&lt;": " < ",
    "&gt;": " > ",
    "&quot;": '"',
    "&apos;": "'",
    "&nbsp;": " ",
    "\u00a3": "#",  # pound
    "\u20ac": "$",  # euro
    "\u00a2": " cents ",
    "\u00bc": " 1/4 ",
    "\u00bd": " 1/2 ",
    "\u00be": " 3/4 ",
    "\u2153": " 1/3 ",
    "\u2154": " 2/3 ",
    "\u00ad": "",  # soft hyphen
}
#: Brackets are words, since the server looks for them in capitals when it leaves out punctuation.
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
#: Punctuation and quotes that count for no word; runs of ``?`` and ``!`` do, as on the server.
_LEFT_OUT = frozenset("'`\".?!,:;-\u2018\u2019\u201b\u201c\u201d\u2026\u2013\u2014\u2015")
#: Words that are two.
_SPLIT = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "wanna": ("wan", "na"),
    "gimme": ("gim", "me"),
    "lemme": ("lem", "me"),
    "'tis": ("'t", "is"),
    "'twas": ("'t", "was"),
}
#: Words whose dot belongs to them: months and days, titles and names, companies, states, others.
_ABBREVIATIONS = (
    "jan feb mar apr jun jul aug sept sep oct nov dec mon tues tue wed thurs thu fri "
    "mr mrs ms drs dr profs prof sens sen reps rep attys atty lt col gen messrs govs gov adm rev maj sgt cpl pvt mt "
    "capt ste st ave pres lieut hon brig cmdr comdr pfc spc supts supt det mme mlle msgr jr sr bros blvd rd esq ph.d "
    "inc cos co corp ptys pty ltd plc bancorp dept bhd assn univ intl sys "
    "ala ariz calif colo conn ct dak fla ga ind kans kan ky md mich minn mo mont neb nev okla penn tenn va vt wis wyo "
    "al bldg cf cie elec est etc ext ft mfg natl ph rt seq tel vs wm"
).split()
#: The same, but words of another meaning where they begin with a small letter.
_NAMES = "Ark Del Ill La Mass Miss Ore Pa Tex Wash".split()
#: Where a figure follows, their dot belongs to them.
_NUMBERED = "nos no pp figs fig art".split()
#: Words with an apostrophe in or at the end of them.
_WITH_APOSTROPHE = (
    "cap'n c'mon e'er s'mores nor'easter ev'ry li'l nat'l somethin' dunkin' ol' 'em 'til 'till 'cause".split()
)
#: The categories of characters that stand alone as words; quotes, dashes, and what can't be seen, don't.
_ALONE = frozenset("Lu Ll Lt Lm Lo Nd Nl No Po Sm Sc Sk So".split())


def caption_words(text: str) -> list[str]:
    """Return the words of a caption, in lower case."""
    text = unicodedata.normalize("NFC", text)
    if not text.isascii() or "&" in text:
        for written, meant in _REPLACED.items():
            text = text.replace(written, meant)
    pieces = text.split()
    found: list[str] = []
    for piece, after in pairwise([*pieces, ""]):
        found += _words(piece, after[:1].isdigit())
    return found


@lru_cache(maxsize=100_000)
def _words(piece: str, is_before_number: bool) -> tuple[str, ...]:
    """Return the words of a piece of text without white space, which recur: most captions share theirs."""
    if piece.isalpha() and piece.isascii():
        return _SPLIT.get(piece.lower(), (piece.lower(),))
    patterns, place = _patterns(), 0
    found: list[str] = []
    # what follows the piece matters to abbreviations only
    seen = piece + ("\n1" if is_before_number else "\n")
    while place < len(piece):
        matches = [match for each in patterns if (match := each.match(seen, place))]
        if matches:
            # the longest wins, with what has to follow; of several as long the first
            best = max(matches, key=lambda match: match.end())
            found += _written(best[1])
            place = best.end(1)
        else:
            found += _single(piece[place])
            place += 1
    return tuple(found)


def _written(token: str) -> tuple[str, ...]:
    """Return what becomes of a token that a pattern found."""
    word = token.lower()
    if re.fullmatch("[\u2019'](?:[smd]|re|ve|ll)|n[\u2019']t", word):
        return (word.replace("\u2019", "'"),)
    if word in _SPLIT:
        return _SPLIT[word]
    if re.fullmatch(r"[<>]?[:;=].*[()]", word):
        return (word.replace("(", "-lrb-").replace(")", "-rrb-"),)
    return () if word in ("?", "!") else (word,)


def _single(character: str) -> tuple[str, ...]:
    """Return the word that a character is which is part of no longer one, if it is any."""
    if character in _BRACKETS:
        return (_BRACKETS[character],)
    is_known = ord(character) <= 0xFFFF and unicodedata.category(character) in _ALONE
    return (character.lower(),) if is_known and character not in _LEFT_OUT else ()


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Return what finds tokens: the first group is the token, and what stands behind it has to follow."""
    return tuple(re.compile(each) for each in (*_word_patterns(), *_other_patterns()))


def _word_patterns() -> list[str]:
    """Return the patterns of words, and of what apostrophes and dots do to them."""
    marks = _marks()
    letter, alnum = f"(?:[^\\W\\d_]|[{marks}])", f"(?:[^\\W_]|[{marks}])"
    apostrophe, quote, no_letter = "['\u2019]", "['\u2019`\u2018\u201b]", "(?![A-Za-z])"
    word = f"{letter}{alnum}*(?:[.!?]{letter}{alnum}*)*"
    part = f"(?:[dDoOlL]{quote}{letter})?{alnum}+"
    thing = f"{part}(?:[-_\u2010\u2011]{part})*"
    # with dots and commas before the hyphen, as in 3.5-inch and u.s.-based
    joined = "[A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:[A-Za-z](?:\\.[A-Za-z])+\\.|[A-Za-z0-9]+))+"
    clitic = f"{apostrophe}(?:[sSmMdD]|re|ve|ll|RE|VE|LL){no_letter}"
    known = "|".join(each.replace("'", apostrophe) for each in _WITH_APOSTROPHE)
    return [
        f"({word}|{thing}|{joined}){clitic}",
        f"({clitic})",
        f"({letter}*(?![nN]){letter})[nN]{quote}[tT]{no_letter}",
        f"([nN]{quote}[tT]){no_letter}",
        f"((?i:{known})){no_letter}",
        f"((?i:'tis|'twas)){no_letter}",
        f"({apostrophe}[nN]{apostrophe})",
        f"({apostrophe}[nN]){no_letter}",
        f"([yY]{apostrophe})[A-Za-z]",
        f"({apostrophe}[2-9]0s){no_letter}",
        f"({apostrophe}\\d\\d)\\n",
        f"({letter}+[aeiouyAEIOUY]{apostrophe}[aeiouA-Z]{letter}*)",
        f"({word})",
        f"({thing})",
        f"({joined})",
        f"((?i:{'|'.join(map(re.escape, _ABBREVIATIONS))})\\.)",
        f"((?:{'|'.join(_NAMES)})\\.)",
        "([A-Za-z](?:\\.[A-Za-z])*\\.)",
        f"((?i:{'|'.join(_NUMBERED)})\\.)\\n?\\d",
    ]


def _other_patterns() -> list[str]:
    """Return the patterns of numbers, prices, addresses, faces and the like."""
    dotless = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
    last = '[^\\s"<>|.!?(){},-]'
    path = f'(?:/[^\\s"<>|()]+{last})?'
    return [
        "([-+]?(?:\\d*(?:[.:,]\\d+)+|\\d+))",
        f"({dotless}(?:/{dotless}){{1,2}})",
        "(\\d{1,4}-\\d{1,4}/\\d{1,4})",
        "([A-Z]*\\$)",
        "([A-Z]+(?:[+&][A-Z]+)+)",
        "([CcFf]#|[Cc]\\+\\+)",
        "([#@][A-Za-z_]\\w*)",
        f'(https?://[^\\s"<>|(){{}}]+{last})',
        f"(www\\.(?:{last}+\\.)+[A-Za-z]{{2,4}}{path})",
        f"((?:[^\\s\"'`<>|.!?(){{}},_$-]+\\.)+(?:com|net|org|edu){path})",
        '([A-Za-z0-9][^\\s"<>|()]*@(?:[^\\s"<>|().]+\\.)*[^\\s"<>|().]+)',
        "([A-Za-z0-9]+\\.(?:jpe?g|gif|png|html?|pdf|txt|mp[34]))",
        "(</?[A-Za-z][^<>\\s]*>)",
        "([<>]?[:;=]['o*-]?[][()DPdpO\\\\{@|])(?![A-Za-z])",
        "(\\^_\\^|[?!]+|\\*+|_+|##+|@@+|<<|>>)",
    ]


def _marks() -> str:
    """Return the marks that are part of words, such as the vowels of Devanagari, as ranges of a pattern."""
    found = [code for code in range(0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    ranges: list[list[int]] = []
    for code in found:
        if 0xFE00 <= code <= 0xFE0F:
            continue  # these only choose how an emoji looks
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
