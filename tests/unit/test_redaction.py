from __future__ import annotations

import inspect
import time
import uuid
from hashlib import sha1, sha256, sha512
from pathlib import Path

import pytest

from orchestrator import redaction
from orchestrator.redaction import REDACTED, find, mapped, scrub, typed

# Made up, and put together here, so that no scanner of this repository takes them for real ones.
BODY = "MIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy0AHB7MaDHGh0aB1c2D3e4\n" * 3
PEM_BEGIN, PEM_END = (f"-----{end} RSA PRIVATE{' '}KEY-----" for end in ("BEGIN", "END"))
PEM = f"-----BEGIN RSA PRIVATE{' '}KEY-----\n{BODY}Zm9v\n-----END RSA PRIVATE{' '}KEY-----"
MIXED = "a1B2c3D4e5F6g7H8i9J0"
PLANTED = {
    "private key": PEM,
    "private key in a diff": PEM.replace("\n", "\n+"),
    "private key in a string": PEM.replace("\n", "\\n"),
    "private key with a password": PEM.replace("\n", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,1F2E\n\n", 1),
    "AWS id": "AKIA" + "IOSFODNN7EXAMPLE",
    "AWS secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "GitHub": "ghp_" + MIXED * 2,
    "GitHub, fine-grained": "github_pat_" + MIXED + "_" + MIXED,
    "GitLab": "glpat-" + MIXED,
    "Slack": "xoxb-" + "123456789012-1234567890123-" + MIXED,
    "OpenAI": "sk-proj-" + MIXED * 3,
    "Anthropic": "sk-ant-api03-" + MIXED + "-_" + MIXED,
    "DeepSeek": "sk-" + "0123456789abcdef" * 2,
    "Google": "AIza" + "Sy" + MIXED + "ABCDEFGHIJKLM",
    "Hugging Face": "hf_" + MIXED * 2,
    "npm": "npm_" + MIXED * 2,
    "Stripe": "sk_live_" + MIXED,
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.dozjgNryP4J3jVmNHl0w5N",
}
PLACES = {
    "DATABASE=postgres://ann:{}@db.example/app": "hunter2",
    "git clone https://{}@git.example/x.git": MIXED,
    "https://hooks.slack.com/services/{}": "T00000000/B00000000/" + MIXED,
    "Authorization: Bearer {}": MIXED,
    "curl -H 'authorization: Basic {}'": "YW5uOmh1bnRlcjIgYW5kIG1vcmU=",
    "export DB_PASSWORD={}": "swordfish",
    'MAIL_PASSWORD="{}" python app.py': "swordfish",
    "SIGNING_KEY={}": MIXED,
    "aws_secret_access_key = {}": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "token: {}": "hunter22secret",
    '{{"api_key": "{}"}}': "hunter22",
    '{{\\"clientSecret\\": \\"{}\\"}}': "hunter22",
    "login(user='ann', password='{}')": "s3cret-and-more",
    "deploy --auth-token {} now": MIXED,
}
ORDINARY = (
    "password = get_password()\ntoken = tokens[0]\nself.secret = secret",
    "def login(token: str, password: str = '') -> None:",
    "api_key = os.environ['API_KEY']\nsecret: Uint8Array = new Uint8Array(32)\nif token == other_token_2: pass",
    "max_tokens=4096 input_tokens: 123456 token_count = 12345678",
    "export API_KEY=$OTHER_KEY TOKEN=$(cat token) PWD=/srv/app2",
    'password="test"\n{"type": "password", "token": null, "secret": ""}\n<input type="password" name="password">',
    "url = f'https://{user}:{password}@{host}/'\nredis://localhost:6379/0 redis://:PASSWORD@host ssh://git@git.example:22/x.git",
    f"commit {sha1(b'x', usedforsecurity=False).hexdigest()}",
    f"sha256:{sha256(b'x').hexdigest()}  {uuid.UUID(int=7 << 90)}",
    f"integrity sha512-{sha512(b'x').hexdigest()} task-management-system-of-the-year-2026 .sk-fading-circle",
    "tests/test_auth.py::test_token_is_refused PASSED [ 50%]\n=== 12 passed, 3 failed in 4.71s ===\nE  assert 1 == 2",
    "begin = '-----BEGIN RSA PRIVATE KEY-----'\nend = '-----END RSA PRIVATE KEY-----'\nif begin in text: ...",
    "The password is wrong. Basic authentication needs a token: see the docs. Bearer of bad news.",
)


@pytest.mark.parametrize("name", PLANTED)
def test_a_credential_is_known_by_its_form(name: str) -> None:
    secret = PLANTED[name]
    text = f"AWS_SECRET_ACCESS_KEY={secret}" if name == "AWS secret" else f"before '{secret}', after"
    clean = scrub(text)
    assert secret not in clean
    assert REDACTED in clean
    assert not any(line in clean for line in BODY.splitlines())
    if name != "AWS secret":
        assert clean == f"before '{REDACTED}', after"
        assert secret in set(find(text))


@pytest.mark.parametrize("place", PLACES)
def test_a_credential_is_known_by_its_place(place: str) -> None:
    assert scrub(place.format(PLACES[place])) == place.format(REDACTED)


@pytest.mark.parametrize("cut", [120, 200])
def test_a_private_key_that_is_cut_off_is_found_too(cut: int) -> None:
    clean = scrub(f"     1\t{PEM[:cut]}".replace("\n", "\n     2\t"))
    assert clean.startswith(f"     1\t{REDACTED}")
    assert "MIIE" not in clean


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert scrub(text) == text


def test_this_projects_own_code_is_left_alone() -> None:
    for path in sorted(Path(inspect.getfile(redaction)).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert [secret for secret in find(text) if REDACTED not in scrub(secret)] == [], path


def test_scrubbing_twice_changes_nothing_more() -> None:
    text = "\n".join([*PLANTED.values(), *(place.format(secret) for place, secret in PLACES.items())])
    assert scrub(scrub(text)) == scrub(text)


def test_known_secrets_are_taken_out_wherever_they_stand_but_not_words() -> None:
    assert scrub("echo plainwordsecret; echo word", ["plainwordsecret", "word"]) == f"echo {REDACTED}; echo word"


def test_strings_in_data_are_changed_and_nothing_else() -> None:
    data = {"a": ["x", 1, None, {"x": "x"}], "b": ("x", True)}
    assert mapped(data, str.upper) == {"A": ["X", 1, None, {"X": "X"}], "B": ["X", True]}


@pytest.mark.parametrize(
    "unit",
    ["sk-", "sk-a", "token=", 'token="', "a_token=a1a1a1a1(", "A_", "eyJaaaaaaaaa.", "a://a:", f"{PEM[:96]}\n", "1"],
)
def test_hostile_text_takes_no_longer(unit: str) -> None:
    text = (unit * (200_000 // len(unit) + 1))[:200_000]
    began = time.process_time()
    scrub(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "kind", sorted(set(PLANTED) - {"AWS id", "AWS secret", "GitHub, fine-grained", "JSON Web Token"})
)
def test_what_people_type_loses_its_keys(kind: str) -> None:
    told = typed(f"use {PLANTED[kind]}, please; again: {PLANTED[kind]}")
    assert told == (f"use {REDACTED}, please; again: {REDACTED}", 1)


def test_what_people_type_keeps_what_may_be_meant() -> None:
    for text in (
        "make the scanner find AKIA" + "IOSFODNN7EXAMPLE",
        "replace the placeholder ghp_" + "x" * 36 + " in the docs",
        "set DB_PASSWORD=swordfish1 in compose.yaml",
        "rename sk-learn-estimators-v2-migration, npm_config_registry_mirror_option_2",
        "decode eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.dozjgNryP4J3jVmNHl0w5N",
        "xoxo-1234567890",
        "style .sk-ant-design-button-wrapper-large and sk-admin-dashboard-sidebar-menu",
        "call npm_installAllDependenciesOfTheWorkspace, then hf_loadPretrainedModelFromHubWithCache",
        "en_SG.UTF-8-is-a-locale-x.UTF-16-is-an-encoding-of-it",
        "the fixture has ghp_abcdefghijklmnopqrstuvwxyz0123456789 and AKIA1234567890ABCDEF",
        f"what is between {PEM_BEGIN} in tests/fixtures/certificates/generated/server/keys and {PEM_END}",
        f"{PEM_BEGIN}\n{'A' * 64}\n{PEM_END}",
    ):
        assert typed(text) == (text, 0)
    assert typed("my key is hunter2hunter2", ["hunter2hunter2", "short"]) == (f"my key is {REDACTED}", 1)
