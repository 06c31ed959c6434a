// A user's page follows one of its jobs (npm install socket.io-client; in a browser leave out `process`). The other side is `trunkline gateway` or `serve`.
//   TRUNKLINE_URL=http://127.0.0.1:3000 TRUNKLINE_TOKEN=<the user's JWT> node my_jobs.mjs <job id>
import { io } from "socket.io-client";

const jobId = process.argv[2];
const socket = io(process.env.TRUNKLINE_URL, { auth: { token: process.env.TRUNKLINE_TOKEN, recovery: true } });

socket.on("authenticated", async () => {
  if (socket.recovered) return; // it was away, and what it missed comes by itself
  const answer = await socket.emitWithAck("subscribe:job", { jobId });
  if (answer.status !== "ok") end(`${jobId}: ${answer.error}`);
});

socket.on("job:status", ({ status, progress }) => {
  if (status === "cancelled") end(status);
  else console.log(status, progress ? `${progress.percentage} % ${progress.message ?? ""}` : "");
});
socket.on("job:completed", ({ result }) => end(`completed ${JSON.stringify(result)}`));
socket.on("job:failed", ({ error }) => end(`failed: ${error}`));
socket.on("unauthorized", ({ message }) => end(message)); // get a fresh token, then connect again

function end(sentence) {
  console.log(sentence);
  socket.disconnect();
}
