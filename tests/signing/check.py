"""Says of each request on standard input whether the public library for Python takes it. It knows nothing of hookwheel."""

import base64
import json
import sys
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def is_taken(key, headers, body):
    if not key.startswith("whpk_"):
        try:
            Webhook(key).verify(body, headers)
            return True
        except WebhookVerificationError:
            return False
    # The library has no v1a: what the specification says of it, with an implementation of ed25519 that is not the daemon's.
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key[len("whpk_"):]))
    signed = f'{headers["webhook-id"]}.{headers["webhook-timestamp"]}.'.encode() + body
    if abs(time.time() - int(headers["webhook-timestamp"])) > 300:
        return False
    for version, signature in (one.split(",") for one in headers["webhook-signature"].split(" ")):
        try:
            if version == "v1a":
                public.verify(base64.b64decode(signature), signed)
                return True
        except InvalidSignature:
            pass
    return False


requests = json.load(sys.stdin)
json.dump([is_taken(one["key"], one["headers"], base64.b64decode(one["body"])) for one in requests], sys.stdout)
