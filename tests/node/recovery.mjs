// A stock client that asks for connection state recovery and subscribes only when it did not recover. The gateway's port may come later.
import { io } from "socket.io-client";

const [url, room] = process.argv.slice(2);
const say = (what, data) => console.log(JSON.stringify([what, data ?? null]));
const socket = io(`${url}/jobs`, { auth: { recovery: true }, transports: ["websocket"], reconnectionDelay: 50, reconnectionDelayMax: 200 });

socket.on("connect", () => {
  say("connect", socket.recovered);
  if (!socket.recovered) socket.emit("subscribe:jobs", JSON.parse(room), (answer) => say("subscribed", answer));
});
for (const event of ["job:update", "job:progress", "job:completed", "job:error"]) socket.on(event, (data) => say(event, data));
socket.on("disconnect", (reason) => say("disconnect", reason));
process.stdin.on("end", () => { socket.disconnect(); process.exit(0); });
