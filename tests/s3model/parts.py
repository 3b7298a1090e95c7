"""What completing an upload checks, and the object that it makes."""
import hashlib

PART_MIN = 5 << 20


def check_parts(there, named):
    """(S3's code or None, the body, its ETag) for parts {number: (time, body, checksum)} and a list of
    (number, etag) or (number, etag, checksum).
    """
    pieces = []
    for i, (number, etag, *checksum) in enumerate(named):
        if number not in there or hashlib.md5(there[number][1]).hexdigest() != etag.strip('"'):
            return "InvalidPart", None, None
        if checksum and checksum[0] != there[number][2]:
            return "InvalidPart", None, None
        if len(there[number][1]) < PART_MIN and i + 1 < len(named):
            return "EntityTooSmall", None, None
        pieces.append(there[number][1])
    return None, b"".join(pieces), etag_of_parts(etag for _, etag, *_ in named)


def etag_of_parts(etags):
    digests = [bytes.fromhex(etag.strip('"')) for etag in etags]
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"
