import errno
import pickle
from pathlib import Path

import pytest

from storage.errors import Duplicate, MissingParent, MissingRow, StorageError, Unreadable
from storage.secrets import Secrets, Undecipherable, load_or_create

SECRETS = Secrets(bytes(range(32)))


def test_what_was_encrypted_comes_back() -> None:
    for plain in (b"", b"password", bytes(range(256)) * 100):
        sealed = SECRETS.encrypt(plain, b"row")
        assert plain == SECRETS.decrypt(sealed, b"row")
        assert not plain or plain not in sealed


def test_equal_texts_are_encrypted_differently() -> None:
    assert SECRETS.encrypt(b"same", b"row") != SECRETS.encrypt(b"same", b"row")


@pytest.mark.parametrize("length", [0, 1, 5, 13, 20])
def test_cut_bytes_are_undecipherable(length: int) -> None:
    with pytest.raises(Undecipherable):
        SECRETS.decrypt(SECRETS.encrypt(b"plain", b"row")[:length], b"row")


def test_altered_bytes_wrong_context_and_wrong_key_are_undecipherable() -> None:
    sealed = SECRETS.encrypt(b"plain", b"row")
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(Undecipherable):
            SECRETS.decrypt(bytes(altered), b"row")
    with pytest.raises(Undecipherable):
        SECRETS.decrypt(sealed, b"other row")
    with pytest.raises(Undecipherable):
        Secrets(bytes(32)).decrypt(sealed, b"row")


def test_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / ".master.key"

    sealed = load_or_create(path).secrets.encrypt(b"plain", b"row")

    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    assert [file.name for file in tmp_path.iterdir()] == [".master.key"]
    assert load_or_create(path).secrets.decrypt(sealed, b"row") == b"plain"


def test_key_readable_by_others_is_tightened(tmp_path: Path) -> None:
    path = tmp_path / ".master.key"
    path.write_bytes(bytes(32))
    path.chmod(0o644)

    load_or_create(path)

    assert path.stat().st_mode & 0o777 == 0o600


def test_draft_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".master.key.new").write_bytes(b"half a ke")

    load_or_create(tmp_path / ".master.key")

    assert [file.name for file in tmp_path.iterdir()] == [".master.key"]


def test_file_without_a_key_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / ".master.key"
    path.write_bytes(b"short")

    found = load_or_create(path)

    (kept,) = tmp_path.glob(".master.key.corrupt-*")
    assert found.set_aside == kept
    assert kept.read_bytes() == b"short"
    assert len(path.read_bytes()) == 32
    assert load_or_create(path).set_aside is None


def test_folder_in_the_place_of_the_key_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / ".master.key"
    path.mkdir()
    (path / "something").touch()
    with pytest.raises(StorageError, match="is not a file: move it away") as caught:
        load_or_create(path)
    assert caught.value.kind == "unusable"
    assert str(path) in str(caught.value)
    assert [file.name for file in tmp_path.rglob("*")] == [".master.key", "something"]


def test_link_whose_disk_is_away_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / ".master.key"
    path.symlink_to(tmp_path / "not mounted" / "key")
    with pytest.raises(StorageError, match=r"cannot be read \(No such file"):
        load_or_create(path)
    assert path.is_symlink()
    assert list(tmp_path.iterdir()) == [path]


def test_key_that_cannot_be_closed_to_others_is_refused_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".master.key"
    path.write_bytes(bytes(32))
    path.chmod(0o640)

    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(StorageError, match=r"mode 640.*Operation not permitted.*chmod 600") as caught:
        load_or_create(path)
    assert caught.value.kind == "unusable"
    assert path.read_bytes() == bytes(32)
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        StorageError("disk full", "full"),
        Duplicate("endpoint", "plc", "uuid"),
        MissingParent(7),
        MissingRow(8),
        Unreadable(9, "endpoint", "plc", "cannot be parsed: why"),
        Unreadable(9, "subscription", None, "cannot be parsed: why"),
    ],
)
def test_errors_survive_pickling(error: StorageError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
