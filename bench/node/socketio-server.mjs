/**
 * A stock Node socket.io server with one room: the peer of the measure `room_fanout`.
 *
 * Orders on stdin, JSON lines on stdout, as `trunkline.measure.child` has them: `emit:N:BYTES` sends N events of so many bytes to
 * the room, `cpu` asks for the CPU used, `stop` ends it. Times are CLOCK_MONOTONIC seconds, which all processes of a host share.
 */
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { Server } from 'socket.io'

const say = (event, fields = {}) => process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')
const now = () => Number(process.hrtime.bigint()) / 1e9
const breathe = () => new Promise(resolve => setImmediate(resolve))

const http = createServer()
const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false })
io.on('connection', socket => {
  socket.on('join', (_, answer) => { socket.join('room'); answer('ok') })
  socket.on('echo', (data, answer) => answer(data))
})

async function emit (events, size) {
  const began = now()
  for (let n = 0; n < events; n++) {
    const jobId = `0197f000-0000-7000-8000-${String(n).padStart(12, '0')}`
    io.to('room').emit('job:update', { jobId, status: '@mark@', data: 'x'.repeat(Math.max(size - 80, 0)) })
    await breathe() // sockets are written in between, as in a server that does something else, too
  }
  say('emitted', { began })
}

http.listen(0, '127.0.0.1', () => say('ready', { port: http.address().port }))
const orders = createInterface({ input: process.stdin })
orders.on('close', () => process.exit(3))
orders.on('line', line => {
  const [word, ...numbers] = line.trim().split(':')
  if (word === 'emit') emit(...numbers.map(Number))
  else if (word === 'cpu') say('cpu', { cpu_s: process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6 })
  else { say('done'); process.exit(0) }
})
