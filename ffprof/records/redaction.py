"""What a record keeps of words from outside: no secrets, valid UTF-8, and not too long.

A record is passed on: attached to an issue, or kept as a baseline in a public repository. So what
looks like a password or a token is left out of commands, paths, notes and messages.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

MOST = 4000  # characters, as of ``ffprof.records.base.Text``
LEFT_OUT = "REDACTED"

# What a name ends in whose value is a secret: HF_TOKEN, --api-key, X-Amz-Signature.
_SECRET = (
    r"(?:pass(?:word|wd|phrase)?|pwd|(?:api|access|secret|private|storage|account)[-_]?key"
    r"|credentials?|authorization|auth|cookie|signature|sig)"
)
# These also where they are grown together with another word, or numbered: MYTOKEN, TOKEN1.
_NAME = rf"(?:(?:[\w.-]{{0,40}}[-_.])?{_SECRET}|[\w.-]{{0,40}}(?:token|secret|password)\d{{0,3}})"
_OPTION = re.compile(rf"-{{1,2}}{_NAME}", re.IGNORECASE)
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|{0})"  # quoted, or as given
_GIVEN = re.compile(
    rf"((?<![\w-])-{{0,2}}{_NAME}[\"']?\s*[=:]\s*)"
    + _VALUE.format(r"(?:bearer |basic )?[^\s&;,]+"),
    re.IGNORECASE,
)
_SPACED = re.compile(rf"((?<![\w-])--?{_NAME}\s+)" + _VALUE.format(r"[^\s-]\S*"), re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_LOGIN = re.compile(r"(\w://)(?:[^\s/:@]*:[^\s@]*|[^\s/:@]+)@")  # user:password@ of an address
# As services write them, after their documentation: GitHub, GitLab, Hugging Face, OpenAI and
# others, Slack, AWS, Google, npm, PyPI, JSON Web Tokens (RFC 7519), PEM (RFC 7468).
_TOKEN = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{20,}"
    r"|sk-[\w-]{20,}|xox[abeoprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}"
    r"|(?:sk|pk|rk)_(?:live|test)_\w{10,}|ya29\.[\w-]{20,}|hooks\.slack\.com/services/[\w/]+"
    r"|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,}|eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)


def recorded(text: str, most: int = MOST) -> str:
    """The text as a record may hold it.

    Args:
        text: of anywhere; what is no character becomes a question mark.
        most: characters; a longer text is cut, and ends in ``...``.
    """
    # What a file name has of bytes that are no UTF-8 are lone surrogates here.
    valid = text.encode("utf-8", "replace").decode() if _is_odd(text) else text
    masked = _masked(valid[: 16 * MOST])  # no more is kept, so no more is searched
    return masked if len(masked) <= most else f"{masked[: most - 3]}..."


def recorded_words(words: Sequence[str]) -> tuple[str, ...]:
    """A command's words as a record may hold them: what follows ``--token`` is left out."""
    kept, secret = [], False
    for word in words:
        kept.append(LEFT_OUT if secret and not word.startswith("-") else recorded(word))
        secret = bool(_OPTION.fullmatch(word))
    return tuple(kept)


def recorded_command(words: Sequence[str]) -> str:
    """A command line, quoted for a shell, as a record may hold it."""
    return recorded(shlex.join(recorded_words(words)))


def _is_odd(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def _masked(text: str) -> str:
    for pattern in (_LOGIN, _BEARER, _GIVEN, _SPACED):
        if pattern is _LOGIN:
            text = pattern.sub(rf"\1{LEFT_OUT}@", text)
        else:
            text = pattern.sub(rf"\g<1>{LEFT_OUT}", text)
    return _TOKEN.sub(LEFT_OUT, text)
