/**
 * pg-boss. Settings, each from its own documentation:
 *
 * - batchSize takes many jobs in one fetch and completes them in one statement (docs/api/workers.md; batching is
 *   the author's answer to "Optimizing for speed", issue 195, and the package's own speed test takes 5000 at once).
 * - burstWhenBatchFull fetches again at once while batches come back full; without it a worker sleeps its polling
 *   interval, 2 s, after every batch (WorkOptions in the package's types, "Burst trigger").
 * - localConcurrency fetches one batch while another completes (docs/api/workers.md).
 * - useListenNotify and the queue's `notify` wake an idle worker on a new job (ConstructorOptions and Queue in the
 *   types). They cost up to a tenth of enqueue_single; without them pickup is the polling interval.
 * - insert() is the documented call for many jobs, send() for one.
 *
 * No document gives numbers. Of ten pairs tried (batchSize 100 to 5000, localConcurrency 1 to 4) the one below drained
 * fastest; of 1000, 5000 and 20000 jobs an insert(), 5000 was.
 * Completed jobs stay in the table for 7 days, the default; a worker's maintenance runs as it does by default.
 */
import { readFileSync } from 'node:fs'
import { PgBoss } from 'pg-boss'
import { main } from './harness.mjs'

const QUEUE = 'bench'
const settings = { batchSize: 2500, burstWhenBatchFull: true, localConcurrency: 2, useListenNotify: true, notify: true }
const { version } = JSON.parse(readFileSync(new URL('node_modules/pg-boss/package.json', import.meta.url)))

async function connect (options = {}) {
  const boss = new PgBoss({ connectionString: process.env.BENCH_DATABASE_URL, ...options })
  boss.on('error', error => console.error(error))
  await boss.start()
  return boss
}

await main({
  version,
  settings,
  batch: 5000,

  async setup () {
    const boss = await connect()
    await boss.createQueue(QUEUE, { notify: settings.notify })
    await boss.stop({ graceful: false })
  },

  async producer () {
    const boss = await connect({ max: 1, supervise: false, schedule: false })
    return {
      bulk: ns => boss.insert(QUEUE, ns.map(n => ({ data: { n } }))),
      single: n => boss.send(QUEUE, { n }),
      close: () => boss.stop({ graceful: false })
    }
  },

  async worker (handled) {
    const boss = await connect({ useListenNotify: settings.useListenNotify })
    const { batchSize, burstWhenBatchFull, localConcurrency } = settings
    return {
      start: () => boss.work(QUEUE, { batchSize, burstWhenBatchFull, localConcurrency }, async jobs => {
        for (const job of jobs) handled(job.data.n)
      }),
      stop: () => boss.stop({ timeout: 5000 })
    }
  }
})
