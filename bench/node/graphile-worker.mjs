/**
 * graphile-worker. The settings are those of its own published figures (worker.graphile.org/docs/performance,
 * "Quick stats" and "With batching"): concurrentJobs 24, maxPoolSize 25, localQueue.size 500,
 * completeJobBatchDelay 0, failJobBatchDelay 0. addJobs() is the documented call for many jobs, addJob() for one;
 * of 1000, 5000 and 20000 jobs an addJobs(), 5000 was fastest.
 *
 * A completed job is deleted: graphile-worker keeps no history.
 */
import { readFileSync } from 'node:fs'
import { Logger, makeWorkerUtils, run } from 'graphile-worker'
import pg from 'pg'
import { main } from './harness.mjs'

const TASK = 'bench'
const settings = { concurrentJobs: 24, maxPoolSize: 25, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
const { version } = JSON.parse(readFileSync(new URL('node_modules/graphile-worker/package.json', import.meta.url)))
const connectionString = process.env.BENCH_DATABASE_URL
const logger = new Logger(() => (level, message) => { if (level === 'error') console.error(message) })

await main({
  version,
  settings,
  batch: 5000,

  async setup () {
    const utils = await makeWorkerUtils({ connectionString, logger })
    await utils.migrate()
    await utils.release()
  },

  async producer () {
    const pgPool = new pg.Pool({ connectionString, max: 1 })
    pgPool.on('error', error => console.error(error))
    const utils = await makeWorkerUtils({ pgPool, logger })
    return {
      bulk: ns => utils.addJobs(ns.map(n => ({ identifier: TASK, payload: { n } }))),
      single: n => utils.addJob(TASK, { n }),
      close: async () => { await utils.release(); await pgPool.end() }
    }
  },

  async worker (handled) {
    const pgPool = new pg.Pool({ connectionString, max: settings.maxPoolSize })
    pgPool.on('error', error => console.error(error))
    await Promise.all(Array.from({ length: 4 }, () => pgPool.query('select 1'))) // connected before the clock starts
    let runner
    return {
      start: async () => {
        runner = await run({
          preset: { worker: { ...settings, logger } },
          pgPool,
          taskList: { [TASK]: async ({ n }) => { handled(n) } },
          noHandleSignals: true
        })
      },
      stop: async () => { await runner.stop(); await pgPool.end() }
    }
  }
})
