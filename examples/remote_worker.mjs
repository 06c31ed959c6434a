// A worker in Node with the stock client (npm install socket.io-client). The other side is `trunkline gateway`.
// The client connects again by itself; `resume` lets it keep the jobs that it had started.
import { io } from "socket.io-client";

const socket = io(process.env.TRUNKLINE_GATEWAY.replace(/^ws/, "http"), {
  path: "/ws",
  transports: ["websocket"],
  auth: { customerToken: process.env.TRUNKLINE_TOKEN, events: false },
});
const call = (name, data) => socket.timeout(30_000).emitWithAck(name, data);

async function resize({ path }, progress) {
  await progress(50, "halfway");
  console.log(`${path} resized`);
  return { path, ok: true };
}

socket.on("client_ready", async ({ id }) => {
  socket.auth.resume = id;
  const answer = await call("register_worker", { jobName: "resize", options: { teamSize: 1, teamConcurrency: 4 } });
  if (answer.status !== "ok") throw new Error(answer.error);
});

socket.on("work_request", async ({ id, name, attempt, data }) => {
  const job = { jobName: name, jobId: id, attempt };
  const progress = (percent, message) => call("job_progress", { ...job, progress: percent, message });
  let report = ["job_completed", job];
  socket.emit("job_started", job);
  try {
    report[1] = { ...job, result: await resize(data, progress) };
  } catch (error) {
    report = ["job_failed", { ...job, error: { name: error.name, message: error.message, stack: error.stack } }];
  }
  const answer = await call(...report).catch(() => call(...report)); // once more, if the connection was lost meanwhile
  if (answer.status !== "ok" && answer.code !== "lease_lost") console.error(answer.error); // lost: somebody else has the job
});

socket.on("cancel_request", ({ id, attempt }) => console.log(`job ${id}, attempt ${attempt}, is to stop`));
socket.on("error", (sentence) => console.error(sentence));
socket.on("disconnect", (reason) => reason === "io server disconnect" && socket.connect());
