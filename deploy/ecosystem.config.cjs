// pm2 start deploy/ecosystem.config.cjs && pm2 save    (see docs/deploying.md)
// pm2 sends SIGINT, which Trunkline takes as "stop in order", and SIGKILL after kill_timeout.
const root = process.env.TRUNKLINE_ROOT || "/opt/trunkline";

const common = {
  script: `${root}/venv/bin/trunkline`,
  interpreter: "none", // it is no JavaScript
  cwd: `${root}/app`,
  exec_mode: "fork", // "cluster" is for Node's own servers
  kill_timeout: 45000, // TRUNKLINE_SHUTDOWN_TIMEOUT and what comes after it, ms
  treekill: false, // the process stops its own children in order; a signal of pm2's to them would be their second
  autorestart: true,
  exp_backoff_restart_delay: 500, // ms, rising to 15 s: the database may be away
  merge_logs: true,
  env: {
    TRUNKLINE_ENV: "production",
    TRUNKLINE_LOG_FORMAT: "json",
    TRUNKLINE_SHUTDOWN_TIMEOUT: "30",
    TRUNKLINE_DATABASE_URL_FILE: process.env.TRUNKLINE_DATABASE_URL_FILE || "/etc/trunkline/secrets/database_url",
  },
};

module.exports = {
  apps: [
    {
      ...common,
      name: "trunkline-serve",
      args: ["serve"],
      env: { ...common.env, TRUNKLINE_PORT: "3000", TRUNKLINE_METRICS_PORT: "9463" },
    },
    {
      ...common,
      name: "trunkline-worker",
      args: ["worker", "tasks:app"],
      instances: 2,
      increment_var: "TRUNKLINE_METRICS_PORT", // 9464, 9465, ...: a port of each instance for Prometheus
      env: { ...common.env, TRUNKLINE_CONCURRENCY: "20", TRUNKLINE_METRICS_PORT: "9464" },
    },
  ],
};
