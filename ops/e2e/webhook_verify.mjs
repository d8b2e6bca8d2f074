// Verifies callbacks with the official package of Standard Webhooks. Each line of
// the file is one: {headers, body, secrets, wrong}.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

let verified = 0;
for (const line of readFileSync(process.argv[2], "utf8").trim().split("\n")) {
  const { headers, body, secrets, wrong } = JSON.parse(line);
  for (const secret of secrets) {
    const event = new Webhook(secret).verify(body, headers);
    if (!event.type.startsWith("chat.") || !event.data.id) throw new Error("not an event: " + body);
    verified++;
  }
  for (const secret of wrong) {
    let taken = true;
    try {
      new Webhook(secret).verify(body, headers);
    } catch {
      taken = false;
    }
    if (taken) throw new Error("another caller's secret verifies");
  }
}
console.log("verified " + verified);
