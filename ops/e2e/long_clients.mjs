// Connects the official Node SDKs of both platforms to the stand-ins of their long
// connections: what the SDKs take for the platform is what moltbot is tried with.
import assert from "node:assert/strict";
import axios from "axios";
import lark from "@larksuiteoapi/node-sdk";
import { DWClient, TOPIC_ROBOT } from "dingtalk-stream";

const { FEISHU, FEISHU_ID, FEISHU_SECRET, DINGTALK, DINGTALK_ID, DINGTALK_SECRET } = process.env;
const quiet = { error() {}, warn() {}, info() {}, debug() {}, trace() {} };
console.info = () => {}; // DingTalk's client says when it connects

// DingTalk's client knows one address only.
axios.interceptors.request.use((config) => {
  config.url = config.url.replace("https://api.dingtalk.com", DINGTALK);
  return config;
});

const feishu = new Promise((got) => {
  const dispatcher = new lark.EventDispatcher({ logger: quiet }).register({ "im.message.receive_v1": got });
  const options = { appId: FEISHU_ID, appSecret: FEISHU_SECRET, domain: FEISHU, logger: quiet, autoReconnect: false };
  new lark.WSClient(options).start({ eventDispatcher: dispatcher });
});
const dingtalk = new Promise((got) => {
  const client = new DWClient({ clientId: DINGTALK_ID, clientSecret: DINGTALK_SECRET, autoReconnect: false });
  client.registerCallbackListener(TOPIC_ROBOT, (frame) => {
    client.socketCallBackResponse(frame.headers.messageId, null);
    got(JSON.parse(frame.data));
  });
  client.connect();
});

assert.equal((await feishu).message.message_id, "om_node");
console.log("ok feishu");
assert.equal((await dingtalk).msgId, "msg_node");
console.log("ok dingtalk");
await new Promise((ended) => process.stdin.on("end", ended).resume()); // until both were acknowledged
process.exit(0);
