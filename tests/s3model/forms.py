"""Forms in the model: PostObject, and what its policy lets it do."""
import base64
import datetime
import hashlib
import hmac
import json

from domicile import Signer
from pages import echo_name
from sums import put_headers
from things import Expected, Version
from values import content, sym
from wire import quote

BOUNDARY = "----a-form-of-the-model"
FILENAME = "${filename}"
TROUBLES = {"expired": "AccessDenied", "unlisted": "AccessDenied", "mismatch": "AccessDenied",
            "signature": "SignatureDoesNotMatch"}


def key_of(op):
    """Without the folders that some browsers name."""
    return op["key"].replace(FILENAME, op["filename"].replace("\\", "/").rpartition("/")[2])


class Forms:
    """What an account does with forms; a part of model.Account."""

    def post_object(self, op):
        if op.get("trouble"):
            raise Expected(403, TROUBLES[op["trouble"]])
        op = {**op, "key": key_of(op)}
        headers, body = self.kept_headers(op), content(*op["data"])
        bucket = self.bucket(op)
        least, most = op.get("range") or (0, len(body))
        if not least <= len(body) <= most:
            raise Expected(400, "EntityTooSmall" if len(body) < least else "EntityTooLarge")
        checksum, asked = self.check_claims(op, body), self.asked_lock(op)
        self.must_meet(op, self.current(bucket, op["key"]))
        v = Version(sym("m", op["id"]), body, headers=headers, tags=op.get("tags"), checksum=checksum)
        v.lock = self.lock_of_write(bucket, asked, op)
        self.put_version(bucket, op, v)
        said = {"etag": f'"{v.etag}"', **self.id_headers(bucket, v), **put_headers(checksum),
                **self.expiry(bucket, op["key"], v)}
        return self.answer_form(op, said, v)

    def answer_form(self, op, said, v):
        address = self.address(op, op["bucket"])
        place = f"/{address}/{quote(op['key'], '/')}"
        if op.get("redirect"):
            said["location"] = (f"{op['redirect']}{'&' if '?' in op['redirect'] else '?'}bucket={address}"
                                f"&key={quote(op['key'])}&etag=%22{v.etag}%22")
            return Expected(303, headers=said)
        said["location"] = lambda url: url.startswith("https://") and url.endswith(place)
        if op.get("status") != "201":
            return Expected(200 if op.get("status") == "200" else 204, headers=said)
        return Expected(201, headers=said, xml={"PostResponse": {
            "Location": [said["location"]], "Bucket": [address], "Key": [echo_name(op["key"])],
            "ETag": [f'"{v.etag}"']}})


class Form:
    """A form before it is signed: its fields, and what is wrong with its policy."""

    def __init__(self, bucket, fields, filename, body, size_range=None, trouble=None):
        self.bucket, self.fields, self.filename, self.body = bucket, fields, filename, body
        self.size_range, self.trouble = size_range, trouble

    def policy(self):
        ends = datetime.datetime.utcnow() + datetime.timedelta(hours=-1 if self.trouble == "expired" else 1)
        listed = [["starts-with", f"${name}", value.partition(FILENAME)[0][:2]] if name == "key" else {name: value}
                  for name, value in self.fields.items()]
        if self.trouble == "mismatch":
            listed[-1] = {list(self.fields)[-1]: "other"}
        if self.trouble == "unlisted":
            listed.pop()
        if self.size_range:
            listed.append(["content-length-range", *self.size_range])
        said = {"expiration": ends.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "conditions": [{"bucket": self.bucket}, *listed]}
        return base64.b64encode(json.dumps(said).encode()).decode()

    def encoded(self, account, host):
        """(its Content-Type, its bytes), signed by ACCOUNT."""
        signer = Signer(account, host)
        self.fields.update({"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": f"{signer.key}/{signer.scope}",
                            "x-amz-date": signer.time})
        policy = self.policy()
        signature = hmac.new(signer.signing_key(), policy.encode(), hashlib.sha256).hexdigest()
        if self.trouble == "signature":
            signature = signature[::-1]
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name='
        text = "".join(f'{head}"{name}"\r\n\r\n{value}\r\n'
                       for name, value in {**self.fields, "policy": policy, "x-amz-signature": signature}.items())
        text += f'{head}"file"; filename="{self.filename}"\r\n\r\n'
        return (f"multipart/form-data; boundary={BOUNDARY}",
                text.encode() + self.body + f"\r\n--{BOUNDARY}--\r\n".encode())
