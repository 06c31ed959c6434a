/**
 * The command interface of every Node peer: one command a process, JSON lines on stdout, orders on stdin.
 *
 * Always true: a process ends when its command is done, when stdin closes (its parent is gone), or when
 * BENCH_DEADLINE_S has passed, whichever comes first. `bench/adapters/harness.py` answers the same commands.
 * Called by: bench/adapter.py. Calls: the peer object a script hands to `main`.
 *
 *   setup                    make the peer's tables in the empty database BENCH_DATABASE_URL
 *   enqueue N bulk|single    put jobs 0..N-1, one connection, one call at a time; answers {done, seconds}
 *   work N                   answers {ready}, waits for "go", works until "stop", tells {seen, count} as it goes;
 *                            answers {done, count, distinct, seen, started, last}; N only sizes the tally
 *   pickup N                 N times: enqueue one job to an idle worker; answers {done, waits_ms}
 *   sustained S LEAD         answers {ready}, waits for "go", enqueues for S seconds, at most LEAD jobs ahead of the
 *                            latest order "done K"; answers {done, jobs}
 *
 * By hand: (echo go; sleep 5; echo stop; sleep 1) | BENCH_DATABASE_URL=… node pg-boss.mjs work 2000
 */
import { createInterface } from 'node:readline'

const WARM_UP_SAMPLES = 10
const SAMPLE_TIMEOUT_MS = 10_000
const TICK_MS = 10 // how late the orchestrator may learn of a handled job

/** Epoch seconds, with microseconds: comparable between processes of one machine. */
export const now = () => (performance.timeOrigin + performance.now()) / 1000

export const emit = (event, fields = {}) => process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Counts handled jobs and remembers which ones, one bit a job, so a job that ran twice or never is seen. */
class Tally {
  count = 0
  distinct = 0
  last = null
  #bits

  constructor (jobs) {
    this.#bits = new Uint8Array(Math.max(1024, (jobs >> 3) + 1))
  }

  add (n) {
    this.last = now()
    this.count++
    const byte = n >> 3
    if (byte >= this.#bits.length) {
      const larger = new Uint8Array(Math.max(byte + 1, this.#bits.length * 2))
      larger.set(this.#bits)
      this.#bits = larger
    }
    const mask = 1 << (n & 7)
    if ((this.#bits[byte] & mask) === 0) this.distinct++
    this.#bits[byte] |= mask
  }

  summary () {
    const { count, distinct, last } = this
    return { count, distinct, last, seen: Buffer.from(this.#bits).toString('base64') }
  }
}

/** Lines on stdin. Closing stdin ends the process: nobody is left to read the answer. */
class Orders {
  #waiting = []
  #arrived = []
  onDone = () => {}

  constructor () {
    const lines = createInterface({ input: process.stdin })
    lines.on('close', () => process.exit(3))
    lines.on('line', line => {
      const [word, number] = line.trim().split(' ')
      if (word === 'done') return this.onDone(Number(number))
      const waiting = this.#waiting.shift()
      if (waiting) waiting(word); else this.#arrived.push(word)
    })
  }

  async expect (wanted) {
    const word = this.#arrived.shift() ?? await new Promise(resolve => this.#waiting.push(resolve))
    if (word !== wanted) throw new Error(`got the order "${word}", need "${wanted}"`)
  }
}

async function enqueue (peer, jobs, manner) {
  const producer = await peer.producer()
  const started = now()
  if (manner === 'bulk') {
    for (let n = 0; n < jobs; n += peer.batch) await producer.bulk(range(n, Math.min(n + peer.batch, jobs)))
  } else {
    for (let n = 0; n < jobs; n++) await producer.single(n)
  }
  const seconds = now() - started
  await producer.close()
  emit('done', { jobs, seconds })
}

async function work (peer, jobs, orders) {
  const tally = new Tally(jobs)
  const worker = await peer.worker(n => tally.add(n))
  emit('ready')
  await orders.expect('go')
  const started = now()
  await worker.start()
  let told = 0
  const ticker = setInterval(() => {
    if (tally.count !== told) emit('seen', { count: (told = tally.count), at: now() })
  }, TICK_MS)
  await orders.expect('stop')
  clearInterval(ticker)
  await worker.stop()
  emit('done', { started, ...tally.summary() })
}

async function pickup (peer, samples) {
  const jobs = WARM_UP_SAMPLES + samples
  const tally = new Tally(jobs)
  let started
  const worker = await peer.worker(n => { tally.add(n); started(performance.now()) })
  const producer = await peer.producer()
  await worker.start()
  const waits = []
  for (let n = 0; n < jobs; n++) {
    await sleep(20 + Math.random() * 40) // the worker is idle again, and not in step with any timer
    const picked = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`job ${n} was not picked up in ${SAMPLE_TIMEOUT_MS} ms`)), SAMPLE_TIMEOUT_MS)
      started = at => { clearTimeout(timer); resolve(at) }
    })
    const asked = performance.now()
    const [at] = await Promise.all([picked, producer.single(n)])
    if (n >= WARM_UP_SAMPLES) waits.push(at - asked)
  }
  await producer.close()
  await worker.stop()
  emit('done', { waits_ms: waits, is_exactly_once: tally.count === jobs && tally.distinct === jobs })
}

async function sustained (peer, seconds, lead, orders) {
  const producer = await peer.producer()
  let handled = 0
  orders.onDone = count => { handled = count }
  emit('ready')
  await orders.expect('go')
  let jobs = 0
  const batch = Math.min(peer.batch, lead >> 2) // smaller than the lead, or the worker would run dry between two batches
  for (const until = now() + seconds; now() < until;) {
    if (jobs + batch - handled > lead) {
      await sleep(1)
    } else {
      await producer.bulk(range(jobs, jobs + batch))
      jobs += batch
    }
  }
  await producer.close()
  emit('done', { jobs })
}

const range = (from, to) => Array.from({ length: to - from }, (_, index) => from + index)

/** Runs the one command in argv. */
export async function main (peer) {
  const deadlineS = Number(process.env.BENCH_DEADLINE_S ?? 600)
  setTimeout(() => { console.error(`not done after ${deadlineS} s`); process.exit(4) }, deadlineS * 1000).unref()
  const [command, ...args] = process.argv.slice(2)
  const orders = new Orders()
  emit('about', { version: peer.version, runtime: `node ${process.versions.node}`, settings: peer.settings })
  if (command === 'setup') {
    await peer.setup()
    emit('done')
  } else if (command === 'enqueue') await enqueue(peer, Number(args[0]), args[1])
  else if (command === 'work') await work(peer, Number(args[0]), orders)
  else if (command === 'pickup') await pickup(peer, Number(args[0]))
  else if (command === 'sustained') await sustained(peer, Number(args[0]), Number(args[1]), orders)
  else throw new Error(`no command "${command}"; one of setup, enqueue, work, pickup, sustained`)
  process.stdout.write('', () => process.exit(0)) // stdin stays open, so the process would not end by itself
}
