# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""Random texts for tokenizers: words, code, whitespace, many scripts, combining marks, emoji, added tokens and pieces of them."""
import unicodedata

RANGES = [(0x20, 0x7E), (0x00, 0x20), (0x80, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF),
          (0x530, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xE00, 0xE7F),
          (0x1000, 0x109F), (0x1100, 0x11FF), (0x1680, 0x1680), (0x1780, 0x17FF), (0x180B, 0x180F), (0x1E00, 0x1FFF),
          (0x2000, 0x206F), (0x20D0, 0x20FF), (0x2100, 0x218F), (0x2460, 0x24FF), (0x2600, 0x27BF), (0x3000, 0x30FF),
          (0x3130, 0x318F), (0x4E00, 0x9FFF), (0xA640, 0xA69F), (0xAC00, 0xD7AF), (0xE000, 0xE0FF), (0xF900, 0xFAFF),
          (0xFB00, 0xFDFF), (0xFE00, 0xFEFF), (0xFF00, 0xFFEF), (0x10400, 0x104FF), (0x11000, 0x117FF),
          (0x1D100, 0x1D7FF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x2A6DF), (0x2F800, 0x2FA1F),
          (0xE0000, 0xE01EF), (0x10FFF0, 0x10FFFF)]
WORDS = ["the", " and", "Hello", "don't", "I'LL", "we've", "it's", "'S", "'\u017f", "x='re'", "print(", "self.", "return ",
         "    ", "\t\t", "\n", "\r\n", "\n\n\n", " \n ", "0", "1234", "3.14", "e-7", "==", "!=", "-----", "###", "/* ",
         "</div>", "<b>", "http://", "\u4f60\u597d", "\u4e16\u754c\uff0c", "\u3053\u3093\u306b\u3061\u306f",
         "\uc548\ub155\ud558\uc138\uc694", "\u041f\u0440\u0438\u0432\u0435\u0442", "\u0645\u0631\u062d\u0628\u0627",
         "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
         "e\u0301", "a\u0323\u0307", "a\u0307\u0323", "\u1100\u1161\u11a8", "\ufb01", "\u212b", "\U0001f468\u200d\U0001f469",
         "\U0001f1e9\U0001f1ea", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\ufeff", "\x00", "ab" * 40, "\u4e2d" * 60]


def random_text(rng, added, newest=True):
    """A text; newest: also of characters that unicodedata does not know yet."""
    parts = []
    for _ in range(rng.randrange(1, 30)):
        kind = rng.random()
        if kind < 0.5:
            parts.append(rng.choice(WORDS))
        elif kind < 0.6:
            token = rng.choice(added)
            parts.append(token if rng.random() < 0.7 else token[:rng.randrange(1, len(token) + 1)])
        else:
            first, last = rng.choice(RANGES)
            parts.append("".join(chr(rng.randint(first, last)) for _ in range(rng.randrange(1, 6))))
        if rng.random() < 0.3:
            parts.append(" ")
    text = "".join(parts)
    return text if newest else "".join(c for c in text if unicodedata.category(c) != "Cn")
