"""Checksums of the model: of a body, and of an object from those of its parts.

A checksum is [kind, text]. CRC32C and CRC64NVME are reckoned byte by byte here, so they are for small bodies and for few
large ones.
"""
import base64
import functools
import hashlib
import zlib

KINDS = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]
SLOW = {"crc32c": 0x82f63b78, "crc64nvme": 0x9a6c9329ac4bc9b5}     # their polynomials, reflected
SLOW_MAX = 100_000


@functools.lru_cache(maxsize=None)
def table(polynomial):
    rows = []
    for v in range(256):
        for _ in range(8):
            v = v >> 1 ^ (polynomial if v & 1 else 0)
        rows.append(v)
    return rows


@functools.lru_cache(maxsize=256)
def slow(kind, body):
    rows, n = table(SLOW[kind]), 4 if kind == "crc32c" else 8
    v = ones = (1 << 8 * n) - 1
    for byte in body:
        v = v >> 8 ^ rows[(v ^ byte) & 0xff]
    return (v ^ ones).to_bytes(n, "big")


def digest(kind, body):
    if kind in SLOW:
        return slow(kind, body)
    return zlib.crc32(body).to_bytes(4, "big") if kind == "crc32" else hashlib.new(kind, body).digest()


def checksum_of(kind, body):
    return base64.b64encode(digest(kind, body)).decode()


def is_full(kind, form):
    """Whether an upload's object has that of the whole; FORM as the request says it, or None."""
    return form == "FULL_OBJECT" if form else kind == "crc64nvme"


def can_be(kind, full):
    return kind.startswith("crc") if full else kind != "crc64nvme"


def sum_of_parts(kind, full, bodies):
    """Of the object that they are put together to."""
    if full:
        return [kind, checksum_of(kind, b"".join(bodies))]
    return [kind, checksum_of(kind, b"".join(digest(kind, body) for body in bodies)) + f"-{len(bodies)}"]


def form_of(checksum):
    return "COMPOSITE" if "-" in checksum[1] else "FULL_OBJECT"


def sum_header(checksum):
    return {"x-amz-checksum-" + checksum[0]: checksum[1]} if checksum else {}


def put_headers(checksum):
    """What is answered where an object came in one piece."""
    return {**sum_header(checksum), "x-amz-checksum-type": "FULL_OBJECT"} if checksum else {}


def part_sum(checksum):
    """How XML tells a checksum."""
    return {"Checksum" + checksum[0].upper(): [checksum[1]]} if checksum else {}


def sum_elements(checksum):
    """The same of an object."""
    return {**part_sum(checksum), "ChecksumType": [form_of(checksum)]} if checksum else {}


def kind_elements(checksum):
    """Which one there is, without its value."""
    return {"ChecksumAlgorithm": [checksum[0].upper()], "ChecksumType": [form_of(checksum)]} if checksum else {}


def upload_elements(wanted):
    """What an upload will have: [kind, whether of the whole]."""
    if not wanted:
        return {}
    return {"ChecksumAlgorithm": [wanted[0].upper()], "ChecksumType": ["FULL_OBJECT" if wanted[1] else "COMPOSITE"]}
