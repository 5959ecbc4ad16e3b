"""Hashes of passwords, and what they cost."""

import asyncio
import subprocess
import sys
import time
import unicodedata

import pytest
from argon2 import PasswordHasher, extract_parameters

from actors.accounts import passwords
from actors.accounts.passwords import Hasher, Verdict, check_password
from actors.system.failure import Refusal


async def test_a_hash_matches_its_password_and_no_other():
    hasher = Hasher()
    kept = await hasher.make("correct horse")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert "correct horse" not in kept
    assert await hasher.check(kept, "correct horse") == Verdict(True)
    assert await hasher.check(kept, "correct horsE") == Verdict(False)
    assert await hasher.make("correct horse") != kept


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "",
        "x",
        "$2b$10$abcdefghijklmnopqrstuv",
        "$argon2id$v=19$m=8,t=1,p=1$",
        "\ud800",
        f"$argon2id$v=19$m=4194304,t=1,p=1${'c2FsdHNhbHQ'}${'aGFzaA' * 7}",
        f"$argon2id$v=19$m=19456,t=2000000,p=1${'c2FsdHNhbHQ'}${'aGFzaA' * 7}",
    ],
)
async def test_what_is_no_hash_matches_nothing(kept):
    assert await Hasher().check(kept, "") == Verdict(False)


async def test_nobody_takes_as_long_as_somebody():
    """carlos-emr issue 2200, authelia issue 949."""
    hasher = Hasher()
    kept = await hasher.make("p")
    nobody = extract_parameters(passwords._nobodys())
    assert nobody == extract_parameters(kept)
    times = {None: 0.0, kept: 0.0}
    loop = asyncio.get_running_loop()
    for _ in range(8):
        for one in times:
            began = loop.time()
            await hasher.check(one, "q")
            times[one] += loop.time() - began
    assert 0.4 < times[None] / times[kept] < 2.5


async def test_a_hash_of_other_parameters_is_made_anew():
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("secret")
    verdict = await Hasher().check(old, "secret")
    assert verdict.matches
    assert verdict.anew is not None
    assert extract_parameters(verdict.anew).memory_cost == passwords.KIBIBYTES
    assert await Hasher().check(verdict.anew, "secret") == Verdict(True)
    assert await Hasher().check(old, "other") == Verdict(False)


async def test_a_password_is_the_same_from_every_keyboard():
    """Letters with accents come composed from one system and in parts from another."""
    composed = "pässwörd"
    kept = await Hasher().make(composed)
    assert (await Hasher().check(kept, unicodedata.normalize("NFD", composed))).matches


async def test_only_so_many_are_hashed_at_once(monkeypatch):
    running, most = 0, 0

    async def to_thread(call, *args):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Verdict(False)

    monkeypatch.setattr(passwords.asyncio, "to_thread", to_thread)
    hasher = Hasher()
    await asyncio.gather(*[hasher.check(None, "x") for _ in range(18)])
    assert most == Hasher.AT_ONCE


@pytest.mark.parametrize("password", ["", "12345", "x" * 1025])
def test_what_is_no_password(password):
    with pytest.raises(Refusal, match=r"password must be at (least 6|most 1024) characters"):
        check_password(password)


@pytest.mark.parametrize("password", ["123456", "x" * 1024, "🔑🔑🔑🔑🔑🔑", "      ", "\ud800aaaaa"])
async def test_what_is_one(password):
    check_password(password)
    assert (await Hasher().check(await Hasher().make(password), password)).matches


MEMORY = """
import asyncio, logging
from pathlib import Path
from actors.accounts.passwords import Hasher
import sys
assert "argon2" not in sys.modules
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
async def main():
    hasher = Hasher()
    kept = await hasher.make("x")
    before = resident()
    for _ in range(4):
        await asyncio.gather(*[hasher.check(kept, "x") for _ in range(6)])
    print(resident() - before)
asyncio.run(main())
"""


def test_the_memory_of_a_hash_is_given_back():
    """Kept by each thread that has once hashed, it would be more than the agent has for everything
    (RustCrypto/password-hashes issues 478 and 526, authelia issue 1044)."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 6_000_000


async def test_what_is_longer_than_any_password_is_wrong_and_costs_no_more():
    """Accents are put in order, for which a text of nothing else takes the square of its length."""
    hasher = Hasher()
    kept = await hasher.make("a" * passwords.MOST)
    assert await hasher.check(kept, "a" * passwords.MOST) == Verdict(True)
    assert await hasher.check(kept, "a" * (passwords.MOST + 1)) == Verdict(False)
    before = time.process_time()
    assert await hasher.check(kept, "a" + "\u0301" * 20_000 + "\u0316" * 20_000) == Verdict(False)
    assert time.process_time() - before < 2
