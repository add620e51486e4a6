"""Texts of many kinds, by what is hard in them, and their sentences."""

from lm_objectives.data.preparation.sentences import find_sentences, sentences_at

KINDS = {
    "english": 'Dr. Smith came in.  "Really?" she asked.\n\nNobody  knew.\n',
    "chinese": "他来了。2001年，我们去了北京。天气很好！\n\n第二段从这里开始。“真的吗？”他问。\n",
    "thai": "สวัสดีครับ ผมชื่อสมชาย\n\nวันนี้อากาศดีมาก",
    "arabic": "مرحبا بالعالم. كيف حالك؟\n\nهذا نصٌّ مُشَكَّل.",
    "emoji": "A family 👩‍👩‍👧, a flag 🇨🇭 and é as e\u0301; zero\u200bwidth, nbsp\u00a0here.",
    "source code": 'def f(x):\n    """Doc."""\n    if x:\n\treturn {\n        "a": 1,\n\t}\n\n\n    # end.\n',
    "verse": "Tyger Tyger, burning bright,\nIn the forests of the night;\n\n    In what distant deeps or skies.\n",
    "crlf": "One line.\r\nAnother.\r\n\r\nA paragraph.\r\n",
    "tabs": "\ta\tb\t\tc \t d\n\t\te",
    "led in": " A text that begins with a space.",
    "line first": "\n\nA text that begins with lines.",
    "special": "What looks like [MASK] or [EOS] <s> is text.",
}


def split_document(text: str, language: str) -> list[list[str]]:
    """Sentences of each paragraph of a document, without the white space around them."""
    return sentences_at(text, find_sentences(text, language))
