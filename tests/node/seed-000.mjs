// A client as the documentation of the first system describes it: path /ws, auth {customerToken}, events and verbs by name.
// It knows nothing of Trunkline. Prints one JSON line per thing that happens.
import { io } from "socket.io-client";

const [url, token, role, transports] = process.argv.slice(2);
const say = (what, data) => console.log(JSON.stringify([what, data ?? null]));
const options = { path: "/ws", auth: token === "-" ? {} : { customerToken: token } };
if (transports) options.transports = transports.split(",");
const socket = io(url, options);

socket.on("connect", () => {
  say("connect", socket.io.engine.transport.name);
  if (role === "worker") socket.emit("register_worker", { jobName: "email-processing", options: { teamSize: 2, teamConcurrency: 1 } });
  if (role === "sender") socket.emit("send_job", { name: "email-processing", data: { to: "jürgen@example.com" } }, (answer) => say("sent", answer));
});
socket.on("client_ready", (data) => say("client_ready", data));
socket.on("work_request", (job) => {
  say("work_request", job);
  socket.emit("job_started", { jobName: job.name, jobId: job.id });
  socket.emit("job_completed", { jobName: job.name, jobId: job.id, result: { delivered: job.data.to } }, (answer) => say("reported", answer));
});
for (const event of ["job_started", "job_completed", "job_failed", "error"]) socket.on(event, (data) => say(event, data));
socket.on("disconnect", (reason) => {
  say("disconnect", reason);
  if (reason === "io server disconnect") process.exit(0);
});
socket.io.on("reconnect", () => say("reconnect"));
process.stdin.on("data", (line) => {
  if (String(line).trim() === "binary") socket.emit("send_job", { name: "a", data: Buffer.from("x") }, (answer) => say("answered", answer));
});
process.stdin.on("end", () => { socket.disconnect(); process.exit(0); });
