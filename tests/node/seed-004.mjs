// The browser component of the fourth system's documentation, without its screen: default path, namespace /jobs.
import { io } from "socket.io-client";

const [url, room, transports] = process.argv.slice(2);
const say = (what, data) => console.log(JSON.stringify([what, data ?? null]));
const newSocket = io(`${url}/jobs`, transports ? { transports: transports.split(",") } : {});

newSocket.on("connect", () => say("connect"));
newSocket.on("connect_error", (error) => say("connect_error", error.message));
newSocket.emit("subscribe:jobs", JSON.parse(room), (answer) => say("subscribed", answer));
for (const event of ["job:update", "job:progress", "job:completed", "job:error"]) newSocket.on(event, (data) => say(event, data));
process.stdin.on("data", () => newSocket.emit("unsubscribe:jobs", JSON.parse(room), (answer) => say("unsubscribed", answer)));
process.stdin.on("end", () => { newSocket.disconnect(); process.exit(0); });
