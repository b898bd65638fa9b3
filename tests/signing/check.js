// Says of each request on standard input whether the public library for JavaScript takes it. It knows nothing of hookwheel.
const { createPublicKey, verify } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const { Webhook, WebhookVerificationError } = createRequire(process.argv[2] + "/")("standardwebhooks");

function isTaken({ key, headers, body }) {
  const bytes = Buffer.from(body, "base64");
  if (!key.startsWith("whpk_")) {
    try {
      new Webhook(key).verify(bytes, headers);
      return true;
    } catch (error) {
      if (error instanceof WebhookVerificationError) return false;
      throw error;
    }
  }
  // The library has no v1a: what the specification says of it, with an implementation of ed25519 that is not the daemon's.
  const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(key.slice("whpk_".length), "base64").toString("base64url") };
  const publicKey = createPublicKey({ key: jwk, format: "jwk" });
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), bytes]);
  const isFresh = Math.abs(Date.now() / 1000 - Number(headers["webhook-timestamp"])) <= 300;
  const given = headers["webhook-signature"].split(" ").map((one) => one.split(","));
  return isFresh && given.some(([version, one]) => version === "v1a" && verify(null, signed, publicKey, Buffer.from(one, "base64")));
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(isTaken)));
