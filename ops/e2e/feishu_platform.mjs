// Takes the place of Feishu with what its official Node SDK knows of events, and
// lets the SDK judge the same requests that moltbot is sent. The SDK reads and
// checks events but makes none: the encryption here uses the key that the SDK
// derives, and counts only if the SDK reads it back.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import lark from "@larksuiteoapi/node-sdk";

const { WEBHOOK, ENCRYPT_KEY, VERIFICATION_TOKEN, EVENTS } = process.env;
const cipher = new lark.AESCipher(ENCRYPT_KEY);
const quiet = { error() {}, warn() {}, info() {}, debug() {}, trace() {} };
let steps = 0;
const done = (what) => console.log(`ok ${++steps} ${what}`);

function seal(plain) {
  const iv = crypto.randomBytes(16);
  const aes = crypto.createCipheriv("aes-256-cbc", cipher.key, iv);
  const encrypt = Buffer.concat([iv, aes.update(plain, "utf8"), aes.final()]).toString("base64");
  assert.equal(cipher.decrypt(encrypt), plain);
  return JSON.stringify({ encrypt });
}

function sign(body) {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const nonce = crypto.randomBytes(8).toString("hex");
  return {
    "content-type": "application/json;charset=utf-8",
    "x-lark-request-timestamp": timestamp,
    "x-lark-request-nonce": nonce,
    "x-lark-signature": crypto.createHash("sha256").update(timestamp + nonce + ENCRYPT_KEY + body).digest("hex"),
  };
}

// judged gives the message that the SDK hands to a handler, or nothing.
async function judged(headers, body) {
  let seen;
  const lower = Object.fromEntries(Object.entries(headers).map(([k, v]) => [k.toLowerCase(), v]));
  const dispatcher = new lark.EventDispatcher({ encryptKey: ENCRYPT_KEY, verificationToken: VERIFICATION_TOKEN, logger: quiet });
  dispatcher.register({ "im.message.receive_v1": (event) => { seen = event; } });
  await dispatcher.invoke(Object.assign(Object.create({ headers: lower }), JSON.parse(body)));
  return seen;
}

async function post(headers, body) {
  const began = performance.now();
  const res = await fetch(WEBHOOK, { method: "POST", headers, body });
  const text = await res.text();
  assert.ok(performance.now() - began < 3000, "the acknowledgement took longer than Feishu waits");
  return { status: res.status, text };
}

for (const { id, plain, headers, body } of JSON.parse(EVENTS)) {
  // What our stand-in sends is what the SDK takes for Feishu's.
  assert.equal((await judged(headers, body))?.message?.message_id, id);
  const mine = seal(plain);
  const signed = sign(mine);
  assert.equal((await judged(signed, mine))?.message?.message_id, id);
  const forged = { ...signed, "x-lark-signature": signed["x-lark-signature"].replace(/^./, (c) => (c === "0" ? "1" : "0")) };
  assert.equal(await judged(forged, mine), undefined);
  assert.equal((await post(forged, mine)).status, 401);
  const taken = await post(signed, mine);
  assert.equal(taken.status, 200, taken.text);
  JSON.parse(taken.text || "{}");
  done(id);
}

const challenge = seal(JSON.stringify({ challenge: "made-by-\"node\"", token: VERIFICATION_TOKEN, type: "url_verification" }));
const { isChallenge, challenge: expected } = lark.generateChallenge(JSON.parse(challenge), { encryptKey: ENCRYPT_KEY });
assert.ok(isChallenge);
const registered = await post({ "content-type": "application/json;charset=utf-8" }, challenge);
assert.equal(registered.status, 200, registered.text);
assert.deepEqual(JSON.parse(registered.text), expected);
done("challenge");
