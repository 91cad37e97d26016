"""Hashes of files."""

import hashlib

from pleura.files.hashing import hash_files


def test_files_are_hashed_in_order_and_with_their_names_if_requested(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"x" * (1 << 20) + b"y")
    second.write_bytes(b"z")
    content = first.read_bytes() + b"z"
    assert hash_files([first, second]) == hashlib.sha256(content).hexdigest()
    named = b"a" + first.read_bytes() + b"bz"
    assert hash_files([first, second], names=True) == hashlib.sha256(named).hexdigest()
    assert hash_files([second, first]) != hash_files([first, second])
