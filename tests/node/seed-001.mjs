// The client of the second system's documentation: default path and namespace, says who it is, subscribes, listens. It waits for nothing
// in between. With a token in the handshake (`recovery`) it may recover, and then subscribes only where it did not.
import { io } from "socket.io-client";

const [url, token, jobId, how] = process.argv.slice(2);
const say = (what, data) => console.log(JSON.stringify([what, data ?? null]));
const recovers = how === "recovery";
const socket = io(url, recovers ? { auth: { token, recovery: true }, reconnectionDelay: 50, reconnectionDelayMax: 200 } : {});

socket.on("connect", () => {
  say("connect", socket.recovered);
  if (!recovers) socket.emit("authenticate", { token });
  if (!socket.recovered) socket.emit("subscribe:job", { jobId });
});
socket.on("connect_error", (error) => say("connect_error", error.message));
for (const event of ["authenticated", "unauthorized", "notification", "job:status", "job:completed", "job:failed"]) {
  socket.on(event, (data) => say(event, data));
}
socket.on("disconnect", (reason) => say("disconnect", reason));
process.stdin.on("data", (line) => {
  const word = String(line).trim();
  if (word === "leave") socket.emit("unsubscribe:job", { jobId }, (answer) => say("left", answer));
});
process.stdin.on("end", () => { socket.disconnect(); process.exit(0); });
